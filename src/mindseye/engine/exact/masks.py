"""What each branch may read: attention biases of the tail, one per kind of branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.exact.attention import Rows
from mindseye.engine.exact.branches import Branch, after_removal
from mindseye.engine.exact.snapshots import Snapshot

__all__ = ["Masks"]


class Masks:
    """Which columns and which prefix positions each branch may read, layer by layer."""

    def __init__(self, held: Snapshot, branches: Sequence[Branch]) -> None:
        kinds: dict[Any, int] = {}
        self.biases: list[list[Tensor]] = []
        kind = []
        for branch in branches:
            gone = () if branch.removed is None else tuple(branch.removed.tolist())
            name = (tuple(map(id, branch.knockouts)), gone)
            if name not in kinds:
                kinds[name] = len(kinds)
                self.biases.append(_bias(held, branch))
            kind.append(kinds[name])
        self.kind = torch.tensor(kind, device=held.states.device)
        self.n_prefix = held.start
        self.stacked: tuple[tuple[int, ...], Tensor, bool] | None = None

    def of(self, layer: int, rows: Rows) -> tuple[Tensor | None, Tensor]:
        """Return the bias of rows for the prefix, and that of branches by places for the tail."""
        bias, everything_open = self._stack(layer)
        column = torch.zeros(rows.n_branches, rows.width, dtype=torch.long, device=bias.device)
        column[rows.branch, rows.place] = rows.column
        own = bias[self.kind[:, None], column, self.n_prefix :]
        if everything_open:
            return None, own
        return bias[self.kind[rows.branch], rows.column, : self.n_prefix], own

    def _stack(self, layer: int) -> tuple[Float[Tensor, "kinds tail keys"], bool]:
        """Return a layer's bias of every kind, and whether all may read all of the prefix."""
        here = [each[layer] for each in self.biases]
        name = tuple(map(id, here))
        if self.stacked is None or self.stacked[0] != name:
            bias = torch.stack(here)
            everything_open = not bool((bias[..., : self.n_prefix] != 0).any())
            self.stacked = name, bias, everything_open
        return self.stacked[1:]


def _bias(held: Snapshot, branch: Branch) -> list[Float[Tensor, "tail keys"]]:
    """Return the attention bias of a branch's tail, by layer; removed positions read nothing."""
    trace = held.trace
    reasoner, n_seq = trace.reasoner, len(trace.labels)
    kept = torch.ones(n_seq, dtype=torch.bool, device=trace.labels.device)
    if branch.removed is not None:
        kept[branch.removed] = False
    n_kept = int(kept[held.start :].sum())
    moved = (kept.cumsum(dim=0) - 1).masked_fill(~kept, -1)
    made = reasoner.architecture.bias(
        reasoner.model,
        trace.labels[None, kept],
        trace.prefill().image_mask[:, kept],
        n_kept,
        (*reasoner.wiring, *(after_removal(cut, moved) for cut in branch.knockouts)),
        trace.embeds.dtype,
    )
    if n_kept == held.n_tail:
        return _once(made, lambda bias: bias[0, 0])

    def spread(bias: Tensor) -> Tensor:
        wide = bias.new_full((held.n_tail, n_seq), torch.finfo(bias.dtype).min)
        wide[kept[held.start :].nonzero(), kept.nonzero()[:, 0]] = bias[0, 0]
        return wide

    return _once(made, spread)


def _once(biases: list[Tensor], change: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Change every tensor of a list once, however often it occurs."""
    made: dict[int, Tensor] = {}
    for bias in biases:
        if id(bias) not in made:
            made[id(bias)] = change(bias)
    return [made[id(bias)] for bias in biases]
