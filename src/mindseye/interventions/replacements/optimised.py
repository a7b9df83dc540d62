"""Latents that were searched for: is there any that would change the answer?

A channel that is closed says more than one that is not used. So the search stays where the model
itself goes: in the span of differences that its own latents show, and no farther than these.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.interventions.asking import check_range
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.replacing import replacement

__all__ = ["worst"]


@replacement("worst", carries="own", in_distribution="partly", needs=("pool", "outcome"))
def worst(
    given: Given,
    *,
    steps: int = 20,
    bound: float = 1.0,
    way: Literal["down", "up"] = "down",
    rng: torch.Generator,
) -> Float[Tensor, "slots d_model"]:
    """Search for the latents that lower the outcome most, by projected gradient steps.

    Args:
        given: The run.
        steps: Gradient steps; the best one met is kept, so that more never do worse.
        bound: Farthest from the run's own latents, over the farthest that another run's are.
        way: Whether the outcome is lowered or raised.
        rng: Not used.

    Raises:
        EditError: No steps, or a bound below 0.
        SampleError: The pool has no other run with as many slots.

    Source: projected gradient descent, Madry et al. 2018, arXiv 1706.06083; the span after the
        channel-open test of arXiv 2605.02735.
    """
    check_range("worst got steps", steps, 1, 10_000, "20 are usual.")
    check_range("worst got bound", bound, 0, float("inf"), "1 goes as far as other runs do.")
    assert given.outcome is not None  # declared as needed
    own = given.latents.detach()
    seen = [run.fed[: len(own)].to(own) for run in given.others if len(run.fed) >= len(own)]
    if not seen:
        raise SampleError(
            f"worst got a pool without another run of {len(own)} latents or more, so that there is "
            f"no difference to search along for sample {given.id!r}. Give a larger pool."
        )
    away = torch.stack(seen).flatten(1).double() - own.flatten().double()
    radius = bound * float(away.norm(dim=1).max())
    _, singular, basis = torch.linalg.svd(away, full_matrices=False)
    basis = basis[singular > 1e-9 * singular.max()]
    sign = -1.0 if way == "down" else 1.0
    best, found = -torch.inf, own
    moved = torch.zeros(len(basis), dtype=torch.float64, device=own.device)
    for _ in range(steps + 1):
        along = moved.clone().requires_grad_()
        vectors = own + (along @ basis).to(own).view_as(own)
        value = sign * given.outcome(vectors[None])[0]
        if float(value.detach()) > best:
            best, found = float(value.detach()), vectors.detach()
        (slope,) = torch.autograd.grad(value, along)
        # Half the radius per step, shrinking, reaches the border and then slides along it.
        step = radius * slope / slope.norm().clamp_min(1e-30) / 2
        moved = moved + step
        moved = moved * min(1.0, radius / max(float(moved.norm()), 1e-30))
    return found
