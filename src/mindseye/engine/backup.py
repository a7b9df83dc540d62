"""Backup: does the mediator take over once the direct path is cut?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, first_position, snapshot
from mindseye.engine.levels import check_level, mediator_hooks, tail_start, transplant
from mindseye.engine.measuring import measure
from mindseye.engine.twins import Track, comparable
from mindseye.reasoners import Knockout, Reasoner
from mindseye.samples import Pair

__all__ = ["DIRECT_PATH", "backup_effects"]

DIRECT_PATH = tuple(Knockout("post", span) for span in ("image", "question", "header", "text"))
"""What follows the latents cannot read the image, nor anything after it that has read it. What
stands before the image stays, so that there is something to attend to."""


def backup_effects(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    level: str = "kv",
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> pd.DataFrame:
    """Cross the clean latents, put into the reference run, with a cut of the direct path.

    A model that reads its latents only when it has to shows no effect of them while the direct path
    is open and one when it is cut: backup, not absence.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        level: What counts as the mediator, as in `mediate`.
        outcome: Name of a registered outcome, or a function, or several.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Returns:
        One row per pair and outcome: `pair level outcome open cut backup`: the latents' effect with
        the direct path open (PIE) and cut, and the difference.

    Raises:
        EditError: No such level.
        SampleError: In no pair did both runs imagine at the same positions.

    Source: self-repair, McGrath et al. 2023, arXiv 2307.15771; methods as in arXiv 2402.15390.
    """
    check_level(reasoner, level)
    measures = find_outcomes(outcome)
    hooks = mediator_hooks(reasoner, level)
    rows = []
    for twins in comparable(reasoner, pairs, track=track):
        alone = Branch(knockouts=DIRECT_PATH)
        start = min(
            first_position(twins.reference, alone),
            tail_start(twins.clean, [level]),
        )
        donor, held = (snapshot(run, start, record=hooks) for run in (twins.clean, twins.reference))
        edits = transplant(level, donor, held.trace)
        branches = [Branch(edits), alone, Branch(edits, knockouts=DIRECT_PATH)]
        own, (patched, cut, both) = measure(held, branches, measures, twins.parting, budget)
        for place, name in enumerate(measures):
            is_open, is_cut = float(patched[place] - own[place]), float(both[place] - cut[place])
            rows.append(
                {"pair": twins.pair.id, "level": level, "outcome": name}
                | {"open": is_open, "cut": is_cut, "backup": is_cut - is_open}
            )
    return pd.DataFrame(rows)
