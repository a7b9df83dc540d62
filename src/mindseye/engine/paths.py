"""Path patching: what one component tells another directly, all else held still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import (
    DEFAULT_BUDGET,
    Branch,
    EdgePatch,
    Snapshot,
    snapshot,
    through_block,
)
from mindseye.engine.measuring import measure
from mindseye.engine.sweep import Site, sites, span_of
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError
from mindseye.plugins import find
from mindseye.reasoners import Edit, Reasoner, Trace
from mindseye.reasoners.spans import positions
from mindseye.samples import Pair

__all__ = ["RECEIVERS", "SENDERS", "Paths", "path_patch"]

SENDERS = ("hook_embed", "hook_resid_pre", "attn.hook_z", "hook_attn_out", "hook_mlp_out")
"""What adds to the residual stream, so that its direct message can be told."""

RECEIVERS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "hook_mlp_out")
"""What reads the residual stream."""


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """What each path carries.

    Attributes:
        rows: One row per pair, sender, receiving layer and outcome: `pair sender head layer
            receiver receiver_layer outcome value clean reference effect`; `receiver_layer` is -1
            where all layers above the sender received at once, `head` is -1 for no single head.
        at: The span at which senders and receivers stand.
        readers: The span whose queries alone read what is received; none for all.
        outcomes: What was measured.
    """

    rows: pd.DataFrame
    at: str
    readers: str | None
    outcomes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair, sender, receiving layer and outcome."""
        return self.rows

    def mean(self) -> pd.DataFrame:
        """Return the mean effect of every path, and its ratio to the mean whole difference."""
        keys = ["sender", "head", "layer", "receiver", "receiver_layer", "outcome"]
        means = self.rows.groupby(keys, sort=False)[["effect", "clean", "reference"]]
        means = means.mean().reset_index()
        whole = means["clean"] - means["reference"]
        means["share"] = means["effect"] / whole.where(whole != 0)
        return means

    def heatmap(self, outcome: str | None = None) -> Any:
        """Draw sending by receiving layers."""
        return find("figure", "paths")(self, outcome)


