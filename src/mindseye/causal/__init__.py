"""Cells, effects, intervals, tests and the verdict.

Start reading at `mediate`, which runs the pairs, has the engine compute the four cells of each, and
hands the numbers to `effects`, `bootstrap_mean` and `judge`. `interval`, `equivalent`, `sign_flip`
and `compare_answers` are the statistics for pairs that come in clusters, such as questions on one
image.
"""

from mindseye.causal.answers import Comparison, compare_answers, share
from mindseye.causal.effects import EFFECTS, bootstrap_mean, effects
from mindseye.causal.equivalence import (
    Equivalence,
    Margin,
    equivalent,
    needed_clusters,
    needed_items,
    smallest_detectable,
)
from mindseye.causal.intervals import Interval, interval, ratio_interval
from mindseye.causal.mediation import Mediation, mediate
from mindseye.causal.permutation import corrected, sign_flip
from mindseye.causal.verdict import Verdict, judge

__all__ = [
    "EFFECTS",
    "Comparison",
    "Equivalence",
    "Interval",
    "Margin",
    "Mediation",
    "Verdict",
    "bootstrap_mean",
    "compare_answers",
    "corrected",
    "effects",
    "equivalent",
    "interval",
    "judge",
    "mediate",
    "needed_clusters",
    "needed_items",
    "ratio_interval",
    "share",
    "sign_flip",
    "smallest_detectable",
]
