"""How edited runs are computed, and the experiments that are made of them.

Start reading at `compute`, in `exact/`: a `Snapshot` is one run, cut where edits begin; a `Branch`
is a set of edits, cuts and removals; all branches go through each layer together and only what they
disturb is computed. The other modules are experiments on it: `crossed_cells` computes the four
cells of a mediation, `sweep` one patch per layer and slot; then there are `path_patch`,
`knock_out`, `battery`, `slot_effects`, `dose_response`, `backup_effects`, `crossed_design`,
`strict_runs`, and `attribute`, which only ranks. A `Contrast` says where
the outcome is read, `twin_runs` how pairs are run, and `find_arms` what is fed instead of latents.
"""

from mindseye.engine.arms import Arm, Arms, find_arms, latent_pool, mediators_of, needs_pool
from mindseye.engine.attribution import Attribution, attribute
from mindseye.engine.backup import DIRECT_PATH, backup_effects
from mindseye.engine.battery import battery
from mindseye.engine.blind import blind_runs
from mindseye.engine.cells import Cells, crossed_cells
from mindseye.engine.contrast import Contrast, Outcome, contrast, find_outcomes, reads
from mindseye.engine.crossing import Crossing, crossed_design
from mindseye.engine.doses import DOSES, dose_response
from mindseye.engine.exact import (
    DEFAULT_BUDGET,
    Branch,
    Computed,
    EdgePatch,
    Snapshot,
    compute,
    snapshot,
)
from mindseye.engine.knockouts import EDGES, Knockouts, knock_out
from mindseye.engine.levels import LEVELS, aligned, check_aligned
from mindseye.engine.optimal import OptimalConstant, optimal_constant
from mindseye.engine.paths import Paths, path_patch
from mindseye.engine.pins import Pins, pinned
from mindseye.engine.slots import slot_effects
from mindseye.engine.strict import STRICT, strict_runs
from mindseye.engine.sweep import Grid, sweep
from mindseye.engine.twins import Track, Twins, twin_runs

__all__ = [
    "DEFAULT_BUDGET",
    "DIRECT_PATH",
    "DOSES",
    "EDGES",
    "LEVELS",
    "STRICT",
    "Arm",
    "Arms",
    "Attribution",
    "Branch",
    "Cells",
    "Computed",
    "Contrast",
    "Crossing",
    "EdgePatch",
    "Grid",
    "Knockouts",
    "OptimalConstant",
    "Outcome",
    "Paths",
    "Pins",
    "Snapshot",
    "Track",
    "Twins",
    "aligned",
    "attribute",
    "backup_effects",
    "battery",
    "blind_runs",
    "check_aligned",
    "compute",
    "contrast",
    "crossed_cells",
    "crossed_design",
    "dose_response",
    "find_arms",
    "find_outcomes",
    "knock_out",
    "latent_pool",
    "mediators_of",
    "needs_pool",
    "optimal_constant",
    "path_patch",
    "pinned",
    "reads",
    "slot_effects",
    "snapshot",
    "strict_runs",
    "sweep",
    "twin_runs",
]
