"""A battery: many things fed in the place of the latents, at every level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, Snapshot, compute, snapshot
from mindseye.engine.levels import LEVELS, check_level, level_positions, mediator_hooks, tail_start
from mindseye.engine.measuring import measure
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError
from mindseye.reasoners import Edit, Reasoner
from mindseye.samples import Pair

__all__ = ["Arm", "battery", "replaced"]

Arm = Callable[[Twins], Float[Tensor, "slots d_model"]]
"""Says what is fed at the slots instead of a pair's clean latents."""


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
    reasoner, clean = twins.clean.reasoner, twins.clean
    slots = clean.latent_positions
    fed = {name: _fed(arm(twins), name, clean.fed_latents) for name, arm in arms.items()}
    start = tail_start(clean, levels)
    hooks = [hook for level in levels for hook in mediator_hooks(reasoner, level)]
    deeper = sorted({hook for hook in hooks if hook != "hook_embed"})
    feeding = [Branch([Edit("hook_embed", slots, value)]) for value in fed.values()]
    left: dict[str, Tensor] = {}
    if deeper:
        reference = snapshot(twins.reference, start)
        left = compute(reference, feeding, record=deeper, budget=budget).activations
    held = snapshot(clean, start)
    branches = [
        feeding[index] if level == "embedding" else _transplanted(held, left, level, index)
        for level in levels
        for index in range(len(fed))
    ]

    own, values = measure(held, branches, measures, twins.parting, budget)
    rows: list[dict[str, Any]] = []
    for index, (level, name) in enumerate((level, name) for level in levels for name in fed):
        moved = float((fed[name] - clean.fed_latents).abs().max())
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


def _transplanted(held: Snapshot, left: dict[str, Tensor], level: str, index: int) -> Branch:
    """Let a run read what its slots, or its segment, hold in another run of the battery."""
    where = level_positions(held.trace, level)
    columns = held.columns(where)
    hooks = mediator_hooks(held.trace.reasoner, level)
    return Branch([Edit(hook, where, left[hook][index, columns]) for hook in hooks])


def _fed(vectors: Tensor, name: str, latents: Float[Tensor, "slots d_model"]) -> Tensor:
    """Check what an arm feeds.

    Raises:
        EditError: It has another shape than the latents.
    """
    if vectors.shape != latents.shape:
        raise EditError(
            f"Arm {name!r} gave vectors of shape {tuple(vectors.shape)} for latents of shape "
            f"{tuple(latents.shape)}. Return one vector per slot."
        )
    return vectors.to(latents)
