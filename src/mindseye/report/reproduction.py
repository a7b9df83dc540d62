"""`write_reproduction`: what a miniature says of a paper becomes a page, a summary and a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from mindseye.causal import Interval
from mindseye.report.beyond import Cell, Row, Table
from mindseye.report.claims import PLURALS, rule_of, unit_name, written, written_span
from mindseye.report.embedded import embed
from mindseye.report.figures.reproduction import draw_edits, draw_steps
from mindseye.report.output import write_whole
from mindseye.report.rendering import assets, template, versions
from mindseye.studies.reproduction import WORDS, Beside, Claim, Reproduction

__all__ = ["REPRODUCTION_FILES", "ClaimView", "Strip", "claim_view", "write_reproduction"]

REPRODUCTION_FILES = ("reproduction.html", "summary.json", "rows.parquet")
"""What a reproduction's folder holds."""

SCHEMA_VERSION = 1
"""Of `summary.json` and `rows.parquet`."""

_WIDTH = 320
_ROW = 16
_PAD = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """One seed's interval in a strip, in its coordinates."""

    mean: float
    low: float
    high: float
    y: float
    word: str
    label: str


@dataclass(frozen=True, slots=True)
class Strip:
    """A small drawing: the rule's range, and every seed's interval.

    Attributes:
        description: The same in words.
        height: In pixels.
        band: Left end and width of the range.
        zero: Where 0 is; none if it is not in sight.
        marks: By seed.
    """

    description: str
    height: int
    band: tuple[float, float]
    zero: float | None
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim as plain values for the template. Nothing is escaped here.

    Attributes:
        id: Of its section.
        title: What is claimed.
        word: What all seeds say.
        statement: The paper's own.
        figures: Its figures, each with what it is of.
        place: Where they stand.
        quantity: Which number is held against the rule.
        rule: The range in which it agrees.
        why: Why the range ends there.
        numbers: By seed, in one line.
        found: By seed: the number, its interval and what it says.
        strip: All of it as a drawing.
        unseen: What the paper's measurement cannot tell.
        notes: What else was found.
        tables: What stands beside it.
    """

    id: str
    title: str
    word: str
    statement: str
    figures: tuple[tuple[str, str], ...]
    place: str
    quantity: str
    rule: str
    why: str
    numbers: str
    found: tuple[tuple[str, str, str], ...]
    strip: Strip
    unseen: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]


def write_reproduction(found: Reproduction, out: Path) -> Path:
    """Write the files of a reproduction into a folder: all of them or none.

    `reproduction.html` tells the argument claim by claim, `summary.json` has the same as numbers,
    `rows.parquet` every single measurement. The page needs no network and no other file.

    Args:
        found: What was found.
        out: The folder; made if need be. Files of these names in it are replaced.

    Returns:
        The path of the page.

    Raises:
        OutputError: The folder cannot be written.
    """
    provenance: dict[str, Any] = {"versions": versions(), "seed": found.seed}
    summary = {"schema_version": SCHEMA_VERSION, **provenance, **found.summary()}
    contents = (
        _render(found, provenance).encode("utf-8"),
        f"{json.dumps(summary, indent=2, allow_nan=False)}\n".encode(),
        found.rows.to_parquet(index=False),
    )
    write_whole(out, dict(zip(REPRODUCTION_FILES, contents, strict=True)))
    return out / REPRODUCTION_FILES[0]


def _render(found: Reproduction, provenance: dict[str, Any]) -> str:
    views = [claim_view(claim) for claim in found.claims]
    parts = groupby(zip(found.claims, views, strict=True), key=lambda two: two[0].part)
    return template("reproduction.html.j2").render(
        parts=[
            (f"part{i}", name, [view for _, view in held]) for i, (name, held) in enumerate(parts)
        ],
        counts={word: f"{n} {PLURALS[word]}" for word, n in found.counts().items()},
        words=WORDS,
        verdicts={},
        models=found.models,
        n_seeds=len(found.claims[0].found),
        n_pairs=found.n_pairs,
        n_questions=found.n_questions,
        minutes=f"{found.seconds / 60:.1f}",
        steps=embed("steps", draw_steps(found.steps)),
        edits=embed("edits", draw_edits(found.edits), draw_edits(found.edits, stacked=True)),
        provenance=provenance,
        **assets("reproduction.css"),
    )


def claim_view(claim: Claim) -> ClaimView:
    """Return what the page shows of a claim."""
    return ClaimView(
        id=claim.key,
        title=claim.title,
        word=claim.word,
        statement=claim.published.statement,
        figures=claim.published.figures,
        place=claim.published.place,
        quantity=claim.quantity,
        rule=rule_of(claim.rule, claim.unit),
        why=claim.rule.why,
        numbers=_in_line(claim),
        found=tuple(
            (
                f"{written(each.mean, claim.unit)} {unit_name(claim.unit)}".rstrip(),
                written_span(each, claim.unit),
                word,
            )
            for each, word in zip(claim.found, claim.words, strict=True)
        ),
        strip=_strip(claim),
        unseen=claim.unseen,
        notes=claim.notes,
        tables=tuple(_table(each) for each in claim.beside),
    )


def _in_line(claim: Claim) -> str:
    numbers = " · ".join(written(each.mean, claim.unit) for each in claim.found)
    return f"{numbers} {unit_name(claim.unit)}".rstrip()


def _strip(claim: Claim) -> Strip:
    """Draw the range and the intervals to one scale."""
    ends = [x for each in claim.found for x in (each.low, each.mean, each.high)]
    ends = [x for x in (*ends, claim.rule.low, claim.rule.high) if math.isfinite(x)]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 1.0
    low, high = low - room, high + room

    def at(x: float) -> float:
        return round(_WIDTH * (min(max(x, low), high) - low) / (high - low), 1)

    left, right = at(claim.rule.low), at(claim.rule.high)
    marks = tuple(
        Mark(
            at(each.mean),
            at(each.low),
            at(each.high),
            _PAD + _ROW * (k + 0.5),
            word,
            f"seed {k}: {written(each.mean, claim.unit)} ({written_span(each, claim.unit)})",
        )
        for k, (each, word) in enumerate(zip(claim.found, claim.words, strict=True))
        if math.isfinite(each.mean)
    )
    told = "; ".join(mark.label for mark in marks)
    return Strip(
        description=f"Agrees {rule_of(claim.rule, claim.unit)}; {told}",
        height=2 * _PAD + _ROW * len(claim.found),
        band=(left, round(right - left, 1)),
        zero=at(0.0) if low < 0 < high else None,
        marks=marks,
    )


def _table(found: Beside) -> Table:
    seeds = sorted(found.rows["seed"].unique().tolist())
    named = unit_name(found.unit)
    return Table(
        f"{found.title}, in {named}" if named and named != "times" else found.title,
        found.meaning,
        tuple(f"seed {seed}" for seed in seeds),
        tuple(_lines(found, seeds)),
    )


def _lines(found: Beside, seeds: Sequence[int]) -> Iterator[Row]:
    for quantity, held in found.rows.groupby("quantity", sort=False):
        by_seed = {row["seed"]: row for row in held.to_dict("records")}
        cells = [by_seed.get(seed) for seed in seeds]
        yield Row(str(quantity), "", tuple(_cell(cell, found.unit) for cell in cells))


def _cell(row: Mapping[Any, Any] | None, unit: str) -> Cell:
    if row is None:
        return Cell("–", "")
    found = Interval(row["value"], row["low"], row["high"])
    return Cell(written(found.mean, unit), written_span(found, unit))