def path_patch(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    at: str = "latents",
    senders: Sequence[str] = ("attn.hook_z",),
    heads: bool = False,
    layers: Sequence[int] | None = None,
    receivers: Sequence[str] = ("attn.hook_k", "attn.hook_v"),
    readers: str | None = None,
    each_layer: bool = True,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> Paths:
    """Patch what senders tell receivers directly, from the clean run into the reference run.

    A sender's output at a span is replaced by the clean run's; every attention and MLP between it
    and the receiver keeps what it put out, so that only the residual stream itself carries the
    change. The receiver, at the same positions in a higher layer, takes that changed stream in;
    from there on everything is computed as usual. With `readers`, only one span's queries read the
    received keys and values: the path sender, slot, key or value, reader.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        at: The span at which senders and receivers stand.
        senders: Names of `SENDERS`.
        heads: Whether `attn.hook_z` sends head by head.
        layers: Of the senders; all if left out.
        receivers: Names of `RECEIVERS`, patched together.
        readers: The span whose queries alone read received keys and values, such as `post`.
        each_layer: Whether receiving layers are patched one at a time, or all above the sender.
        outcome: Name of a registered outcome, or a function, or several.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: A sender, receiver, layer or span that does not exist, senders above all
            receivers, or readers of something other than keys and values.
        SampleError: In no pair did both runs imagine at the same positions.

    Source: Goldowsky-Dill et al. 2023, arXiv 2304.05969.
    """
    _check(senders, receivers, readers)
    chosen = sites(reasoner, senders, layers, heads=heads)
    measures = find_outcomes(outcome)
    job = _Job(chosen, tuple(receivers), readers, at, each_layer, measures, budget)
    frames = [job.rows(twins) for twins in comparable(reasoner, pairs, at, track)]
    rows = pd.concat(frames, ignore_index=True)
    if rows.empty:
        raise EditError(
            f"No receiver {tuple(receivers)} stands above any sender {tuple(senders)} in layers "
            f"{layers}. Send from lower layers, or receive in others."
        )
    return Paths(rows, at, readers, tuple(measures))


def _check(senders: Sequence[str], receivers: Sequence[str], readers: str | None) -> None:
    for what, names, known in (("sender", senders, SENDERS), ("receiver", receivers, RECEIVERS)):
        if not names:
            raise EditError(f"path_patch got no {what}s; there are {', '.join(known)}. Pass some.")
        for name in names:
            if name not in known:
                raise EditError(f"No {what} {name!r}; there are {', '.join(known)}. Pass these.")
    if readers is not None and not set(receivers) <= {"attn.hook_k", "attn.hook_v"}:
        raise EditError(
            f"readers={readers!r} was given with receivers {tuple(receivers)}; only keys and "
            "values are read by others. Pass receivers=('attn.hook_k', 'attn.hook_v')."
        )


def _n_layers(trace: Trace) -> int:
    return len(trace.reasoner.architecture.blocks(trace.reasoner.model))


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What `path_patch` was asked for, pair by pair."""

    senders: list[Site]
    receivers: tuple[str, ...]
    readers: str | None
    at: str
    each_layer: bool
    measures: Mapping[str, Outcome]
    budget: int

    def rows(self, twins: Twins) -> pd.DataFrame:
        """Patch every path of one pair."""
        source, target = twins.clean, twins.reference
        where = span_of(twins, target, self.at)
        start = int(where.min())
        if self.readers is not None:
            reading = positions(target.labels, self.readers)
            if not len(reading):
                raise EditError(
                    f"readers={self.readers!r} names a span that is empty in pair "
                    f"{twins.pair.id!r}, so nobody would read what is received. Name another."
                )
            start = min(start, int(reading.min()))
        middles = [f"blocks.{i}.hook_resid_mid" for i in range(_n_layers(target))]
        names = sorted({*middles, *(site.name for site in self.senders)})
        donor, held = (snapshot(run, start, record=names) for run in (source, target))
        messages = self._messages(held, donor, where)
        paths = self._paths(held, messages, where)

        branches = [branch for *_, branch in paths]
        own, found = measure(held, branches, self.measures, twins.parting, self.budget)
        other, _ = measure(donor, [], self.measures, twins.parting, self.budget)
        return pd.DataFrame(
            [
                {
                    "pair": twins.pair.id,
                    "sender": site.hook,
                    "head": -1 if site.head is None else site.head,
                    "layer": site.layer,
                    "receiver": " ".join(self.receivers),
                    "receiver_layer": layer,
                    "outcome": outcome,
                    "value": float(found[index, place]),
                    "clean": float(other[place]),
                    "reference": float(own[place]),
                    "effect": float(found[index, place] - own[place]),
                }
                for index, (site, layer, _) in enumerate(paths)
                for place, outcome in enumerate(self.measures)
            ]
        )

    def _messages(
        self, held: Snapshot, donor: Snapshot, where: Int[Tensor, " found"]
    ) -> Float[Tensor, "senders found d_model"]:
        """Return what each sender adds to the residual stream when it is the clean run's."""
        messages = []
        for site in self.senders:
            mine, theirs = (each.at(site.name, where) for each in (held, donor))
            if site.hook == "attn.hook_z":
                sent = mine.clone()
                heads = slice(None) if site.head is None else site.head
                sent[:, heads] = theirs[:, heads]
                # Sent through the layer's own output projection, and a norm where there is one.
                out = through_block(
                    held,
                    site.layer,
                    where,
                    edits={"attn.hook_z": torch.stack([mine, sent])},
                    record=("hook_attn_out",),
                )["hook_attn_out"]
                messages.append(out[1] - out[0])
            else:
                messages.append(theirs - mine)
        return torch.stack(messages)

    def _paths(
        self,
        held: Snapshot,
        messages: Float[Tensor, "senders found d_model"],
        where: Int[Tensor, " found"],
    ) -> list[tuple[Site, int, Branch]]:
        """Return a branch for every sender and receiving layer, or for every sender."""
        received: dict[int, list[tuple[int, Branch]]] = {}
        for layer in range(len(held.given)):
            heard = [self._heard(site, layer) for site in self.senders]
            hearing = [i for i, names in enumerate(heard) if names]
            if hearing:
                names = [heard[i] for i in hearing]
                told = self._receive(held, layer, messages[hearing], where, names)
                for index, branch in zip(hearing, told, strict=True):
                    received.setdefault(index, []).append((layer, branch))
        paths = []
        for index, site in enumerate(self.senders):
            parts = received.get(index, [])
            if self.each_layer:
                paths += [(site, layer, branch) for layer, branch in parts]
            else:
                edits = [edit for _, branch in parts for edit in branch.edits]
                patches = [patch for _, branch in parts for patch in branch.patches]
                paths.append((site, -1, Branch(edits, patches=patches)))
        return paths

    def _heard(self, site: Site, layer: int) -> list[str]:
        """Return the receivers of a layer that stand after a sender in the residual stream."""
        after = {"hook_attn_out": 1, "attn.hook_z": 1, "hook_mlp_out": 2}
        sent = 2 * site.layer + after.get(site.hook, 0)
        return [name for name in self.receivers if sent <= 2 * layer + (name == "hook_mlp_out")]

    def _receive(
        self,
        held: Snapshot,
        layer: int,
        messages: Float[Tensor, "senders found d_model"],
        where: Int[Tensor, " found"],
        heard: list[list[str]],
    ) -> list[Branch]:
        """Return what a layer's receivers make of each message, as branches."""
        block = f"blocks.{layer}."
        middle = held.at(f"{block}hook_resid_mid", where) + messages
        made = through_block(
            held,
            layer,
            where,
            stream=held.residuals[layer][held.columns(where)] + messages,
            edits={"hook_resid_mid": middle} if "hook_mlp_out" in self.receivers else {},
            record=self.receivers,
        )
        if self.readers is None:
            return [
                Branch([Edit(block + name, where, made[name][i]) for name in names])
                for i, names in enumerate(heard)
            ]
        readers = positions(held.trace.labels, self.readers)
        return [
            Branch(
                patches=[
                    EdgePatch(
                        layer,
                        where,
                        made["keys"][i] if "attn.hook_k" in names else None,
                        made["values"][i] if "attn.hook_v" in names else None,
                        readers,
                    )
                ]
            )
            for i, names in enumerate(heard)
        ]
