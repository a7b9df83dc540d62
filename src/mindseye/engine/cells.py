"""The four cells Y(x_i, Z(x_j)) of a pair, and the identity arm beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.levels import mediator_hooks, transplant
from mindseye.reasoners import Edit, Reasoner, Trace

__all__ = ["Cells", "crossed_cells"]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Next-token logits where a pair's answers part, at one level.

    Attributes:
        crossed: By input x, then by latents z; index 0 is the reference, 1 the clean run.
        identity: By input x, with its own latents put back; must equal the diagonal of `crossed`.
    """

    crossed: Float[Tensor, "2 2 vocab"]
    identity: Float[Tensor, "2 vocab"]


def crossed_cells(
    reasoner: Reasoner, clean: Trace, reference: Trace, levels: Sequence[str]
) -> dict[str, Cells]:
    """Compute the cells of a pair at several levels, open loop.

    Each input is replayed once with all its arms as rows of one batch, so that every cell of a row
    goes through the same code path. Costs four forward passes of the text decoder without cache,
    two of them with `1 + 2 * len(levels)` rows.

    Args:
        reasoner: What ran.
        clean: The run on x1, cut where the outcome is read (`Trace.until_answer`).
        reference: The run on x0, cut likewise.
        levels: Names of `LEVELS`.

    Raises:
        EditError: No such level, or the two runs' segments do not align.
    """
    runs = (reference, clean)
    hooks = sorted({hook for level in levels for hook in mediator_hooks(reasoner, level)})
    donors = [reasoner.replay(run, record=hooks).activations for run in runs]
    rows: list[Float[Tensor, "branches vocab"]] = []
    for recipient in runs:
        branches: list[list[Edit]] = [[]]
        for level in levels:
            for donor, activations in zip(runs, donors, strict=True):
                branches.append(transplant(level, donor, activations, recipient))
        rows.append(reasoner.replay(recipient, branches).logits[:, -1])
    return {level: _level_cells(rows, i) for i, level in enumerate(levels)}


def _level_cells(rows: list[Float[Tensor, "branches vocab"]], index: int) -> Cells:
    """Pick a level's cells out of the two replays: row 0 is unedited, then z0 and z1 per level."""
    (own0, z0_in_x0, z1_in_x0), (own1, z0_in_x1, z1_in_x1) = (
        (row[0], row[1 + 2 * index], row[2 + 2 * index]) for row in rows
    )
    crossed = torch.stack([torch.stack([own0, z1_in_x0]), torch.stack([z0_in_x1, own1])])
    return Cells(crossed, identity=torch.stack([z0_in_x0, z1_in_x1]))
