"""A published claim, the rule it is held against, and what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from mindseye.causal import Interval

__all__ = [
    "ROWS",
    "WORDS",
    "Beside",
    "Claim",
    "Part",
    "Published",
    "Rule",
    "Unit",
    "Word",
    "beside",
]

Word = Literal["agrees", "disagrees", "undecided"]

WORDS: dict[Word, str] = {
    "agrees": "With every training seed the interval lies wholly inside the rule's range.",
    "disagrees": "With every training seed the interval lies wholly outside of it.",
    "undecided": "An interval straddles an end of the range, or the seeds do not say the same.",
}
"""What is said of a claim, and when."""

Unit = Literal["cosine", "points", "times", "count", "ms", "share", ""]
"""Of a number: points are shares times 100; counts and milliseconds are medians."""

ROWS = ("part", "seed", "model", "item", "arm", "measure", "value", "answer")
"""Columns of the table that has every single measurement."""


@dataclass(frozen=True, slots=True)
class Published:
    """What the paper says.

    Attributes:
        statement: In a sentence.
        figures: Its numbers, each with what it is of.
        place: Where they stand.
    """

    statement: str
    figures: tuple[tuple[str, str], ...]
    place: str


@dataclass(frozen=True, slots=True)
class Rule:
    """The range in which a number agrees with a claim; outside it disagrees.

    Attributes:
        low: Lower end; none if minus infinity.
        high: Upper end; none if infinity.
        why: Why the range ends there.
    """

    low: float = -math.inf
    high: float = math.inf
    why: str = ""

    def word(self, found: Interval) -> Word:
        """Say on which side an interval lies; one that straddles an end is on neither."""
        if not math.isfinite(found.mean):
            return "undecided"
        if self.low <= found.low and found.high <= self.high:
            return "agrees"
        if found.high < self.low or found.low > self.high:
            return "disagrees"
        return "undecided"


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Numbers that stand beside a claim's own.

    Attributes:
        title: What they are.
        meaning: How to read them.
        unit: Of all of them.
        rows: One per quantity and seed: `quantity seed value low high`.
    """

    title: str
    meaning: str
    unit: Unit
    rows: pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A claim of the paper and what the miniature says of it.

    Attributes:
        key: Its short name.
        title: The same for people.
        part: The part of the argument it belongs to.
        published: What the paper says.
        quantity: Which number is held against the rule.
        unit: Of that number.
        rule: When it agrees.
        found: The number by training seed.
        unseen: What the paper's own measurement cannot tell.
        notes: What else was found, in sentences.
        beside: What was measured beside it.
    """

    key: str
    title: str
    part: str
    published: Published
    quantity: str
    unit: Unit
    rule: Rule
    found: tuple[Interval, ...]
    unseen: str
    notes: tuple[str, ...] = ()
    beside: tuple[Beside, ...] = ()

    @property
    def words(self) -> tuple[Word, ...]:
        """What each seed says."""
        return tuple(self.rule.word(each) for each in self.found)

    @property
    def word(self) -> Word:
        """What all seeds say, or `undecided` if they differ."""
        return self.words[0] if len(set(self.words)) == 1 else "undecided"

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per seed."""
        return [
            {"claim": self.key, "part": self.part, "quantity": self.quantity, "unit": self.unit}
            | {"seed": seed, "value": each.mean, "low": each.low, "high": each.high}
            | {"rule_low": self.rule.low, "rule_high": self.rule.high}
            | {"says": self.rule.word(each), "word": self.word}
            for seed, each in enumerate(self.found)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one file of this study returns.

    Attributes:
        claims: In the order they are told.
        rows: Every single measurement, with columns of `ROWS`.
    """

    claims: tuple[Claim, ...]
    rows: pd.DataFrame


def beside(
    title: str, meaning: str, unit: Unit, found: dict[str, Sequence[Interval | float]]
) -> Beside:
    """Put numbers of every seed into a table.

    Args:
        title: What they are.
        meaning: How to read them.
        unit: Of all of them.
        found: By quantity, then by seed; plain numbers have no interval.
    """
    rows = []
    for quantity, values in found.items():
        for seed, value in enumerate(values):
            held = value if isinstance(value, Interval) else Interval(value, math.nan, math.nan)
            rows.append(
                {"quantity": quantity, "seed": seed}
                | {"value": held.mean, "low": held.low, "high": held.high}
            )
    return Beside(
        title,
        meaning,
        unit,
        pd.DataFrame(rows, columns=["quantity", "seed", "value", "low", "high"]),
    )
