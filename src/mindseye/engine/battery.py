"""A battery: many things fed in the place of the latents, at every level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, snapshot
from mindseye.engine.levels import LEVELS, check_level, tail_start
from mindseye.engine.measuring import measure
from mindseye.engine.pins import Arm, pinned
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["battery", "replaced"]


def battery(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    arms: Mapping[str, Arm],
    *,
    levels: Sequence[str] = LEVELS,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> pd.DataFrame:
    """Replace the clean run's latents in many ways and measure what that does to its answer.

    At `embedding` an arm's vectors are fed and the slots recompute. At `kv` and `span` the clean
    run's later positions read what the slots hold in the *reference* run when it is fed the arm's
    vectors, so that nothing of the clean image remains in them. All arms and levels of a pair are
    branches of one run.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        arms: What is fed, by name: `lambda twins: torch.zeros_like(twins.clean.fed_latents)`.
        levels: Names of `LEVELS`.
        outcome: Name of a registered outcome, or a function, or several.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Returns:
        One row per pair, arm, level and outcome: `pair arm level outcome value clean effect moved`;
        `effect` is `value - clean`, `moved` the largest change of a fed vector's entry.

    Raises:
        EditError: No such level, or an arm whose vectors have another shape than the latents.
        SampleError: In no pair did both runs imagine at the same positions.
    """
    if not arms or not levels:
        raise EditError(
            f"battery got arms {tuple(arms)} and levels {tuple(levels)}; pass at least one of each."
        )
    measures = find_outcomes(outcome)
    for level in levels:
        check_level(reasoner, level)
    frames = [
        replaced(twins, arms, levels=levels, measures=measures, budget=budget)
        for twins in comparable(reasoner, pairs, track=track)
    ]
    return pd.concat(frames, ignore_index=True)


def replaced(
    twins: Twins,
    arms: Mapping[str, Arm],
    *,
    levels: Sequence[str] = LEVELS,
    measures: Mapping[str, Outcome],
    budget: int = DEFAULT_BUDGET,
) -> pd.DataFrame:
    """Return the rows of a battery for one pair; arguments are those of `battery`."""
    clean = twins.clean
    start = tail_start(clean, levels)
    pins = pinned(twins, arms, levels, start, budget)
    branches = [Branch(edits) for edits in pins.edits.values()]
    own, values = measure(snapshot(clean, start), branches, measures, twins.parting, budget)
    rows: list[dict[str, Any]] = []
    for index, (level, name) in enumerate(pins.edits):
        moved = float((pins.fed[name] - clean.fed_latents).abs().max())
        for outcome, value, unedited in zip(
            measures, values[index].tolist(), own.tolist(), strict=True
        ):
            rows.append(
                {
                    "pair": twins.pair.id,
                    "arm": name,
                    "level": level,
                    "outcome": outcome,
                    "value": value,
                    "clean": unedited,
                    "effect": value - unedited,
                    "moved": moved,
                }
            )
    return pd.DataFrame(rows)
