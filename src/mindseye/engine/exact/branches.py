"""Branches: what is changed in a run, and which positions of which layers that disturbs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindseye.engine.exact.snapshots import Snapshot
from mindseye.errors import EditError
from mindseye.reasoners import Cut, Edges, Edit, Trace
from mindseye.reasoners.hooks import hook_point
from mindseye.reasoners.wiring import asking, check_cuts

__all__ = [
    "Branch",
    "Computed",
    "EdgePatch",
    "Reach",
    "Reduce",
    "after_removal",
    "check",
    "first_position",
    "reach",
    "where",
]

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_READ_BY_OTHERS = ("hook_resid_pre", "attn.hook_k", "attn.hook_v")
"""What later positions read in the same layer; any other edit stays at its position for a layer."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgePatch:
    """Let some queries read other keys and values than all others do.

    Attributes:
        layer: Where.
        positions: Whose keys and values are replaced.
        keys: What is read instead, after rotation; none leaves keys to the branch.
        values: The same for values.
        readers: The only positions that read it.

    Source: path patching, Goldowsky-Dill et al. 2023, arXiv 2304.05969.
    """

    layer: int
    positions: Int[Tensor, " found"]
    keys: Float[Tensor, "found kv_heads d_head"] | None
    values: Float[Tensor, "found kv_heads d_head"] | None
    readers: Int[Tensor, " readers"]


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One variant of a run.

    Attributes:
        edits: Activations that are set.
        knockouts: Attention edges that are cut, on top of the model's wiring.
        patches: Attention edges that read something else.
        removed: Positions taken out, later ones moving up, as in `Trace.without`.
    """

    edits: Sequence[Edit] = ()
    knockouts: tuple[Cut, ...] = ()
    patches: Sequence[EdgePatch] = ()
    removed: Int[Tensor, " removed"] | None = None


Reduce = Callable[[Float[Tensor, "branches read vocab"]], Tensor]
"""Makes less of the logits of some branches, one row each, before the next ones are computed."""


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """What came of some branches.

    Attributes:
        logits: What is read at the positions that were asked for, or what `reduce` made of it.
        activations: What was asked for, by hook name, of the whole tail.
    """

    logits: Tensor
    activations: dict[str, Float[Tensor, "branches tail *dims"]]


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """What must be computed of a set of branches over one snapshot.

    Attributes:
        first: From which column on all positions are, by branch and layer; the last layer stands
            for the final norm.
        points: Single positions that are, as branch, layer and column.
        removed: Positions that do not exist.
        turned: The column whose place in the sequence each position has.
    """

    first: Int[Tensor, "branches layers"]
    points: Int[Tensor, "points 3"]
    removed: Bool[Tensor, "branches tail"]
    turned: Int[Tensor, "branches tail"]

    def computed(self, layer: int) -> Bool[Tensor, "branches tail"]:
        """Return which positions one layer computes."""
        columns = torch.arange(self.removed.shape[1], device=self.first.device)
        every = columns >= self.first[:, layer, None]
        branch, at, column = self.points.unbind(dim=1)
        every[branch[at == layer], column[at == layer]] = True
        return every & ~self.removed


def where(name: str, n_layers: int) -> tuple[int, str]:
    """Return the layer of a hook name, the final norm's being `n_layers`, and its place in it."""
    if name == "hook_embed":
        return 0, "hook_resid_pre"
    match = _BLOCK.fullmatch(name)
    return (n_layers, name) if match is None else (int(match[1]), match[2])


def after_removal(cut: Cut, moved: Int[Tensor, " seq"]) -> Cut:
    """Return a cut in the positions of a run from which some were removed.

    Args:
        cut: In the positions of the whole run.
        moved: Where each of these has gone; -1 for those that are out.
    """
    if not isinstance(cut, Edges):
        return cut
    targets, sources = moved[cut.targets], moved[cut.sources]
    there = (targets >= 0) & (sources >= 0)
    return Edges(targets[there], sources[there], cut.layers)


def first_position(trace: Trace, branch: Branch) -> int:
    """Return the first position that a branch disturbs, or the last one if it does nothing."""
    touched = [edit.positions for edit in branch.edits]
    touched += [patch.readers for patch in branch.patches]
    # Their keys are replaced one by one, so they must lie in the tail as well.
    touched += [patch.positions for patch in branch.patches]
    touched += [asking(trace.labels, cut) for cut in branch.knockouts]
    touched += [] if branch.removed is None else [branch.removed]
    places = [int(each.min()) for each in touched if len(each)]
    return trace.reached_from(min(places, default=len(trace.labels) - 1))


