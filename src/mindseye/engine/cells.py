"""The four cells Y(x_i, Z(x_j)) of a pair, and the unedited runs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.exact import DEFAULT_BUDGET, Branch, Snapshot, compute, snapshot
from mindseye.engine.levels import check_aligned, mediator_hooks, tail_start, transplant
from mindseye.reasoners import Edit, Reasoner, Trace

__all__ = ["Cells", "crossed_cells"]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Next-token logits of a pair's cells, at one level.

    Attributes:
        crossed: By input x, then by latents z; index 0 is the reference, 1 the clean run. The
            diagonal has a run's own latents put back, so that no cell is computed another way.
        unedited: By input x, without any edit; must equal the diagonal.
        edits: What makes each off-diagonal cell, by its input.
        moved: The largest difference between the two runs' mediators, entry by entry.
        missed: The largest difference between what edits wrote and what then stood there.
    """

    crossed: Float[Tensor, "2 2 read vocab"]
    unedited: Float[Tensor, "2 read vocab"]
    edits: tuple[list[Edit], list[Edit]]
    moved: float
    missed: float


def crossed_cells(
    reasoner: Reasoner,
    clean: Trace,
    reference: Trace,
    levels: Sequence[str],
    *,
    read: Sequence[int] = (-1,),
    budget: int = DEFAULT_BUDGET,
) -> dict[str, Cells]:
    """Compute the cells of a pair at several levels, open loop.

    All cells of an input are branches of one snapshot and go through the same code path.

    Args:
        reasoner: What ran.
        clean: The run on x1, cut where the outcome is read (`Trace.until_answer`).
        reference: The run on x0, cut likewise.
        levels: Names of levels.
        read: Positions whose logits are wanted; negative ones count from the end.
        budget: Most bytes of activations at a time.

    Raises:
        EditError: No such level, or the two runs' segments do not align.
    """
    check_aligned(clean, reference)
    hooks = sorted({hook for level in levels for hook in mediator_hooks(reasoner, level)})
    start = tail_start(clean, levels)
    held = [snapshot(run, start, record=hooks) for run in (reference, clean)]
    rows, missed = [], [0.0] * len(levels)
    edits: list[list[list[Edit]]] = []
    for recipient in held:
        given = [[transplant(level, donor, recipient.trace) for donor in held] for level in levels]
        branches = [Branch(each) for both in given for each in both]
        found = compute(recipient, branches, read=read, record=hooks, budget=budget)
        rows.append(found.logits.unflatten(0, (len(levels), 2)))
        for index, branch in enumerate(branches):
            off = max(_off(recipient, found.activations, index, edit) for edit in branch.edits)
            missed[index // 2] = max(missed[index // 2], off)
        edits.append([both[1 - len(edits)] for both in given])
    unedited = torch.stack([compute(each, [Branch()], read=read).logits[0] for each in held])
    return {
        level: Cells(
            crossed=torch.stack([row[i] for row in rows]),
            unedited=unedited,
            edits=(edits[0][i], edits[1][i]),
            moved=max(_moved(held[0], edit) for edit in edits[0][i]),
            missed=missed[i],
        )
        for i, level in enumerate(levels)
    }


def _moved(held: Snapshot, edit: Edit) -> float:
    """Return how far an edit is from what it replaces."""
    return float((edit.value - held.at(edit.hook, edit.positions)).abs().max())


def _off(held: Snapshot, kept: dict[str, Tensor], index: int, edit: Edit) -> float:
    """Return how far what a branch held is from what was written there."""
    there = kept[edit.hook][index, held.columns(edit.positions)]
    return float((there - edit.value).abs().max())
