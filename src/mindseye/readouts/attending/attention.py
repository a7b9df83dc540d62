"""Where latents look: attention by segment, its entropy, and the region that is asked about."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.causal import interval
from mindseye.errors import SampleError, UnknownNameError
from mindseye.interventions.boxes import region as region_of
from mindseye.plugins import find
from mindseye.readouts.attending.measures import OTHER, TO, enrichment, entropy, masses
from mindseye.readouts.attending.patterns import Patterns, slot_patterns
from mindseye.readouts.lenses.runs import one_each, traced
from mindseye.reasoners import Reasoner, Trace
from mindseye.reasoners.grids import TokenGrid, coverage, token_grid
from mindseye.samples import Box, Sample

__all__ = ["MEAN", "Attention", "Gaze", "attention"]

MEAN = -1
"""The head under which the pattern averaged over heads is listed."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaze:
    """Where the slots of one run look in its first picture, averaged over layers and heads.

    Attributes:
        sample: Of the run.
        shares: Of each slot's whole attention, by token of the picture.
        box: The region, if there is one.
        told: Whether the processor told the grid of tokens.
    """

    sample: Sample
    shares: Float[np.ndarray, "slots rows columns"]
    box: Box | None
    told: bool


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Where latents look.

    Attributes:
        rows: One per run, slot, layer and head, as `to_frame` says.
        to: The segments.
        region: Which region of the samples; none if none was asked for.
        gazes: Of every run that has a picture, by its place among the runs.
        clusters: What each run belongs to.
    """

    rows: pd.DataFrame
    to: tuple[str, ...]
    region: str | None
    gazes: dict[int, Gaze]
    clusters: tuple[Hashable, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run, slot, layer and head.

        Columns: `run sample slot layer head`, then the attention that each segment gets, `other`,
        `entropy` in nats, `normalised` (entropy over the log of `keys`, the number of positions a
        slot can read) and, with a region, `enrichment` and its floor `elsewhere`: the same pattern
        and the regions of the other samples. Head -1 is the pattern averaged over heads; its
        entropy is at least the mean of theirs. `image` is the span of that name, which also holds
        tokens that frame the picture; enrichment is of the picture's own tokens.
        """
        return self.rows.copy()

    def summary(
        self,
        measures: Sequence[str] | None = None,
        *,
        by: Sequence[str] = ("layer",),
        seed: int = 0,
    ) -> pd.DataFrame:
        """Return means of measures over runs, with 95 % intervals over clusters.

        Args:
            measures: Columns of the frame; all if left out. `excess` is enrichment less its floor.
            by: Any of `layer`, `slot` and `head`; without `head`, the pattern averaged over heads.
            seed: Draws the bootstrap.

        Returns:
            Columns `*by measure value low high n`; `n` counts runs. Slots whose picture gets no
            attention at all have no enrichment and are left out of it.

        Raises:
            UnknownNameError: There is no such measure or column.
        """
        rows = self.rows if "head" in by else self.rows[self.rows["head"] == MEAN]
        known = [*self.to, OTHER, "entropy", "normalised"]
        if self.region is not None:
            known += ["enrichment", "elsewhere", "excess"]
            rows = rows.assign(excess=rows["enrichment"] - rows["elsewhere"])
        wanted = known if measures is None else list(measures)
        if not by or not set(by) <= {"layer", "slot", "head"} or not set(wanted) <= set(known):
            raise UnknownNameError(
                f"summary({wanted}, by={tuple(by)}) names something this result lacks; measures "
                f"are {', '.join(known)}, and it groups by layer, slot and head."
            )
        rng = np.random.default_rng(seed)
        found = []
        for key, held in rows.groupby(list(by), sort=True):
            place = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
            for measure in wanted:
                mine = held[held[measure].notna()]
                names = [self.clusters[run] for run in mine["run"]]
                values = mine[measure].to_numpy(dtype=float)
                if not len(values):
                    continue
                mean = interval(values, names, rng=rng)
                found.append(
                    place
                    | {"measure": measure, "value": mean.mean, "low": mean.low, "high": mean.high}
                    | {"n": mine["run"].nunique()}
                )
        return pd.DataFrame(found)

    def plot(self) -> Any:
        """Draw attention by segment, its entropy and the enrichment over layers with plotly."""
        return find("figure", "attention")(self)

    def picture(self, run: int = 0) -> Any:
        """Draw one run's picture, lit where each slot looks, with its region.

        Raises:
            UnknownNameError: There is no such run, or it has no picture.
        """
        if run not in self.gazes:
            raise UnknownNameError(
                f"No picture of run {run} in this result; there are pictures of runs "
                f"{', '.join(map(str, self.gazes)) or 'none'}."
            )
        return find("figure", "gaze")(self.gazes[run])


