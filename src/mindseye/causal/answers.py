"""What happened to answers: flips, accuracies, and exact bounds on their shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from mindseye.causal.intervals import Interval

__all__ = ["Comparison", "compare_answers", "share"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms' answers to the same items.

    Attributes:
        both: Items both arms answer rightly.
        only_first: Items only the first does.
        only_second: Items only the second does.
        neither: Items neither does.
        flip_rate: Share of items whose answer differs at all, with its exact interval.
        p_value: McNemar's exact test that the arms are equally often right.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    flip_rate: Interval
    p_value: float


def share(hits: int, n: int, *, level: float = 0.95) -> Interval:
    """Return a share with its exact binomial interval.

    Source: Clopper & Pearson 1934.
    """
    ends: Any = stats.binomtest(hits, n).proportion_ci(confidence_level=level, method="exact")
    return Interval(hits / n, float(ends.low), float(ends.high))


def compare_answers(first: Sequence[str], second: Sequence[str], gold: Sequence[str]) -> Comparison:
    """Compare two arms item by item; equal accuracies may hide equal and opposite flips.

    Args:
        first: Answers of one arm.
        second: Answers of the other, to the same items.
        gold: Right answers.
    """
    one, two = (
        np.array(arm, dtype=object) == np.array(gold, dtype=object) for arm in (first, second)
    )
    table = np.array([[sum(one & two), sum(one & ~two)], [sum(~one & two), sum(~one & ~two)]])
    flips = sum(a != b for a, b in zip(first, second, strict=True))
    test: Any = mcnemar(table, exact=True)
    return Comparison(
        *(int(n) for n in table.flatten()),
        flip_rate=share(flips, len(gold)),
        p_value=float(test.pvalue),
    )
