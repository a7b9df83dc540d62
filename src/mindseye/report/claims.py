"""How claims are written for people: numbers in their units, rules, and a table for a terminal."""

from __future__ import annotations

import math

from rich import box
from rich.table import Table
from rich.text import Text

from mindseye.causal import Interval
from mindseye.report.numbers import nats, percent, span_of
from mindseye.studies.reproduction import Claim, Reproduction, Rule

__all__ = ["PLURALS", "reproduction_table", "rule_of", "unit_name", "written", "written_span"]

_DIGITS = {"cosine": 2, "points": 1, "times": 2, "count": 0, "ms": 0}
PLURALS = {"agrees": "agree", "disagrees": "disagree", "undecided": "undecided"}
"""What several claims do."""

_STYLES = {"agrees": "green", "disagrees": "red", "undecided": "yellow"}


def unit_name(unit: str) -> str:
    """Return what stands behind a number; a cosine is told by the sentence around it."""
    return {"points": "points", "times": "times", "ms": "ms"}.get(unit, "")


def written(value: float, unit: str) -> str:
    """Write a number of a unit; what is not finite becomes a dash."""
    if unit == "share":
        return percent(value)
    return nats(_scaled(value, unit), digits=_DIGITS[unit])


def written_span(found: Interval, unit: str) -> str:
    """Write an interval; empty if there is none."""
    if math.isnan(found.low):
        return ""
    if unit == "share":
        return f"{percent(found.low)} to {percent(found.high)}"
    low, high = (_scaled(each, unit) for each in (found.low, found.high))
    return span_of(low, high, digits=_DIGITS[unit])


def rule_of(rule: Rule, unit: str) -> str:
    """Write the range in which a number agrees."""
    low, high = (written(each, unit) for each in (rule.low, rule.high))
    named = unit_name(unit)
    if math.isinf(rule.high):
        return f"at least {low} {named}".rstrip()
    if math.isinf(rule.low):
        return f"at most {high} {named}".rstrip()
    return f"from {low} to {high} {named}".rstrip()


def reproduction_table(found: Reproduction) -> Table:
    """Return every claim with what is published, what was found by seed, and the word."""
    counts = ", ".join(f"{n} {PLURALS[word]}" for word, n in found.counts().items())
    table = Table(
        title=f"The paper's claims in miniature: {counts}",
        caption=f"Found: one number per training seed ({_models(found)}), on {found.n_pairs} "
        "pairs. It agrees inside the rule's range with its whole interval and every seed, and "
        "disagrees outside; intervals, reasons and what stands beside them are on the page.",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("claim")
    table.add_column("published")
    table.add_column("found", justify="right")
    table.add_column("agrees if")
    table.add_column("", no_wrap=True)
    part = ""
    for claim in found.claims:
        if claim.part != part:
            part = claim.part
            table.add_section()
            table.add_row(Text(part, style="dim"))
        table.add_row(*_cells(claim))
    return table


def _cells(claim: Claim) -> tuple[Text, ...]:
    what, figure = claim.published.figures[0]
    here = " / ".join(written(each.mean, claim.unit) for each in claim.found)
    return (
        Text(claim.title),
        Text(f"{figure} ({what})"),
        Text(here),
        Text(rule_of(claim.rule, claim.unit)),
        Text(claim.word, style=_STYLES[claim.word]),
    )


def _models(found: Reproduction) -> str:
    return "; ".join(", ".join(names) for names in found.models.values())


def _scaled(value: float, unit: str) -> float:
    return 100 * value if unit == "points" else value
