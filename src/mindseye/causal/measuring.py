"""One pair measured: its runs exchanged, pinned and decoded on, and what is read from them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mindseye.causal.scoring import (
    CELLS,
    Asked,
    cell_rows,
    matrix,
    pinned_rows,
    places,
    run_rows,
    scorer,
)
from mindseye.engine import (
    Arms,
    Branch,
    Cells,
    Twins,
    compute,
    crossed_cells,
    mediators_of,
    pinned,
    reads,
    snapshot,
)
from mindseye.engine.lengths import LENGTH, length_cells
from mindseye.engine.levels import tail_start
from mindseye.engine.words import WORDS, runs_saying, with_words, word_cells
from mindseye.errors import EditError
from mindseye.reasoners import Knockout, Reasoner

__all__ = ["CUT", "PINS", "PairRows", "measure_pair"]

PINS: Arms = {"zero": "zero", "noise": "matched_noise"}
"""What the mediator is pinned to unless somebody asks for more."""

CUT = "cut"
"""The arm in which nothing after the latents reads their slots; all else stays where it is."""


@dataclass(frozen=True, slots=True)
class PairRows:
    """What one pair gives.

    Attributes:
        rows: By level and outcome: cells, effects, what each cell would say, and guards.
        pinned: By level, pin and outcome: both inputs under z*, and the controlled effects.
    """

    rows: list[dict[str, Any]]
    pinned: list[dict[str, Any]]


def measure_pair(
    reasoner: Reasoner, twins: Twins, name: str, cluster: Hashable, asked: Asked
) -> PairRows | None:
    """Measure a pair at every level at which its two runs can be exchanged; none if at none.

    Args:
        reasoner: What runs.
        twins: The pair's runs.
        name: What it is called in the rows.
        cluster: What it belongs to.
        asked: What to measure.
    """
    if not twins.imagined:
        return None
    fed, words = mediators_of(asked.pins, twins, asked.pool)
    if words and WORDS not in asked.levels:
        raise EditError(
            f"{next(iter(words))!r} holds the mediator to other words, which is measured at level "
            f"{WORDS!r} only. Add that level, or pin what feeds vectors."
        )
    parts = []
    if twins.comparable and asked.ladder:
        parts.append(_at_ladder(reasoner, twins, asked, fed))
    if WORDS in asked.levels:
        parts.append(_at_words(twins, asked, words))
    if LENGTH in asked.levels:
        parts.append(_at_length(reasoner, twins, asked))
    head = {"pair": name, "cluster": cluster}
    rows = [head | row for part in parts for row in part.rows]
    return PairRows(rows, [head | row for part in parts for row in part.pinned]) if rows else None


def _at_ladder(
    reasoner: Reasoner, twins: Twins, asked: Asked, fed: Mapping[str, Tensor]
) -> PairRows:
    """Exchange the two runs' mediators, and pin them."""
    read, place = places(twins.parting, asked)
    every = crossed_cells(
        reasoner, twins.clean, twins.reference, asked.ladder, read=read, budget=asked.budget
    )
    said = every[asked.ladder[0]].unedited[1, place]
    score = scorer(asked, replace(twins.parting, said=said), place)
    pins = _pins(twins, asked, fed, read)
    runs = _decoded_on(reasoner, twins, every, asked)
    found, pinned = [], []
    for level, cells in every.items():
        rows = cell_rows(cells, score, place) + run_rows(runs.get(level), asked, twins)
        guards = _guards(cells, pins.least_fired)
        found += [{"level": level} | row | guards for row in rows]
        y = {row["outcome"]: matrix(row) for row in rows}
        for name, logits in pins.at(level):
            pinned += [{"level": level, "pin": name} | row for row in pinned_rows(score(logits), y)]
    return PairRows(found, pinned)