def check(trace: Trace, branches: Sequence[Branch], read: Sequence[int] = ()) -> None:
    """Refuse branches that no run of this kind can take.

    Args:
        trace: The run.
        branches: What to change.
        read: Positions that will be read in each branch, so must be there.

    Raises:
        EditError: A hook, layer or position that does not exist or was removed, a value of another
            length than its positions, or two edits of one branch that overlap.
    """
    reasoner, n_seq = trace.reasoner, len(trace.labels)
    hooks = {edit.hook for branch in branches for edit in branch.edits}
    for hook in hooks:
        hook_point(hook, reasoner.model, reasoner.architecture)
    n_layers = len(reasoner.architecture.blocks(reasoner.model))
    for branch in branches:
        for edit in branch.edits:
            _check_edit(edit, n_seq)
        _check_overlap(branch.edits)
        check_cuts(branch.knockouts, n_seq, n_layers)
        for patch in branch.patches:
            _check_patch(patch, n_seq, n_layers)
        if branch.removed is None:
            continue
        trace.check_removable(branch.removed)
        needed = [edit.positions for edit in branch.edits]
        needed += [each for patch in branch.patches for each in (patch.positions, patch.readers)]
        missed = {*read, *(place for each in needed for place in each.tolist())}
        missed &= set(branch.removed.tolist())
        if missed:
            raise EditError(
                f"A branch removes positions {sorted(missed)} and edits or reads them too. Leave "
                "them out of one of the two."
            )


def _check_patch(patch: EdgePatch, n_seq: int, n_layers: int) -> None:
    if not 0 <= patch.layer < n_layers:
        raise EditError(
            f"An edge patch names layer {patch.layer}; the model has layers 0 to {n_layers - 1}. "
            "Pass one of these."
        )
    places = torch.cat([patch.positions, patch.readers])
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < n_seq:
        raise EditError(
            f"An edge patch of positions {patch.positions.tolist()}, read from "
            f"{patch.readers.tolist()}, lies outside this run of {n_seq} positions. Pass positions "
            "of it."
        )
    for what, brought in (("keys", patch.keys), ("values", patch.values)):
        if brought is not None and len(brought) != len(patch.positions):
            raise EditError(
                f"An edge patch brings {what} of shape {tuple(brought.shape)} for "
                f"{len(patch.positions)} positions. Bring one row per position."
            )


def _check_overlap(edits: Sequence[Edit]) -> None:
    held: dict[tuple[str, int], set[int | None]] = {}
    for edit in edits:
        for place in edit.positions.tolist():
            heads = held.setdefault((edit.hook, place), set())
            if heads and (edit.head is None or None in heads or edit.head in heads):
                raise EditError(
                    f"Two edits of one branch set {edit.hook!r} at position {place}; expected one "
                    "value per place. Merge them, or make two branches."
                )
            heads.add(edit.head)


def _check_edit(edit: Edit, n_seq: int) -> None:
    if edit.hook.endswith("hook_pattern"):
        raise EditError(f"{edit.hook!r} can be read but not edited. Cut edges with a Knockout.")
    places = edit.positions
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < n_seq:
        raise EditError(
            f"An edit of {edit.hook!r} at positions {places.tolist()} lies outside this run of "
            f"{n_seq} positions. Pass positions of the run that is replayed."
        )
    if len(edit.value) != len(places):
        raise EditError(
            f"An edit of {edit.hook!r} brings a value of shape {tuple(edit.value.shape)} for "
            f"{len(places)} positions. Bring one row per position."
        )


def reach(held: Snapshot, branches: Sequence[Branch], *, whole: bool = False) -> Reach:
    """Work out what a set of branches disturbs.

    Args:
        held: What they start from.
        branches: Checked already, and none reaches before the snapshot's tail.
        whole: Whether to compute the whole tail of every branch in any case.
    """
    n_layers, n_tail = len(held.given), held.n_tail
    first = torch.full((len(branches), n_layers + 1), n_tail)
    points: list[tuple[int, int, int]] = []
    removed = torch.zeros(len(branches), n_tail, dtype=torch.bool)
    if whole:
        first[:] = 0
    for index, branch in enumerate(branches):
        for layer, columns, spreads in _events(held, branch, n_layers):
            begin = held.trace.reached_from(int(columns.min()) + held.start) - held.start
            after = layer if spreads else layer + 1
            first[index, after:] = first[index, after:].clamp(max=begin)
            if not spreads:
                points += [(index, layer, column) for column in columns.tolist()]
        if branch.removed is not None:
            removed[index, held.columns(branch.removed).cpu()] = True
    turned = torch.arange(n_tail) - removed.long().cumsum(dim=1)
    device = held.states.device
    return Reach(
        first.to(device),
        torch.tensor(points, dtype=torch.long, device=device).reshape(-1, 3),
        removed.to(device),
        turned.clamp(min=0).to(device),
    )


def _events(
    held: Snapshot, branch: Branch, n_layers: int
) -> list[tuple[int, Int[Tensor, " columns"], bool]]:
    """List where a branch first changes something, and whether others read that in the layer."""
    found: list[tuple[int, Tensor, bool]] = []
    for edit in branch.edits:
        layer, place = where(edit.hook, n_layers)
        found.append((layer, held.columns(edit.positions), place in _READ_BY_OTHERS))
    for patch in branch.patches:
        found.append((patch.layer, held.columns(patch.readers), False))
    for cut in branch.knockouts:
        losing = held.columns(asking(held.trace.labels, cut))
        for layer in range(n_layers) if cut.layers is None else cut.layers:
            found.append((layer, losing, False))
    if branch.removed is not None:
        found.append((0, held.columns(branch.removed), True))
    return [(layer, columns, spreads) for layer, columns, spreads in found if len(columns)]
