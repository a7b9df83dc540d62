"""Edited runs, computed exactly and nothing more.

An edit at layer l, position k can only disturb what comes after: later positions in the layers
above. `compute` takes all branches of a run through each layer together, as one packed row of
positions; a branch joins at the first layer that its edit touches. The layers are the stock
model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.engine.exact.attention import Extra, Packed, Rows
from mindseye.engine.exact.branches import (
    Branch,
    Computed,
    Reach,
    Reduce,
    check,
    first_position,
    reach,
    where,
)
from mindseye.engine.exact.budget import DEFAULT_BUDGET, in_chunks
from mindseye.engine.exact.masks import Masks
from mindseye.engine.exact.plain import compute_plainly
from mindseye.engine.exact.snapshots import Snapshot, check_record, snapshot
from mindseye.errors import EditError
from mindseye.reasoners import Edit
from mindseye.reasoners.attention import intercepted
from mindseye.reasoners.blending import FIRST_VALUES, Blend, Route
from mindseye.reasoners.edits import write
from mindseye.reasoners.hooks import Visit, hooked
from mindseye.reasoners.spans import SPANS

__all__ = ["compute"]


@torch.no_grad()
def compute(
    held: Snapshot,
    branches: Sequence[Branch],
    *,
    read: Sequence[int] = (-1,),
    reduce: Reduce | None = None,
    record: Sequence[str] = (),
    budget: int = DEFAULT_BUDGET,
) -> Computed:
    """Compute branches of a run, open loop: every fed vector stays what it was, unless edited.

    Args:
        held: The run's snapshot; its tail begins where the earliest branch does, or before.
        branches: What to change.
        read: Positions of the run whose logits are wanted; negative ones count from the end.
        reduce: What to make of them; the logits themselves if left out.
        record: Hook names to keep, of all branches and the whole tail.
        budget: Most bytes of activations at a time; branches are computed in chunks that fit.

    Raises:
        EditError: A branch that this run cannot take.
        EngineError: The budget is too small for one branch.
    """
    trace = held.trace
    if not branches:
        raise EditError("compute got no branches; pass [Branch()] for the run as it was.")
    check_record(trace, record)
    record = tuple(dict.fromkeys(record))
    if record and any(branch.removed is not None for branch in branches):
        raise EditError(
            "compute was asked to record branches from which positions are removed; their tails "
            "have different lengths. Record trace.without(positions) instead."
        )
    asked = _asked(held, read)
    check(trace, branches, asked)
    _check_tail(held, branches, asked)
    if trace.reasoner.blend is not None:
        return _blended(held, branches, trace.reasoner.blend, asked, reduce, record, budget)
    if not held.exact:
        return compute_plainly(
            trace, branches, read=asked, reduce=reduce, record=record, since=held.start
        )
    reached = reach(held, branches, whole=bool(record))
    outs: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {name: [] for name in record}

    def chunk(begin: int, end: int) -> None:
        part = Reach(
            reached.first[begin:end],
            _shifted(reached.points, begin, end),
            reached.removed[begin:end],
            reached.turned[begin:end],
        )
        run = _Pass(held, branches[begin:end], part, record)
        logits = run.logits([place - held.start for place in asked])
        outs.append(logits if reduce is None else reduce(logits))
        for name in record:
            kept[name].append(run.kept[name].unflatten(1, (end - begin, -1))[0])

    in_chunks(held, branches, reached, len(asked), budget, chunk)
    return Computed(torch.cat(outs), {name: torch.cat(parts) for name, parts in kept.items()})


def _blended(
    held: Snapshot,
    branches: Sequence[Branch],
    blend: Blend,
    read: list[int],
    reduce: Reduce | None,
    record: tuple[str, ...],
    budget: int,
) -> Computed:
    """Compute branches of a model that answers from two routes, each by itself."""
    trace = held.trace
    first = int(trace.latent_positions.min())
    lead = held.start - first if blend.reads_slots and first < held.start else 0
    if lead:  # the tail begins after the slots, which the blend looks at
        held = snapshot(trace, first)
    single = replace(trace, reasoner=replace(trace.reasoner, blend=None))
    wanted = (*record, FIRST_VALUES) if blend.reads_slots else record
    own, given = (
        compute(replace(held, trace=single), some, read=read, record=wanted, budget=budget)
        for some in ([Branch()], branches)
    )
    slots = held.columns(trace.latent_positions)

    def route(found: Computed, column: int) -> Route:
        values = found.activations[FIRST_VALUES][:, slots] if blend.reads_slots else None
        return Route(found.logits[:, column], values)

    said = [blend.combine(route(own, i), route(given, i), trace) for i in range(len(read))]
    logits = torch.stack(said, dim=1)
    kept = {name: given.activations[name][:, lead:] for name in record}
    return Computed(logits if reduce is None else reduce(logits), kept)


class _Pass:
    """One chunk of branches on its way through the layers."""

    def __init__(
        self, held: Snapshot, branches: Sequence[Branch], reached: Reach, record: Sequence[str]
    ) -> None:
        self.held, self.branches, self.reached, self.record = held, branches, reached, record
        self.kept: dict[str, Tensor] = {}
        self.n_layers = len(held.given)
        self.masks = Masks(held, branches)
        self.rows = _rows(reached.computed(0)[:, :0])
        self.hidden = held.residuals[0][:0]

    def logits(self, read: list[int]) -> Float[Tensor, "branches read vocab"]:
        """Go through all layers and return what is read at some columns."""
        reasoner = self.held.trace.reasoner
        architecture, model = reasoner.architecture, reasoner.model
        deepstack = _deepstack(self.held)
        with intercepted(model):
            for layer, block in enumerate(architecture.blocks(model)):
                self._join(layer)
                if not len(self.rows.branch):
                    continue
                turned = self.reached.turned[self.rows.branch, self.rows.column]
                options = self.held.options(layer, turned)
                with hooked(model, architecture, self._visits(layer)):
                    self.hidden = block(
                        self.hidden[None],
                        attention_mask=None,
                        reading=self._reading(layer),
                        **options,
                    )[0]
                if layer < len(deepstack):
                    self.hidden = self.hidden + deepstack[layer][self.rows.column]
        self._join(self.n_layers)
        norm = architecture.text_decoder(model).get_submodule(architecture.norm)
        with hooked(model, architecture, self._visits(self.n_layers)):
            states = norm(self.hidden[None])[0]
        return self._read(states, torch.tensor(read, device=states.device))

    def _join(self, layer: int) -> None:
        """Let the positions that are first disturbed in this layer start from the snapshot's."""
        computed = self.reached.computed(layer)
        if int(computed.sum()) == len(self.rows.branch):
            return
        rows = _rows(computed)
        own = self.held.residuals[layer].to(self.hidden.device)
        hidden = own[rows.column]
        if layer == 0:
            hidden = self._embedded(rows)
        else:
            index = _lookup(rows, computed.shape[1])
            hidden[index[self.rows.branch, self.rows.column]] = self.hidden
        self.rows, self.hidden = rows, hidden

    def _embedded(self, rows: Rows) -> Float[Tensor, "rows d_model"]:
        """Return what the first block receives: embeddings, and what the decoder adds to them."""
        start = self.held.start
        fed = self.held.trace.embeds[start:]
        added = self.held.residuals[0] - fed  # learned positions, where there are any
        embeds = fed[rows.column]
        index = _lookup(rows, self.held.n_tail)
        for branch, edit in self._edits("hook_embed"):
            at = index[branch, self.held.columns(edit.positions)]
            write(embeds, Edit(edit.hook, at, edit.value, edit.head))
        if "hook_embed" in self.record:
            self.kept["hook_embed"] = embeds[None]
        return embeds + added[self.reached.turned[rows.branch, rows.column]]

    def _reading(self, layer: int) -> Packed:
        rows, held = self.rows, self.held
        extra, moved = self._extra(layer)
        shared, own = self.masks.of(layer, rows)
        if extra is not None:
            own = torch.nn.functional.pad(own, (0, extra.width), value=torch.finfo(own.dtype).min)
            for branch, places, columns, slots in moved:
                for column, slot in zip(columns, slots, strict=True):
                    own[branch, places, held.n_tail + slot] = own[branch, places, column]
                    own[branch, places, column] = torch.finfo(own.dtype).min
        return Packed(rows, held.prefix[layer], held.tail[layer], shared, own, extra)

    def _extra(
        self, layer: int
    ) -> tuple[Extra | None, list[tuple[int, Tensor, list[int], list[int]]]]:
        """Collect the edge patches of a layer, and which places read which extra column."""
        index = _lookup(self.rows, self.held.n_tail)
        places: list[tuple[int, int, int]] = []  # branch, column, slot
        brought: list[tuple[Tensor, Tensor]] = []
        given: list[tuple[bool, bool]] = []
        moved = []
        for branch, variant in enumerate(self.branches):
            used = 0
            for patch in (each for each in variant.patches if each.layer == layer):
                columns = self.held.columns(patch.positions).tolist()
                slots = list(range(used, used + len(columns)))
                used += len(columns)
                reading = index[branch, self.held.columns(patch.readers)]
                moved.append((branch, self.rows.place[reading], columns, slots))
                places += [(branch, *pair) for pair in zip(columns, slots, strict=True)]
                keys, values = self.held.tail[layer]
                brought.append(
                    (_fitting(patch.keys, keys, columns), _fitting(patch.values, values, columns))
                )
                given += [(patch.keys is not None, patch.values is not None)] * len(columns)
        if not moved:
            return None, []
        device = self.hidden.device
        branches, columns, slots = torch.tensor(places, device=device).T
        extra = Extra(
            branch=branches,
            column=columns,
            slot=slots,
            keys=torch.cat([keys for keys, _ in brought]),
            values=torch.cat([values for _, values in brought]),
            given=torch.tensor(given, device=device).T,
            width=int(slots.max()) + 1,
        )
        return extra, moved

    def _edits(self, hook: str) -> list[tuple[int, Edit]]:
        return [
            (index, edit)
            for index, branch in enumerate(self.branches)
            for edit in branch.edits
            if edit.hook == hook
        ]

    def _visits(self, layer: int) -> dict[str, Visit]:
        """Return what to do at the hook points of a layer."""
        index = _lookup(self.rows, self.held.n_tail)
        # Values of another shape go by themselves, so that writing them says what is wrong.
        grouped: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
        for branch, given in enumerate(self.branches):
            for edit in given.edits:
                if edit.hook != "hook_embed" and where(edit.hook, self.n_layers)[0] == layer:
                    at = index[branch, self.held.columns(edit.positions)]
                    kind = edit.hook, edit.head, edit.value.shape[1:]
                    grouped.setdefault(kind, []).append((at, edit.value.to(self.hidden)))
        edits: dict[str, list[Edit]] = {}
        for (hook, head, _), parts in grouped.items():
            at, values = (torch.cat(side) for side in zip(*parts, strict=True))
            edits.setdefault(hook, []).append(Edit(hook, at, values, head))
        inside = [name for name in self.record if name != "hook_embed"]
        here = [name for name in inside if where(name, self.n_layers)[0] == layer]
        return {name: self._visit(name, edits.get(name, [])) for name in {*edits, *here}}

    def _visit(self, name: str, edits: list[Edit]) -> Visit:
        def visit(activation: Tensor) -> Tensor | None:
            if edits:
                activation = activation.clone()
            for edit in edits:
                write(activation[0], edit)
            if name in self.record:
                self.kept[name] = activation
            return activation if edits else None

        return visit

    def _read(
        self, states: Float[Tensor, "rows d_model"], columns: Int[Tensor, " read"]
    ) -> Float[Tensor, "branches read vocab"]:
        """Return logits at some columns, the snapshot's own where a branch does not reach."""
        trace = self.held.trace
        every = self.held.states[columns].expand(len(self.branches), -1, -1).clone()
        index = _lookup(self.rows, self.held.n_tail)[:, columns]
        reached = index >= 0
        every[reached] = states[index[reached]]
        slots = trace.labels[self.held.start :][columns] == SPANS.index("latents")
        settled = trace.reasoner.feedback().settle(every, slots.expand(len(every), -1))
        return trace.reasoner.unembed(settled)


