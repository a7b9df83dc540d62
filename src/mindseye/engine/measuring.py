"""From branches to numbers: outcomes of each, beside those of the run as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.contrast import Contrast, Outcome
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, Snapshot, compute
from mindseye.reasoners import Edit

__all__ = ["Measured", "measure"]


class Measured(NamedTuple):
    """Outcomes, in double precision on the CPU.

    Attributes:
        own: Of the run as it was.
        values: Of the branches.
    """

    own: Float[Tensor, " outcomes"]
    values: Float[Tensor, "branches outcomes"]


def measure(
    held: Snapshot,
    branches: Sequence[Branch],
    measures: Mapping[str, Outcome],
    parting: Contrast,
    budget: int = DEFAULT_BUDGET,
) -> Measured:
    """Compute branches and measure each where the answers part.

    The run as it was is computed among them, its own vectors fed again, so that a branch differs
    from it by what the branch changes and by next to no rounding: on one thread, usually by none.

    Args:
        held: The run's snapshot, cut where the answers part.
        branches: What to change.
        measures: Outcomes by name.
        parting: The two answers.
        budget: Most bytes of activations at a time.
    """
    trace = held.trace
    tail = torch.arange(held.start, len(trace.labels), device=trace.labels.device)
    unedited = Branch([Edit("hook_embed", tail, trace.embeds[held.start :])])

    def outcomes(logits: Float[Tensor, "branches 1 vocab"]) -> Float[Tensor, "branches outcomes"]:
        every = [outcome(logits[:, 0], parting) for outcome in measures.values()]
        return torch.stack(every, dim=-1)

    found = compute(held, [unedited, *branches], reduce=outcomes, budget=budget).logits
    found = found.double().cpu()
    return Measured(found[0], found[1:])