def attention(
    reasoner: Reasoner,
    given: Sequence[Sample | Trace],
    *,
    to: Sequence[str] = TO,
    region: str | None = "target",
    floor: bool = True,
    heads: bool = True,
    clusters: Sequence[Hashable] | None = None,
) -> Attention:
    """Measure where latents look, from one forward pass per run.

    Attention says what could be taken from where, not that it was, or that it mattered: knock the
    edges out to learn that.

    Args:
        reasoner: What runs the samples.
        given: Samples, or traces of this model.
        to: Spans whose attention is summed; the rest is `other`.
        region: A region of the samples' first picture; none if none is of interest, or where
            there is no picture.
        floor: Whether the same patterns are held against the other samples' regions too, scaled to
            their picture.
        heads: Whether every head has a row, or the average over heads alone.
        clusters: What each run belongs to, such as its image; each is its own if left out.

    Returns:
        The measures. With one run only, or without `floor`, the floor is not a number.

    Raises:
        SampleError: Nothing was given; a sample lacks the region, it lies outside its picture, or
            the picture's tokens make no known grid; clusters are not one per run.
        EditError: A run has no latents, a trace is of another model, or spans overlap.

    Source: image-attention entropy at latents is a readout of arXiv 2606.01287; entropies here are
        of whole patterns. Enrichment is the region's share of attention over its share of area.
    """
    traces = traced(reasoner, given)
    if clusters is not None:
        one_each("clusters", clusters, len(traces))
    boxes = [None if region is None else region_of(t.sample, region) for t in traces]
    shapes = [t.sample.image.shape[:2] if t.sample.images else (1, 1) for t in traces]
    frames, gazes = [], {}
    for run, trace in enumerate(traces):
        patterns = slot_patterns(trace)
        grid = token_grid(trace) if bool(trace.prefill().image_mask.any()) else None
        covered = _covered(run, boxes, shapes, grid, floor)
        frames.append(_measured(patterns, trace, to, grid, covered, heads).assign(run=run))
        if grid is not None and trace.sample.images:
            gazes[run] = _gaze(patterns, trace.sample, grid, boxes[run])
    rows = pd.concat(frames, ignore_index=True)
    first = ["run", "sample", "slot", "layer", "head"]
    return Attention(
        rows=rows[first + [name for name in rows if name not in first]],
        to=tuple(to),
        region=region,
        gazes=gazes,
        clusters=tuple(range(len(traces)) if clusters is None else clusters),
    )


_Covered = list[Float[np.ndarray, " tokens"]]
"""What a region covers of a run's tokens: its own region first, then those of other samples."""


def _covered(
    run: int,
    boxes: Sequence[Box | None],
    shapes: Sequence[tuple[int, ...]],
    grid: TokenGrid | None,
    floor: bool,
) -> _Covered:
    """Lay a run's own region over its grid, then those of the others, scaled to its picture."""
    own = boxes[run]
    if own is None:
        return []
    if grid is None or not grid.told:
        raise SampleError(
            f"Run {run} has a region, but its picture's tokens make no known grid: the processor "
            "cut several tiles, or the model saw no picture. Pass region=None."
        )
    others = [place for place in range(len(boxes)) if floor and place != run]
    found = []
    for place in (run, *others):
        box, shape = boxes[place], shapes[place]
        if box is not None:
            found.append(coverage(box, (shape[0], shape[1]), grid.rows, grid.columns))
    return found


def _measured(
    patterns: Patterns,
    trace: Trace,
    to: Sequence[str],
    grid: TokenGrid | None,
    covered: _Covered,
    heads: bool,
) -> pd.DataFrame:
    """Return one row per slot, layer and head of a run."""
    exact = torch.promote_types(patterns.weights.dtype, torch.float32)
    weights = patterns.weights.to(exact)
    weights = weights / weights.sum(dim=-1, keepdim=True)  # half precision leaves a percent over
    mean = weights.mean(dim=1, keepdim=True)
    every = torch.cat([mean, weights], dim=1) if heads else mean
    n_layers, n_heads, n_slots, _ = every.shape
    keys = patterns.n_keys[:, None].expand(n_layers, n_heads, n_slots)
    spread = entropy(every)
    columns: dict[str, Tensor] = {
        **masses(every, trace.labels, to),
        "entropy": spread,
        "normalised": torch.where(keys > 1, spread / keys.clamp(min=2).log(), torch.nan),
        "keys": keys,
    }
    if grid is not None and covered:
        seen = every[..., grid.positions.cpu()]
        own, *others = (enrichment(seen, each) for each in covered)
        nothing = torch.full_like(own, torch.nan)
        columns["enrichment"] = own
        columns["elsewhere"] = torch.stack(others).mean(dim=0) if others else nothing
    layer, head, slot = np.indices((n_layers, n_heads, n_slots)).reshape(3, -1)
    return pd.DataFrame(
        {
            "sample": trace.sample.id,
            "slot": slot,
            "layer": layer,
            "head": head - 1,  # MEAN comes first
            **{name: values.reshape(-1).numpy() for name, values in columns.items()},
        }
    )


def _gaze(patterns: Patterns, sample: Sample, grid: TokenGrid, box: Box | None) -> Gaze:
    """Average patterns over layers and heads, and lay them out as the picture."""
    shares = patterns.weights.double().mean(dim=(0, 1))[:, grid.positions.cpu()]
    laid = shares.reshape(len(shares), grid.rows, grid.columns).numpy()
    return Gaze(sample, laid, box, grid.told)
