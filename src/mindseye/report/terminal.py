"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mindseye.causal import NAMES, Mediation
from mindseye.studies import Audit, Validation
from mindseye.studies.practices import FOOLED_BY

__all__ = [
    "effects_table",
    "inspection_table",
    "sensitivity_table",
    "validation_tables",
    "verdict_table",
]


def verdict_table(audits: Sequence[Audit]) -> Table:
    """Return each model's verdict, over the ladder and level by level."""
    levels = list(audits[0].mediation.verdicts)
    table = Table(title="Does the imagination do any work?", box=box.SIMPLE_HEAD)
    for column in ("model", "accuracy", "imagines", "verdict", *levels):
        table.add_column(column)
    for found in audits:
        table.add_row(
            found.name,
            f"{found.mediation.accuracy:.0%}",
            f"{found.mediation.emission_rate:.0%}",
            Text(found.mediation.verdict, style="bold"),
            *(found.mediation.verdicts[level].word for level in levels),
        )
    return table


def effects_table(found: Mediation) -> Table:
    """Return a pair's effects with their full names, level by level."""
    levels = list(found.verdicts)
    table = Table(title=f"Effects of one pair: {found.outcome}", box=box.SIMPLE_HEAD)
    table.add_column("effect")
    for level in levels:
        table.add_column(level, justify="right")
    rows = found.rows.set_index("level")
    for effect, name in NAMES.items():
        numbers = (f"{rows.loc[level, effect]:.3f}" for level in levels)
        table.add_row(f"{effect.upper()}  {name}", *numbers)
    return table


def validation_tables(found: Validation) -> list[Table]:
    """Return each organism with what is said of it, and the confusion table."""
    return [_each_organism(found), _confusion(found)]


_SHORT = {
    "raw cosine": "cosine",
    "probe": "probe",
    "noise ablation": "noise",
    "shared tensor": "shared",
}


def _each_organism(found: Validation) -> Table:
    table = Table(
        title="What is said of each organism, and what four single numbers would have said",
        caption="Numbers: raw cosine between inputs; probe accuracy; points of accuracy lost under "
        "noise and under one shared tensor. +: read as latents that do something; –: as inert; "
        "red: the opposite of the truth. Made to mislead them: "
        + ", ".join(f"{_SHORT[name]} {organism}" for name, organism in FOOLED_BY.items()),
        box=box.SIMPLE_HEAD,
    )
    table.add_column("organism", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("verdict")
    for name in _SHORT.values():
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.to_frame().to_dict("records"):
        word = Text(f"✓ {row['verdict']}", style="green")
        if not row["right"]:
            word = Text(f"✗ {row['verdict']}, not {row['truth']}", style="bold red")
        said = [_said(row, name) for name in _SHORT]
        table.add_row(row["organism"], row["letter"], word, *said)
    return table


def _said(row: Mapping[Any, Any], practice: str) -> Text:
    """Return a practice's number and what it is read as, in red where that is wrong."""
    active = row[f"{practice} active"]
    text = f"{row[practice]:.2f} {'+' if active else '–'}"
    return Text(text, style="" if active == row["active"] else "red")


def _confusion(found: Validation) -> Table:
    """Return true by reported verdicts, and how often practices said + and –."""
    counts = found.confusion()
    words = sorted({*counts.index, *counts["instrument"].columns})
    table = Table(
        title="True verdict (rows) by reported verdict (letters); practices as +/–",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("truth", no_wrap=True)
    letters = "abcdefghij"[: len(words)]
    for name in (*letters, *_SHORT.values()):
        table.add_column(name, justify="right")
    for letter, word in zip(letters, words, strict=True):
        if word not in counts.index:
            continue
        row = counts.loc[word]
        reported = [str(row["instrument"].get(other, 0) or "·") for other in words]
        said = [f"{row[name]['active']}/{row[name]['inert']}" for name in _SHORT]
        table.add_row(f"{letter}  {word}", *reported, *said)
    return table


def sensitivity_table(curve: pd.DataFrame) -> Table:
    """Return what is seen of a leak through the latents, by its gain."""
    table = Table(title="A leak through the latents, by its gain (TIE at kv)", box=box.SIMPLE_HEAD)
    for column in ("gain", "TIE", "95 % interval", "not zero", "verdict"):
        table.add_column(column, justify="right" if column != "verdict" else "left")
    for row in curve.to_dict("records"):
        table.add_row(
            f"{row['gain']:.1%}",
            f"{row['mean']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            "yes" if row["detected"] else "no",
            row["verdict"],
        )
    return table


def inspection_table(found: dict[str, Any]) -> Table:
    """Return a load report as one table, a section for each of its parts."""
    table = Table(title=escape(found["name"]), show_header=False, box=box.SIMPLE)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for part, facts in found.items():
        if not isinstance(facts, dict):
            continue
        table.add_section()
        table.add_row(Text(part, style="bold not dim"), "")
        for key, value in facts.items():
            table.add_row(key.replace("_", " "), Text(_plain(value)))
    return table


def _plain(value: Any) -> str:
    """Return a fact as a reader would write it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return "none" if value is None else str(value)
