"""What is measured inside runs: how alike slots are, and how one leads to the next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from mindseye.readouts.geometry.populations import Population, Runs, States
from mindseye.readouts.geometry.rows import TRANSFORMS, cosines, transformed
from mindseye.readouts.geometry.steps import contraction, drift
from mindseye.readouts.geometry.tabulating import Row, mean_of, row

__all__ = ["within_rows"]


def within_rows(
    population: Population, nudged: States | None, runs: Runs
) -> Iterator[tuple[int, Row]]:
    """Measure slots against others of their run; yields the slot with each row.

    Centring and the like are over all runs and slots here, since vectors of different slots need
    one origin. So what is common to a slot in all runs still counts as a difference between slots.

    Args:
        population: States of one kind.
        nudged: The same after a nudge; none if there was none.
        runs: What is known of them.
    """
    n, n_slots, d_model = population.states.shape
    states = population.states.astype(np.float64)
    if n_slots > 1:
        for how in TRANSFORMS:
            pooled = transformed(states.reshape(n * n_slots, d_model), how, n_top=runs.n_top)
            every = cosines(pooled.reshape(n, n_slots, d_model))
            for slot, values in enumerate(_with_others(every).T):
                held = mean_of(values, runs.groups, runs.rng)
                yield slot, row("intra-instance cosine", held, transform=how)
            for slot in range(n_slots - 1):
                held = mean_of(every[:, slot, slot + 1], runs.groups, runs.rng)
                yield slot, row("adjacent cosine", held, transform=how)
    for slot, steps in enumerate(drift(states).T):
        yield slot, row("drift", mean_of(steps, runs.groups, runs.rng))
    if nudged is not None:
        for slot, steps in enumerate(contraction(states, nudged).T):
            yield slot, row("contraction", mean_of(steps, runs.groups, runs.rng), null=1.0)


def _with_others(
    every: Float[np.ndarray, "runs slots slots"],
) -> Float[np.ndarray, "runs slots"]:
    """Return each slot's mean cosine with the others."""
    own = np.diagonal(every, axis1=1, axis2=2)
    return (every.sum(axis=2) - own) / (every.shape[1] - 1)
