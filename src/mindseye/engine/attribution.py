"""Attribution patching and integrated gradients: quick guesses at a sweep, to rank its cells.

A gradient sees no saturation and no cancellation, so a small attribution is no evidence of a small
effect. The cells that rank highest therefore always come with their exact effect, and the sum over
slots with its distance from the exact joint effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, Snapshot, snapshot
from mindseye.engine.gradients import tail_logits
from mindseye.engine.measuring import measure
from mindseye.engine.sweep import Site, direct, sites, span_of
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError
from mindseye.plugins import find
from mindseye.reasoners import Reasoner
from mindseye.reasoners.hooks import Visit
from mindseye.samples import Pair

__all__ = ["Attribution", "attribute"]


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """A ranking of the cells of a sweep.

    Attributes:
        rows: One row per pair, site, slot and outcome: `pair hook head layer slot outcome
            attribution exact`. `exact` is the patch's true effect, for each pair's `top` cells of
            largest attribution in the first outcome, and not a number for all others.
        completeness: One row per pair, site and outcome: `pair hook head layer outcome total joint
            residual`: the attributions' sum over slots, the exact effect of patching all slots at
            once, and how far the first is from the second.
        at: The span whose positions were patched.
        direction: Which way.
        method: `gradient` or `integrated`.
        outcomes: What was measured.
    """

    rows: pd.DataFrame
    completeness: pd.DataFrame
    at: str
    direction: str
    method: str
    outcomes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair, site, slot and outcome."""
        return self.rows

    def ranking(self, outcome: str | None = None) -> pd.DataFrame:
        """Return sites and slots by their mean absolute attribution, largest first.

        `exact` is the mean over those pairs in which the cell was among the top, `n_exact` how many
        these are.
        """
        named = self.outcomes[0] if outcome is None else outcome.replace("_", " ")
        rows = self.rows[self.rows["outcome"] == named]
        rows = rows.assign(size=rows["attribution"].abs())
        means = rows.groupby(["hook", "head", "layer", "slot"], sort=False).agg(
            size=("size", "mean"),
            attribution=("attribution", "mean"),
            exact=("exact", "mean"),
            n_exact=("exact", "count"),
        )
        return means.sort_values("size", ascending=False).reset_index()

    def plot(self, outcome: str | None = None) -> Any:
        """Draw attributions against exact effects, where these are known."""
        return find("figure", "attribution")(self, outcome)


