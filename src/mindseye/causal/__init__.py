"""Cells, effects, intervals, tests and the verdict.

Start reading at `mediate`: it runs the pairs, has `measuring` compute each one's cells, and hands
the numbers to `summary` (means with intervals), and to `judge`, which names what the latents do.
`interval`, `equivalent`, `sign_flip` and `compare_answers` are the statistics behind them, for
pairs that come in clusters, such as questions on one image. `forecast` says beforehand what a
number of pairs can show.
"""

from mindseye.causal.answers import Comparison, compare_answers, share
from mindseye.causal.checklist import checklist
from mindseye.causal.effects import ALIASES, EFFECTS, NAMES, controlled, effects
from mindseye.causal.equivalence import (
    Equivalence,
    Margin,
    equivalent,
    needed_clusters,
    needed_items,
    smallest_detectable,
)
from mindseye.causal.forecasting import Forecast, forecast
from mindseye.causal.intervals import Interval, interval, ratio_interval
from mindseye.causal.mediation import Mediation, mediate
from mindseye.causal.permutation import corrected, sign_flip
from mindseye.causal.summary import means
from mindseye.causal.verdict import GUARDS, Evidence, Verdict, judge

__all__ = [
    "ALIASES",
    "EFFECTS",
    "GUARDS",
    "NAMES",
    "Comparison",
    "Equivalence",
    "Evidence",
    "Forecast",
    "Interval",
    "Margin",
    "Mediation",
    "Verdict",
    "checklist",
    "compare_answers",
    "controlled",
    "corrected",
    "effects",
    "equivalent",
    "forecast",
    "interval",
    "judge",
    "means",
    "mediate",
    "needed_clusters",
    "needed_items",
    "ratio_interval",
    "share",
    "sign_flip",
    "smallest_detectable",
]
