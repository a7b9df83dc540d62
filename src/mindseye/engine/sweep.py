"""Activation patching over layers, slots and heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from jaxtyping import Int
from torch import Tensor

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, Snapshot, snapshot
from mindseye.engine.measuring import measure
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError
from mindseye.plugins import find
from mindseye.reasoners import Edit, Reasoner, Trace
from mindseye.reasoners.hooks import hook_point
from mindseye.reasoners.spans import positions
from mindseye.samples import Pair

__all__ = ["Grid", "Site", "direct", "sites", "span_of", "sweep"]

_PLACES = ["hook", "head", "layer", "slot"]


@dataclass(frozen=True, slots=True)
class Site:
    """An activation in one layer, or one head of it.

    Attributes:
        hook: Its name within a block; `hook_embed` has no layer of its own and counts as layer 0.
        layer: The block.
        head: The head, if one alone is patched.
    """

    hook: str
    layer: int
    head: int | None = None

    @property
    def name(self) -> str:
        """The full hook name."""
        return self.hook if self.hook == "hook_embed" else f"blocks.{self.layer}.{self.hook}"

    def edit(self, donor: Snapshot, where: Int[Tensor, " found"]) -> Edit:
        """Return the edit that puts a donor's activation here, at some positions of the run."""
        value = donor.at(self.name, where)
        return Edit(
            self.name, where, value if self.head is None else value[:, self.head], self.head
        )


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """What patching each site did.

    Attributes:
        rows: One row per pair, site and outcome: `pair hook head layer slot outcome value clean
            reference effect`; `head` is -1 where all heads, or none, are patched. `effect` is how
            far the patch moved the outcome away from the unpatched run, in the outcome's unit.
        at: The span whose positions were patched.
        direction: Which way.
        outcomes: What was measured.
    """

    rows: pd.DataFrame
    at: str
    direction: str
    outcomes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair, site and outcome."""
        return self.rows

    def mean(self) -> pd.DataFrame:
        """Return the mean effect per site and outcome, and its ratio to the mean whole difference.

        The ratio of an outcome that does not differ between the runs is not a number.
        """
        places = self.rows.groupby([*_PLACES, "outcome"], sort=False)
        means = places[["effect", "clean", "reference"]].mean().reset_index()
        whole = means["clean"] - means["reference"]
        means["share"] = means["effect"] / whole.where(whole != 0)
        return means

    def heatmap(self, outcome: str | None = None) -> Any:
        """Draw layers by slots, in units of an outcome; the first one if none is named."""
        return find("figure", "sweep")(self, outcome)


def sweep(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    at: str = "latents",
    hooks: Sequence[str] = ("hook_resid_pre",),
    heads: bool = False,
    layers: Sequence[int] | None = None,
    direction: Literal["denoising", "noising"] = "denoising",
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> Grid:
    """Patch one activation at a time between the two runs of each pair.

    Denoising writes the clean run's activation into the reference run and asks what that restores;
    noising does the reverse. All sites of a pair are branches of one run (open loop: later latents
    keep the vectors they were fed), so that only what a patch can disturb is computed.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples. Pairs in which a run does not imagine, or in which the
            two runs' segments stand at different positions, are left out.
        at: The span to patch: `latents`, `segment`, `header`, any of `SPANS` and `GROUPS`.
        hooks: Activations within a block, such as `hook_resid_pre` or `attn.hook_z`, or
            `hook_embed`.
        heads: Whether activations that have heads are patched head by head.
        layers: Which blocks; all if left out.
        direction: `denoising` or `noising`.
        outcome: Name of a registered outcome, or a function, or several.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: A layer, hook, span or direction that does not exist.
        EngineError: The budget is too small for one site.
        SampleError: No pair was given, or in none did both runs imagine at the same positions.

    Source: Zhang & Nanda 2023, arXiv 2309.16042; Heimersheim & Nanda 2024, arXiv 2404.15255.
    """
    chosen = sites(reasoner, hooks, layers, heads=heads)
    measures = find_outcomes(outcome)
    rows = [
        _rows(twins, chosen, measures, at, direction, budget)
        for twins in comparable(reasoner, pairs, at, track)
    ]
    return Grid(pd.concat(rows, ignore_index=True), at, direction, tuple(measures))


def sites(
    reasoner: Reasoner, hooks: Sequence[str], layers: Sequence[int] | None, *, heads: bool = False
) -> list[Site]:
    """Return the sites of a sweep, layer by layer.

    Raises:
        EditError: A layer or hook that does not exist.
    """
    if not hooks:
        raise EditError("No hook was given to patch; pass some, such as 'hook_resid_pre'.")
    model, architecture = reasoner.model, reasoner.architecture
    found: list[Site] = []
    for layer in range(len(architecture.blocks(model))) if layers is None else layers:
        for hook in hooks:
            if hook == "hook_embed" and found and any(site.hook == hook for site in found):
                continue
            site = Site(hook, layer if hook != "hook_embed" else 0)
            point = hook_point(site.name, model, architecture)
            if heads and point.d_head is not None:
                found += [Site(hook, layer, head) for head in range(_n_heads(reasoner, hook))]
            else:
                found.append(site)
    if not found:
        raise EditError("No layer was given to patch; pass some, or leave layers out for all.")
    return found


def direct(twins: Twins, direction: str) -> tuple[Trace, Trace]:
    """Return the run that is patched from, and the one that is patched.

    Raises:
        EditError: No such direction.
    """
    if direction not in ("denoising", "noising"):
        raise EditError(f"No direction {direction!r}; there are 'denoising' and 'noising'.")
    if direction == "denoising":
        return twins.clean, twins.reference
    return twins.reference, twins.clean


def span_of(twins: Twins, target: Trace, at: str) -> Int[Tensor, " found"]:
    """Return the positions of a span that both runs have.

    Raises:
        EditError: There are none, or they stand elsewhere in the other run.
    """
    here, there = (positions(run.labels, at) for run in (target, twins.clean))
    other = positions(twins.reference.labels, at)
    if not len(here) or there.tolist() != other.tolist():
        raise EditError(
            f"Span {at!r} stands at positions {there.tolist()} and {other.tolist()} in the runs of "
            f"pair {twins.pair.id!r}; expected the same ones, at least one. Patch at another span, "
            "or pair samples of one image grid and question length."
        )
    return here


def _n_heads(reasoner: Reasoner, hook: str) -> int:
    text = reasoner.model.config.get_text_config()
    shared = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return shared if hook.endswith(("hook_k", "hook_v")) else text.num_attention_heads


def _rows(
    twins: Twins,
    chosen: list[Site],
    measures: dict[str, Outcome],
    at: str,
    direction: str,
    budget: int,
) -> pd.DataFrame:
    """Patch every site of one pair."""
    source, target = direct(twins, direction)
    where = span_of(twins, target, at)
    start = int(where.min())
    donor = snapshot(source, start, record=sorted({site.name for site in chosen}))
    branches = [Branch([site.edit(donor, spot)]) for site in chosen for spot in where[:, None]]
    own, patched = measure(snapshot(target, start), branches, measures, twins.parting, budget)
    other, _ = measure(donor, [], measures, twins.parting, budget)
    clean, reference = (other, own) if direction == "denoising" else (own, other)
    n_sites, n_slots = len(chosen), len(where)
    index = pd.MultiIndex.from_product([range(n_sites), range(n_slots), measures])
    site = [chosen[i] for i in index.get_level_values(0)]
    value = patched.flatten().numpy()
    every = n_sites * n_slots
    return pd.DataFrame(
        {
            "pair": twins.pair.id,
            "hook": [each.hook for each in site],
            "head": [-1 if each.head is None else each.head for each in site],
            "layer": [each.layer for each in site],
            "slot": index.get_level_values(1),
            "outcome": index.get_level_values(2),
            "value": value,
            "clean": clean.repeat(every).numpy(),
            "reference": reference.repeat(every).numpy(),
            "effect": value - own.repeat(every).numpy(),
        }
    )
