"""Attention knockout: on which edges between named spans, in which layers, the answer depends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, first_position, snapshot
from mindseye.engine.measuring import measure
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError
from mindseye.plugins import find
from mindseye.reasoners import Edges, Reasoner, Trace
from mindseye.reasoners.spans import positions
from mindseye.samples import Pair

__all__ = ["EDGES", "Knockouts", "edges_between", "knock_out", "random_edges"]

EDGES = {
    "image to latents": ("image", "latents"),
    "question to latents": ("question", "latents"),
    "latents to answer": ("latents", "post"),
    "markers to answer": ("markers", "post"),
    "image to answer": ("image", "post"),
    "question to answer": ("question", "post"),
}
"""Source and target spans; what follows the latents counts as the answer, end marker included."""


@dataclass(frozen=True, slots=True, eq=False)
class Knockouts:
    """What cutting attention edges did.

    Attributes:
        rows: One row per pair, edge set, layer window, control and outcome: `pair edges first_layer
            last_layer control n_edges outcome value clean effect`. `control` is -1 for the edges
            themselves and counts the random sets of their size.
        outcomes: What was measured.
    """

    rows: pd.DataFrame
    outcomes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair, edge set, layer window, control and outcome."""
        return self.rows

    def mean(self) -> pd.DataFrame:
        """Return mean effects of the edges and of their controls, one row per edges and window.

        Edges that some pair does not have count as no effect there; `n_edges` says how many there
        were on average, `control` is the mean effect of the random sets.
        """
        keys = ["edges", "first_layer", "last_layer", "outcome"]
        real = self.rows[self.rows["control"] < 0].groupby(keys, sort=False)
        means = real[["effect", "n_edges"]].mean()
        drawn = self.rows[self.rows["control"] >= 0].groupby(keys, sort=False)
        means["control"] = drawn["effect"].mean()
        return means.reset_index()

    def plot(self, outcome: str | None = None) -> Any:
        """Draw effects over layer windows, beside those of random edges."""
        return find("figure", "knockouts")(self, outcome)


def knock_out(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    edges: Mapping[str, tuple[str, str]] = EDGES,
    window: int | None = None,
    n_controls: int = 4,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    seed: int = 0,
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> Knockouts:
    """Cut attention edges in the clean runs of pairs, and random edges of the same number.

    Softmax shares out what a cut edge carried, so a cut alone moves an answer somewhat: an effect
    means something beside that of as many random edges of the same queries.

    Args:
        reasoner: What runs.
        pairs: Their clean samples are cut; the reference says between which answers to measure.
        edges: Source and target span by name. A position's edge to itself is never cut.
        window: How many layers are cut at a time, the window sliding over all; every layer at once
            if left out.
        n_controls: Random edge sets for each, of edges that the model has. Where a query has fewer
            other keys than edges to cut, all of these are cut; `n_edges` says how many.
        outcome: Name of a registered outcome, or a function, or several.
        seed: Of the random edges.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: No such span, or a window that the model's layers do not hold.
        SampleError: In no pair did both runs imagine at the same positions.

    Source: Geva et al. 2023, arXiv 2304.14767; for vision-language models 2411.18620.
    """
    if not edges or n_controls < 0:
        raise EditError(
            f"knock_out got edges {tuple(edges)} and n_controls={n_controls}; pass at least one "
            "edge set, and no fewer than 0 controls."
        )
    measures = find_outcomes(outcome)
    windows = _windows(len(reasoner.architecture.blocks(reasoner.model)), window)
    draw = torch.Generator().manual_seed(seed)
    frames = [
        _rows(twins, edges, windows, n_controls, measures, draw, budget)
        for twins in comparable(reasoner, pairs, track=track)
    ]
    return Knockouts(pd.concat(frames, ignore_index=True), tuple(measures))


def edges_between(trace: Trace, source: str, target: str) -> Int[Tensor, "edges 2"]:
    """Return the edges along which one span reads another: query, then an earlier key.

    Edges that the model does not have in any layer, by its wiring or its windows, are left out.

    Raises:
        EditError: No such span.
    """
    queries, keys = positions(trace.labels, target), positions(trace.labels, source)
    every = torch.cartesian_prod(queries, keys).reshape(-1, 2)
    every = every[every[:, 1] < every[:, 0]]
    first = int(queries.min()) if len(queries) else 0
    return every[_open(trace, first)[every[:, 0] - first, every[:, 1]]]


def random_edges(
    trace: Trace, edges: Int[Tensor, "edges 2"], generator: torch.Generator
) -> Int[Tensor, "drawn 2"]:
    """Return as many other edges of the same queries, as far as these have any."""
    drawn = [edges[:0]]
    first = int(edges[:, 0].min()) if len(edges) else 0
    has = _open(trace, first).cpu()
    for query in edges[:, 0].unique().tolist():
        taken = edges[edges[:, 0] == query, 1]
        other = has[query - first, :query].nonzero()[:, 0]
        other = other[~torch.isin(other, taken.cpu())]
        chosen = other[torch.randperm(len(other), generator=generator)[: len(taken)]].to(edges)
        drawn.append(torch.stack([torch.full_like(chosen, query), chosen], dim=1))
    return torch.cat(drawn)


def _open(trace: Trace, first: int) -> Bool[Tensor, "queries keys"]:
    """Return what positions from one on may read in some layer."""
    reasoner = trace.reasoner
    biases = reasoner.architecture.bias(
        reasoner.model,
        trace.labels[None],
        trace.prefill().image_mask,
        len(trace.labels) - first,
        reasoner.wiring,
        trace.embeds.dtype,
    )
    kinds = {id(bias): bias for bias in biases}
    return torch.stack([bias[0, 0] == 0 for bias in kinds.values()]).any(dim=0)


def _windows(n_layers: int, window: int | None) -> list[tuple[int, ...]]:
    if window is None:
        return [tuple(range(n_layers))]
    if not 1 <= window <= n_layers:
        raise EditError(f"A window of {window} layers does not fit a model of {n_layers}.")
    return [tuple(range(at, at + window)) for at in range(n_layers - window + 1)]


def _rows(
    twins: Twins,
    edges: Mapping[str, tuple[str, str]],
    windows: list[tuple[int, ...]],
    n_controls: int,
    measures: Mapping[str, Outcome],
    draw: torch.Generator,
    budget: int,
) -> pd.DataFrame:
    """Cut every edge set and its controls in one pair's clean run."""
    trace = twins.clean
    cuts: list[tuple[dict[str, Any], Branch]] = []
    for name, (source, target) in edges.items():
        real = edges_between(trace, source, target)
        sets = [real, *(random_edges(trace, real, draw) for _ in range(n_controls))]
        for control, each in enumerate(sets, start=-1):
            for layers in windows:
                cut = Edges(each[:, 0], each[:, 1], layers)
                about = {"edges": name, "first_layer": layers[0], "last_layer": layers[-1]}
                about |= {"control": control, "n_edges": len(each)}
                cuts.append((about, Branch(knockouts=(cut,))))
    branches = [branch for _, branch in cuts]

    held = snapshot(trace, min(first_position(trace, branch) for branch in branches))
    own, values = measure(held, branches, measures, twins.parting, budget)
    return pd.DataFrame(
        [
            {"pair": twins.pair.id, **about, "outcome": outcome, "value": value}
            | {"clean": unedited, "effect": value - unedited}
            for (about, _), row in zip(cuts, values.tolist(), strict=True)
            for outcome, value, unedited in zip(measures, row, own.tolist(), strict=True)
        ]
    )
