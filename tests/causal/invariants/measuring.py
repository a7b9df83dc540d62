"""What systems answer: the four cells and the plain runs, by hand, and how exact a claim must be.

A true claim is held to `EXACT`. What a wrong one misses by is an analytic function of random
weights that is not zero everywhere, so it is zero with probability nothing, but it may be small:
each of the dozen, or of those that a claim is about, must refute it by more than `CAUGHT`, which
the check of a true claim never lets through, and most of them by more than `CLEAR`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mindseye.causal import effects
from mindseye.engine import Branch, Snapshot, compute, snapshot
from mindseye.engine.levels import mediator_hooks, tail_start, transplant
from mindseye.readouts import logit_difference
from mindseye.reasoners import Edit, Knockout
from tests.causal.invariants.systems import LEVELS, System, twins

EXACT = 1e-9
CAUGHT = 1e-6
CLEAR = 1e-3


def assert_same(found: ArrayLike, wanted: ArrayLike) -> None:
    np.testing.assert_allclose(found, wanted, atol=EXACT, rtol=EXACT)


def assert_refuted(misses: Sequence[ArrayLike]) -> None:
    """Make sure that every system refutes a claim, and all but two of them clearly.

    Args:
        misses: What the claim misses by, system by system, in one place or in several.
    """
    sizes = np.array([np.abs(np.asarray(miss)).max() for miss in misses])
    assert len(sizes) >= 9
    assert sizes.min() > CAUGHT
    assert (sizes > CLEAR).sum() >= len(sizes) - 2


def difference(system: System, logits: Tensor) -> Tensor:
    return logit_difference(logits, twins(system).parting)


def plain(system: System, cut: tuple[Knockout, ...] = ()) -> list[float]:
    """What the two runs answer, replayed whole and without any edit."""
    replays = (run.reasoner.replay(run, knockouts=cut) for run in system.runs)
    return [float(difference(system, replay.logits[0, -1])) for replay in replays]


@functools.lru_cache(maxsize=256)
def taken(system: System, levels: tuple[str, ...]) -> tuple[Snapshot, Snapshot]:
    """Snapshots of the two runs that hold the mediators of some levels."""
    ours = system.runs[0].reasoner
    hooks = sorted({hook for level in levels for hook in mediator_hooks(ours, level)})
    reference, clean = (snapshot(run, tail_start(run, levels), record=hooks) for run in system.runs)
    return reference, clean


def answered(system: System, held: Snapshot, branches: Sequence[Branch]) -> list[float]:
    """What variants of a run answer."""
    return difference(system, compute(held, branches).logits[:, 0]).tolist()


@functools.lru_cache(maxsize=256)
def _cells(system: System, levels: tuple[str, ...], cut: tuple[Knockout, ...]) -> np.ndarray:
    held = taken(system, levels)
    rows = []
    for recipient in held:
        given = [
            Branch(transplant(level, donor, recipient.trace), cut)
            for level in levels
            for donor in held
        ]
        rows.append(answered(system, recipient, given))
    return np.array(rows).reshape(2, len(levels), 2).swapaxes(0, 1)


def cells(
    system: System, levels: tuple[str, ...] = LEVELS, cut: tuple[Knockout, ...] = ()
) -> np.ndarray:
    """Y(x_i, Z(x_j)), level by level: branches of x_i's run that are given x_j's mediator.

    Args:
        system: What runs, both inputs by themselves.
        levels: What of the latents is exchanged.
        cut: Edges to what comes before the latents, or to them, that branches lack besides.
    """
    return _cells(system, levels, cut)


def effects_of(
    system: System, levels: tuple[str, ...] = LEVELS, cut: tuple[Knockout, ...] = ()
) -> dict[str, np.ndarray]:
    """The six effects, each with one value per level."""
    return effects(cells(system, levels, cut))


def mediator(held: Snapshot, level: str) -> list[Edit]:
    """A run's own mediator, as the edits that put it into place."""
    return transplant(level, held, held.trace)


def elsewhere(edits: Sequence[Edit], seed: int, scale: float) -> list[Edit]:
    """The same edits with other values: random ones, by so many standard deviations."""
    draw = torch.Generator().manual_seed(seed)
    return [
        replace(edit, value=edit.value + scale * edit.value.std() * noise)
        for edit in edits
        for noise in [torch.randn(edit.value.shape, generator=draw, dtype=torch.float64)]
    ]