def _fitting(
    half: Tensor | None, tail: Float[Tensor, "kv_heads tail d_head"], columns: list[int]
) -> Float[Tensor, "found kv_heads d_head"]:
    """Return an edge patch's keys or values, the snapshot's own where none are brought.

    Raises:
        EditError: They have other heads.
    """
    own = tail[:, columns].transpose(0, 1)
    if half is None:
        return own
    if half.shape != own.shape:
        raise EditError(
            f"An edge patch brings keys or values of shape {tuple(half.shape)}; there they have "
            f"shape {tuple(own.shape)}. Patch between runs of one model."
        )
    return half.to(own)


def _rows(computed: Tensor) -> Rows:
    branch, column = computed.nonzero(as_tuple=True)
    place = (computed.long().cumsum(dim=1) - 1)[branch, column]
    width = int(computed.sum(dim=1).max()) if computed.numel() else 0
    return Rows(branch, column, place, len(computed), width)


def _lookup(rows: Rows, n_columns: int) -> Int[Tensor, "branches columns"]:
    """Return the row that holds each column of each branch; -1 where there is none."""
    index = torch.full((rows.n_branches, n_columns), -1, device=rows.branch.device)
    index[rows.branch, rows.column] = torch.arange(len(rows.branch), device=index.device)
    return index


