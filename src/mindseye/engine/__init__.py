"""How edited runs are computed.

Start reading at `compute`: a `Snapshot` is one run, cut where edits begin; a `Branch` is a set of
edits, cuts and removals; all branches go through each layer together and only what they disturb is
computed. `crossed_cells`, the four cells of a mediation, and `sweep`, one patch per layer and slot,
run on it. A `Contrast` says where the outcome is read.
"""

from mindseye.engine.branches import Branch, EdgePatch
from mindseye.engine.cells import Cells, crossed_cells
from mindseye.engine.contrast import Contrast, Outcome, contrast, find_outcomes
from mindseye.engine.exact import Computed, compute
from mindseye.engine.levels import LEVELS, aligned, check_aligned
from mindseye.engine.snapshots import Snapshot, snapshot
from mindseye.engine.sweep import Grid, sweep
from mindseye.engine.twins import Track, Twins, twin_runs

__all__ = [
    "LEVELS",
    "Branch",
    "Cells",
    "Computed",
    "Contrast",
    "EdgePatch",
    "Grid",
    "Outcome",
    "Snapshot",
    "Track",
    "Twins",
    "aligned",
    "check_aligned",
    "compute",
    "contrast",
    "crossed_cells",
    "find_outcomes",
    "snapshot",
    "sweep",
    "twin_runs",
]
