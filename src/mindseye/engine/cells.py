"""The four cells Y(x_i, Z(x_j)) of a pair, and the unedited runs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.exact import DEFAULT_BUDGET, Branch, compute, snapshot
from mindseye.engine.levels import check_aligned, mediator_hooks, tail_start, transplant
from mindseye.reasoners import Reasoner, Trace

__all__ = ["Cells", "crossed_cells"]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Next-token logits where a pair's answers part, at one level.

    Attributes:
        crossed: By input x, then by latents z; index 0 is the reference, 1 the clean run. The
            diagonal has a run's own latents put back, so that no cell is computed another way.
        unedited: By input x, without any edit; must equal the diagonal.
    """

    crossed: Float[Tensor, "2 2 vocab"]
    unedited: Float[Tensor, "2 vocab"]


def crossed_cells(
    reasoner: Reasoner,
    clean: Trace,
    reference: Trace,
    levels: Sequence[str],
    *,
    budget: int = DEFAULT_BUDGET,
) -> dict[str, Cells]:
    """Compute the cells of a pair at several levels, open loop.

    All cells of an input are branches of one snapshot and go through the same code path.

    Args:
        reasoner: What ran.
        clean: The run on x1, cut where the outcome is read (`Trace.until_answer`).
        reference: The run on x0, cut likewise.
        levels: Names of `LEVELS`.
        budget: Most bytes of activations at a time.

    Raises:
        EditError: No such level, or the two runs' segments do not align.
    """
    runs = (reference, clean)
    check_aligned(clean, reference)
    hooks = sorted({hook for level in levels for hook in mediator_hooks(reasoner, level)})
    start = tail_start(clean, levels)
    held = [snapshot(run, start, record=hooks) for run in runs]
    rows: list[Float[Tensor, "branches vocab"]] = []
    for recipient in held:
        branches = [
            Branch(transplant(level, donor, recipient.trace)) for level in levels for donor in held
        ]
        rows.append(compute(recipient, branches, budget=budget).logits[:, 0])
    unedited = torch.stack([compute(each, [Branch()]).logits[0, 0] for each in held])
    return {
        level: Cells(torch.stack([row[2 * i : 2 * i + 2] for row in rows]), unedited)
        for i, level in enumerate(levels)
    }