@torch.no_grad()
def _at_words(twins: Twins, asked: Asked, words: Mapping[str, Sequence[int]]) -> PairRows:
    """Exchange what the two runs said, and hold both to other words."""
    parting, (read, place) = twins.parting, places(twins.parting, asked)
    cells = word_cells(twins, read=read)
    score = scorer(asked, replace(parting, said=cells.unedited[1, place]), place)
    runs = None
    if any(reads(outcome) == "run" for outcome in asked.outcomes.values()):
        said = twins.said[::-1]
        told = [runs_saying(own, *(other.words for other in said)) for own in said]
        runs = {cell: told[x][z] for cell, (x, z) in CELLS.items()}
    rows = cell_rows(cells, score, place) + run_rows(runs, asked, twins)
    y = {row["outcome"]: matrix(row) for row in rows}
    pinned = [
        {"level": WORDS, "pin": name} | row
        for name, ids in words.items()
        for both in [[with_words(run, ids, read) for run in (twins.reference, twins.clean)]]
        for row in pinned_rows(score(torch.stack(both)), y)
    ]
    # Words are put in as ids: there is no edit that might not fire.
    guards = _guards(cells, np.inf)
    return PairRows([{"level": WORDS} | row | guards for row in rows], pinned)


def _at_length(reasoner: Reasoner, twins: Twins, asked: Asked) -> PairRows:
    """Exchange the two runs' numbers of slots."""
    parting, (read, place) = twins.parting, places(twins.parting, asked)
    fed = parting.answer[:-1] if asked.whole_answer else parting.forced
    cells, ran = length_cells(reasoner, twins, fed, read=read)
    score = scorer(asked, replace(parting, said=cells.unedited[1, place]), place)
    runs = {cell: ran[x][z] for cell, (x, z) in CELLS.items()}
    rows = cell_rows(cells, score, place) + run_rows(runs, asked, twins)
    # A run of another length is a run of its own: there is no edit that might not fire.
    guards = _guards(cells, np.inf)
    return PairRows([{"level": LENGTH} | row | guards for row in rows], [])


def _guards(cells: Cells, fired: float) -> dict[str, float]:
    """Return what every row of a level carries of what must hold."""
    return {"latents_moved": cells.moved, "missed": cells.missed, "fired": fired}


@dataclass(frozen=True, slots=True, eq=False)
class _Pinned:
    """Logits of both inputs under every z*."""

    fired: dict[str, float]
    by_place: dict[tuple[str, str], Tensor]

    @property
    def least_fired(self) -> float:
        """The least change that any pin made; not a number without pins."""
        return min(self.fired.values()) if self.fired else np.nan

    def at(self, level: str) -> list[tuple[str, Tensor]]:
        return [(name, logits) for (at, name), logits in self.by_place.items() if at == level]


@torch.no_grad()
def _pins(twins: Twins, asked: Asked, fed: Mapping[str, Tensor], read: range) -> _Pinned:
    """Run both inputs under every z*, and with the edges from the slots cut."""
    start = tail_start(twins.clean, asked.ladder)
    pins = pinned(twins, fed, asked.ladder, start, asked.budget) if fed else None
    places = [*(pins.edits if pins else ()), (asked.ladder[-1], CUT)]
    branches = [Branch(edits) for edits in (pins.edits.values() if pins else ())]
    branches.append(Branch(knockouts=(Knockout("post", "latents"),)))
    both = [
        compute(snapshot(run, start), branches, read=read, budget=asked.budget).logits
        for run in (twins.reference, twins.clean)
    ]
    by_place = {place: torch.stack([x[i] for x in both]) for i, place in enumerate(places)}
    return _Pinned(pins.fired if pins else {}, by_place)


def _decoded_on(
    reasoner: Reasoner, twins: Twins, every: Mapping[str, Cells], asked: Asked
) -> dict[str, dict[str, Any]]:
    """Let every cell decode on by itself, if some outcome is read from what it then says."""
    if not any(reads(outcome) == "run" for outcome in asked.outcomes.values()):
        return {}
    said = twins.said[::-1]
    rows = [
        reasoner.replay(
            run, [[], *(cells.edits[x] for cells in every.values())], mode="closed_loop"
        )
        for x, run in enumerate(said)
    ]
    return {
        level: {"00": rows[0][0], "01": rows[0][i], "10": rows[1][i], "11": rows[1][0]}
        for i, level in enumerate(every, start=1)
    }
