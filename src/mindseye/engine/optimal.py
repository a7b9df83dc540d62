"""The constant that hurts least: what latents are worth beyond being there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.gradients import differentiable
from mindseye.engine.twins import Track, comparable
from mindseye.errors import EditError
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["OptimalConstant", "optimal_constant"]


@dataclass(frozen=True, slots=True, eq=False)
class OptimalConstant:
    """Vectors that, fed to every sample, lose least.

    Attributes:
        vectors: One per slot; `find_replacement("constant", vectors=...)` feeds them.
        outcome: Mean outcome on the pairs they were fitted on.
        zero: The same if zeros are fed.
        mean: The same if each slot's mean is fed.
        own: The same of the runs as they were.
    """

    vectors: Float[Tensor, "slots d_model"]
    outcome: float
    zero: float
    mean: float
    own: float


def optimal_constant(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    outcome: str | Outcome = "log_probability",
    steps: int = 50,
    rate: float = 0.05,
    track: Track = iter,
) -> OptimalConstant:
    """Fit the vectors that keep the outcome highest when every sample is fed the same ones.

    Zeros and means may be worse than no information: they may be unlike anything the model knows.
    What the optimal constant still loses is what latents tell of their sample. Fit it on other
    pairs than you report. The runs of all pairs are held in memory meanwhile.

    Args:
        reasoner: What runs.
        pairs: To fit on; those that cannot be compared are left out.
        outcome: What is to stay high.
        steps: Of Adam, each over all pairs. The best vectors met are kept, so that they are never
            worse, on these pairs, than zeros and means.
        rate: Of Adam, over the root mean square of latents.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: No steps, or several outcomes, or runs of different numbers of slots.
        SampleError: In no pair did both runs imagine at the same positions.
        EngineError: The model's attention cannot be intercepted.

    Source: optimal ablation, Li & Janson 2024, arXiv 2409.09951.
    """
    measures = find_outcomes(outcome)
    if steps < 1 or len(measures) != 1:
        raise EditError(
            f"optimal_constant got steps={steps} and {len(measures)} outcomes; it takes at least "
            "one step, and one outcome."
        )
    (measure,) = measures.values()
    every = list(comparable(reasoner, pairs, track=track))
    lengths = {len(twins.clean.latent_positions) for twins in every}
    if len(lengths) > 1:
        raise EditError(
            f"optimal_constant got runs of {sorted(lengths)} latents; one constant per slot needs "
            "equal numbers. Use a protocol with a fixed count."
        )
    own = torch.stack([twins.clean.fed_latents for twins in every])
    values = [differentiable(twins, measure) for twins in every]

    def mean(vectors: Float[Tensor, "slots d_model"]) -> Float[Tensor, ""]:
        return torch.stack([value(vectors[None])[0] for value in values]).mean()

    starts = {"zero": torch.zeros_like(own[0]), "mean": own.mean(dim=0)}
    with torch.no_grad():
        scores = {name: float(mean(vectors)) for name, vectors in starts.items()}
        as_it_was = sum(float(value(z[None])[0]) for value, z in zip(values, own, strict=True))
    best = max(scores, key=lambda name: scores[name])
    found, highest = starts[best], scores[best]
    vectors = starts[best].clone().requires_grad_()
    optimiser = torch.optim.Adam([vectors], lr=rate * float(own.square().mean().sqrt()))
    for _ in range(steps):
        optimiser.zero_grad()
        loss = -mean(vectors)
        if -float(loss.detach()) > highest:
            found, highest = vectors.detach().clone(), -float(loss.detach())
        (vectors.grad,) = torch.autograd.grad(loss, vectors)
        optimiser.step()
    return OptimalConstant(found, highest, scores["zero"], scores["mean"], as_it_was / len(values))