def _shifted(points: Int[Tensor, "points 3"], begin: int, end: int) -> Int[Tensor, "mine 3"]:
    """Return the points of some branches, counted from the first of these."""
    mine = points[(points[:, 0] >= begin) & (points[:, 0] < end)].clone()
    mine[:, 0] -= begin
    return mine


def _deepstack(held: Snapshot) -> list[Float[Tensor, "tail d_model"]]:
    """Return what the first blocks' outputs get added at image positions of the tail."""
    part = held.trace.prefill().part(held.start, held.start + held.n_tail)
    wide = []
    for features in part.deepstack:
        full = features.new_zeros(held.n_tail, features.shape[-1])
        full[part.image_mask[0]] = features
        wide.append(full)
    return wide


def _asked(held: Snapshot, read: Sequence[int]) -> list[int]:
    """Return the positions to be read, counted from the first.

    Raises:
        EditError: The run has no such position.
    """
    n_seq = len(held.trace.labels)
    if not all(-n_seq <= place < n_seq for place in read):
        raise EditError(
            f"Positions {list(read)} cannot be read: this run has {n_seq}. Pass positions of it."
        )
    return [place % n_seq for place in read]


def _check_tail(held: Snapshot, branches: Sequence[Branch], read: list[int]) -> None:
    begins = min([*read, *(first_position(held.trace, branch) for branch in branches)])
    if begins < held.start:
        raise EditError(
            f"A branch begins at position {begins}, before the snapshot's tail at {held.start}. "
            f"Take the snapshot from there: snapshot(trace, {begins})."
        )
