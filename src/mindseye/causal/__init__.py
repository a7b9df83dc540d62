"""Cells, effects, intervals and the verdict.

Start reading at `mediate`, which runs the pairs, has the engine compute the four cells of each, and
hands the numbers to `effects`, `bootstrap_mean` and `judge`.
"""

from mindseye.causal.effects import EFFECTS, Interval, bootstrap_mean, effects
from mindseye.causal.mediation import Mediation, mediate
from mindseye.causal.verdict import Verdict, judge

__all__ = [
    "EFFECTS",
    "Interval",
    "Mediation",
    "Verdict",
    "bootstrap_mean",
    "effects",
    "judge",
    "mediate",
]
