"""Dose and response: the mediator moved a part of the way, or beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, snapshot
from mindseye.engine.levels import check_level, mediator_hooks, tail_start, transplant
from mindseye.engine.measuring import measure
from mindseye.engine.twins import Track, comparable
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["DOSES", "dose_response"]

DOSES = tuple(float(dose) for dose in np.linspace(0, 1.5, 7))


def dose_response(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    level: str = "embedding",
    doses: Sequence[float] = DOSES,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> pd.DataFrame:
    """Move the reference run's mediator towards the clean run's, z(a) = (1 - a) z0 + a z1.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        level: What counts as the mediator, as in `mediate`.
        doses: Values of a; 0 changes nothing and 1 gives PIE.
        outcome: Name of a registered outcome, or a function, or several.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Returns:
        One row per pair, dose and outcome: `pair level dose outcome effect`.

    Raises:
        EditError: No such level.
        SampleError: In no pair did both runs imagine at the same positions.
    """
    check_level(reasoner, level)
    measures = find_outcomes(outcome)
    hooks = mediator_hooks(reasoner, level)
    rows = []
    for twins in comparable(reasoner, pairs, track=track):
        start = tail_start(twins.clean, [level])
        donor, held = (snapshot(run, start, record=hooks) for run in (twins.clean, twins.reference))
        whole = transplant(level, donor, held.trace)
        mine = [held.at(edit.hook, edit.positions) for edit in whole]
        branches = [
            Branch(
                [
                    replace(edit, value=own + dose * (edit.value - own))
                    for edit, own in zip(whole, mine, strict=True)
                ]
            )
            for dose in doses
        ]
        own, found = measure(held, branches, measures, twins.parting, budget)
        rows += [
            {"pair": twins.pair.id, "level": level, "dose": dose, "outcome": outcome}
            | {"effect": float(found[index, place] - own[place])}
            for index, dose in enumerate(doses)
            for place, outcome in enumerate(measures)
        ]
    return pd.DataFrame(rows)
