"""Variants of one run, computed exactly and nothing more.

Start reading at `compute`. A `Snapshot` is a run cut into a prefix that no edit can reach and a
tail; `branches` works out what each `Branch` disturbs there; `attention` lets all of them read the
prefix once and their own tails, as far as `masks` allow; `budget` says how many go at a time.
`plain` is the slow way, for models whose attention cannot be intercepted.
"""

from mindseye.engine.exact.branches import Branch, Computed, EdgePatch, first_position
from mindseye.engine.exact.budget import DEFAULT_BUDGET
from mindseye.engine.exact.compute import compute
from mindseye.engine.exact.snapshots import Snapshot, check_exact, snapshot
from mindseye.engine.exact.through import through_block

__all__ = [
    "DEFAULT_BUDGET",
    "Branch",
    "Computed",
    "EdgePatch",
    "Snapshot",
    "check_exact",
    "compute",
    "first_position",
    "snapshot",
    "through_block",
]
