"""What an audit measures beyond the six effects, as small tables."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mindseye.causal import Interval, Mediation, means
from mindseye.report.figures.outcomes import digits_of, unit_of
from mindseye.report.numbers import nats, percent, span_of
from mindseye.studies import Audit

__all__ = ["Cell", "Row", "Table", "beyond"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean with its interval; pale if the interval lies within the margin."""

    mean: str
    interval: str
    is_small: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line: its name, what that means, and its cells, or a sentence in their place."""

    name: str
    detail: str
    cells: tuple[Cell, ...]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A small table with what to read it by."""

    title: str
    meaning: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def beyond(audit: Audit) -> tuple[Table, ...]:
    """Return the tables that have rows; narrower audits measure less."""
    found = audit.mediation
    tables = (_contrasts(found), _controlled(found), _shares(found), _backup(audit))
    return tuple(table for table in tables if table.rows)


def _contrasts(mediation: Mediation) -> Table:
    frame = mediation.contrasts[mediation.contrasts["outcome"] == mediation.outcome]
    rows = []
    for contrast, held in frame.groupby("contrast", sort=False):
        by_effect = _by(held, "effect")
        cells = tuple(_cell(by_effect[effect], mediation) for effect in ("pie", "tie"))
        rows.append(Row(str(contrast), "", cells))
    return Table(
        "What a wider level adds",
        "Relay, kv less embedding: what slots read themselves, beyond what they were fed. Marker, "
        "span less kv: what the markers carry beyond the slots." + _unit(mediation),
        ("PIE", "TIE"),
        tuple(rows),
    )


def _shares(mediation: Mediation) -> Table:
    frame = mediation.shares[mediation.shares["outcome"] == mediation.outcome]
    rows = []
    for level, held in frame.groupby("level", sort=False):
        by_share = _by(held, "share")
        refused = str(held["refused"].iloc[0])
        cells = tuple(_share(by_share[share]) for share in ("pure", "total"))
        rows.append(Row(str(level), "", () if refused else cells, refused))
    return Table(
        "Proportion mediated",
        "Ratios of means, with intervals after Fieller. Not comparable between outcomes.",
        ("PIE / TE", "TIE / TE"),
        tuple(rows),
    )


_PATHS = {"open": "path open", "cut": "path cut", "backup": "difference"}


def _backup(audit: Audit) -> Table:
    found, frame = audit.mediation, audit.backup
    frame = frame[frame["outcome"] == found.outcome]
    level = str(frame["level"].iloc[0])
    once = found.rows.drop_duplicates("pair")
    clusters = dict(zip(once["pair"].tolist(), once["cluster"].tolist(), strict=True))
    rows = []
    for way, name in _PATHS.items():
        mean = means(frame, ["level"], value=way, clusters=clusters, seed=found.seed)
        rows.append(Row(name, "", (_cell(_by(mean, "level")[level], found),)))
    return Table(
        "Backup",
        "The clean latents in the reference run, with the direct path open, and cut. Latents that "
        "are read only when the image cannot be show an effect only then." + _unit(found),
        (f"PIE at {level}",),
        tuple(rows),
    )


def _controlled(mediation: Mediation) -> Table:
    frame = mediation.controlled
    rows = []
    if len(frame):
        frame = frame[frame["outcome"] == mediation.outcome]
        for (level, pin), held in frame.groupby(["level", "pin"], sort=False):
            by_quantity = _by(held, "quantity")
            cells = tuple(_cell(by_quantity[name], mediation) for name in ("cde", "nec"))
            rows.append(Row(str(level), str(pin), cells))
    return Table(
        "With the latents pinned",
        "Both runs are fed the same zeros, or noise of the same size, or (cut) nothing reads their "
        "slots. CDE: what the change of image still does. NEC: what the clean run loses."
        + _unit(mediation),
        ("CDE", "NEC"),
        tuple(rows),
    )


def _cell(found: Interval, mediation: Mediation) -> Cell:
    digits, size = digits_of(mediation.outcome), mediation.margin_size
    return Cell(
        nats(found.mean, digits=digits),
        span_of(found.low, found.high, digits=digits),
        is_small=-size < found.low and found.high < size,
    )


def _share(found: Interval) -> Cell:
    return Cell(percent(found.mean), f"{percent(found.low)} to {percent(found.high)}")


def _by(frame: pd.DataFrame, key: str) -> dict[str, Interval]:
    """Return a frame's means with their intervals, by a column."""
    return {
        str(row[key]): Interval(float(row["mean"]), float(row["low"]), float(row["high"]))
        for row in frame.to_dict("records")
    }


def _unit(mediation: Mediation) -> str:
    unit = unit_of(mediation.outcome)
    return f" In {unit}." if unit else ""