def attribute(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    at: str = "latents",
    hooks: Sequence[str] = ("hook_resid_pre",),
    heads: bool = False,
    layers: Sequence[int] | None = None,
    direction: Literal["denoising", "noising"] = "denoising",
    method: Literal["gradient", "integrated"] = "gradient",
    steps: int = 16,
    top: int = 8,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> Attribution:
    """Guess what `sweep` would find, from gradients.

    `gradient` multiplies the difference between the two runs' activations by the outcome's gradient
    in the unpatched run: one backward pass for all sites. `integrated` averages the gradient along
    the straight way from one activation to the other, all slots of a site moving together, so that
    attributions add up to the joint effect as `steps` grows: one backward pass per site.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        at: The span to patch.
        hooks: As in `sweep`.
        heads: As in `sweep`.
        layers: As in `sweep`.
        direction: As in `sweep`.
        method: `gradient` or `integrated`.
        steps: Midpoints of the way, for `integrated`.
        top: How many cells of each pair get their exact effect.
        outcome: Name of a registered outcome, or a function, or several.
        budget: Most bytes of activations at a time, for the exact effects.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: A layer, hook, span, direction or method that does not exist, or no `top`.
        SampleError: In no pair did both runs imagine at the same positions.

    Source: attribution patching, Syed et al. 2023, arXiv 2310.10348, and its false negatives,
        Kramár et al. 2024, arXiv 2403.00745; integrated gradients, Sundararajan et al. 2017,
        arXiv 1703.01365.
    """
    if method not in ("gradient", "integrated"):
        raise EditError(f"No method {method!r}; there are 'gradient' and 'integrated'.")
    if top < 1 or steps < 1:
        raise EditError(
            f"attribute got top={top} and steps={steps}; expected at least 1 of each: a ranking "
            "without exact values cannot be judged."
        )
    chosen = sites(reasoner, hooks, layers, heads=heads)
    measures = find_outcomes(outcome)
    job = _Job(chosen, at, direction, method, steps, top, measures, budget)
    frames = [job.of(twins) for twins in comparable(reasoner, pairs, at, track)]
    rows, completeness = (pd.concat(part, ignore_index=True) for part in zip(*frames, strict=True))
    return Attribution(rows, completeness, at, direction, method, tuple(measures))


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What `attribute` was asked for, pair by pair."""

    sites: list[Site]
    at: str
    direction: str
    method: str
    steps: int
    top: int
    measures: Mapping[str, Outcome]
    budget: int

    def of(self, twins: Twins) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows and the completeness of one pair."""
        source, target = direct(twins, self.direction)
        where = span_of(twins, target, self.at)
        names = sorted({site.name for site in self.sites})
        donor, held = (snapshot(run, int(where.min()), record=names) for run in (source, target))
        change = {name: donor.at(name, where) - held.at(name, where) for name in names}
        slopes = self._slopes(twins, held, where, change)
        guessed = torch.stack(
            [_parts(change[site.name] * slopes[site], site) for site in self.sites]
        )  # sites, outcomes, slots
        largest = guessed[:, 0].abs().flatten().argsort(descending=True)[: self.top].tolist()
        cells = [divmod(place, len(where)) for place in largest]
        branches = [self._patch(donor, site, where) for site in self.sites]
        branches += [self._patch(donor, self.sites[i], where[slot, None]) for i, slot in cells]
        own, values = measure(held, branches, self.measures, twins.parting, self.budget)
        effects = values - own
        exact = torch.full_like(guessed, torch.nan)
        for (site, slot), effect in zip(cells, effects[len(self.sites) :], strict=True):
            exact[site, :, slot] = effect
        return (
            self._frame(twins, attribution=guessed, exact=exact),
            self._summed(twins, guessed.sum(dim=-1), effects[: len(self.sites)]),
        )

    def _slopes(
        self,
        twins: Twins,
        held: Snapshot,
        where: Int[Tensor, " slots"],
        change: dict[str, Tensor],
    ) -> dict[Site, Float[Tensor, "outcomes slots *dims"]]:
        """Return every outcome's gradient at the slots of each site."""
        if self.method == "gradient":
            still = {name: torch.zeros_like(each)[None] for name, each in change.items()}
            found = _gradients(held, where, still, twins, self.measures)
            return {site: found[site.name] for site in self.sites}
        slopes: dict[Site, Tensor] = {}
        for site in self.sites:
            moved = change[site.name]
            midpoints = (torch.arange(self.steps).to(moved) + 0.5) / self.steps
            if site.head is not None:
                others = torch.arange(moved.shape[1], device=moved.device) != site.head
                moved = moved.masked_fill(others[:, None], 0)
            along = {site.name: torch.einsum("s,...->s...", midpoints.to(moved), moved)}
            slopes[site] = _gradients(held, where, along, twins, self.measures)[site.name]
        return slopes

    def _patch(self, donor: Snapshot, site: Site, where: Int[Tensor, " found"]) -> Branch:
        return Branch([site.edit(donor, where)])

    def _frame(
        self, twins: Twins, **columns: Float[Tensor, "sites outcomes slots"]
    ) -> pd.DataFrame:
        n_sites, _, n_slots = columns["exact"].shape
        index = pd.MultiIndex.from_product([range(n_sites), self.measures, range(n_slots)])
        return pd.DataFrame(
            {
                **self._about(twins, list(index.get_level_values(0))),
                "slot": index.get_level_values(2),
                "outcome": index.get_level_values(1),
                **{name: each.flatten().numpy() for name, each in columns.items()},
            }
        )

    def _summed(
        self,
        twins: Twins,
        total: Float[Tensor, "sites outcomes"],
        joint: Float[Tensor, "sites outcomes"],
    ) -> pd.DataFrame:
        index = pd.MultiIndex.from_product([range(len(self.sites)), self.measures])
        return pd.DataFrame(
            {
                **self._about(twins, list(index.get_level_values(0))),
                "outcome": index.get_level_values(1),
                "total": total.flatten().numpy(),
                "joint": joint.flatten().numpy(),
                "residual": (total - joint).flatten().numpy(),
            }
        )

    def _about(self, twins: Twins, which: list[int]) -> dict[str, Any]:
        chosen = [self.sites[i] for i in which]
        return {
            "pair": twins.pair.id,
            "hook": [site.hook for site in chosen],
            "head": [-1 if site.head is None else site.head for site in chosen],
            "layer": [site.layer for site in chosen],
        }


def _parts(
    product: Float[Tensor, "outcomes slots *dims"], site: Site
) -> Float[Tensor, "outcomes slots"]:
    """Sum an attribution over the entries of a site, in double precision on the CPU."""
    if site.head is not None:
        product = product[:, :, site.head]
    return product.double().flatten(2).sum(dim=-1).cpu()


def _gradients(
    held: Snapshot,
    where: Int[Tensor, " slots"],
    moved: dict[str, Float[Tensor, "steps slots *dims"]],
    twins: Twins,
    measures: Mapping[str, Outcome],
) -> dict[str, Float[Tensor, "outcomes slots *dims"]]:
    """Return gradients with respect to activations at some positions, averaged over steps.

    Args:
        held: The unpatched run.
        where: The positions.
        moved: By hook name, how far its activation is moved there in each step.
        twins: Where the answers part.
        measures: Outcomes by name.
    """
    n_steps, columns = len(next(iter(moved.values()))), held.columns(where)
    leaves = {name: each.clone().requires_grad_() for name, each in moved.items()}

    def visit(name: str) -> Visit:
        return lambda activation: activation.index_add(1, columns, leaves[name])

    logits = tail_logits(held, n_steps, {name: visit(name) for name in leaves})
    slopes: dict[str, list[Tensor]] = {name: [] for name in leaves}
    for outcome in measures.values():
        with torch.enable_grad():
            total = outcome(logits, twins.parting).sum()
        found = torch.autograd.grad(total, list(leaves.values()), retain_graph=True)
        for name, each in zip(leaves, found, strict=True):
            slopes[name].append(each.mean(dim=0))
    return {name: torch.stack(each) for name, each in slopes.items()}
