"""How edited runs are computed.

Start reading at `crossed_cells`, the four cells of a mediation, and `sweep`, one patch per layer
and slot. Both are rows of one open-loop replay per run; a `Contrast` says where the outcome is
read.
"""

from mindseye.engine.cells import Cells, crossed_cells
from mindseye.engine.contrast import (
    Contrast,
    Outcome,
    contrast,
    find_outcome,
    outcome_name,
)
from mindseye.engine.levels import LEVELS, aligned, check_aligned
from mindseye.engine.sweep import Grid, sweep

__all__ = [
    "LEVELS",
    "Cells",
    "Contrast",
    "Grid",
    "Outcome",
    "aligned",
    "check_aligned",
    "contrast",
    "crossed_cells",
    "find_outcome",
    "outcome_name",
    "sweep",
]
