"""Made-up evidence: effects of mechanisms whose word is known, under guards that hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mindseye.causal import Evidence, effects

LADDER = ("embedding", "kv", "span")
HOLDS = {
    "identity_max_abs": 0.0,
    "edits_missed_max_abs": 0.0,
    "pins_fired_min": 0.5,
    "not_a_number": 0.0,
}
"""Guards of an experiment in which nothing went wrong."""

MECHANISMS = {
    "mediates": [[0, 1], [0, 1]],  # latents only
    "redundant": [[0, 1], [1, 1]],  # image OR latents
    "necessary only jointly": [[0, 0], [0, 1]],  # image AND latents
    "negligible": [[0, 0], [1, 1]],  # image only
}
"""Y[x, z] that deserves each word, in parts of the total effect."""


def measured(
    mechanism: Any, n: int = 40, noise: float = 0.02, scale: float = 10.0, seed: int = 0
) -> dict[str, np.ndarray]:
    """Effects of pairs that follow a mechanism, with noise in parts of the total effect."""
    draw = np.random.default_rng(seed)
    return effects(scale * (np.array(mechanism, float) + noise * draw.normal(size=(n, 2, 2))))


def evidence(
    *words: str,
    levels: Sequence[str] = LADDER,
    guards: Mapping[str, float] = HOLDS,
    losses: Mapping[str, float] | None = None,
    n: int = 40,
) -> Evidence:
    """Evidence whose levels deserve these words; the last one stands for all that follow.

    Args:
        words: By level.
        levels: Those that were measured.
        guards: What held.
        losses: What the run loses without its latents, in parts of the total effect, by arm; it
            loses nothing if left out.
        n: Pairs.
    """
    words = words + words[-1:] * (len(levels) - len(words))
    losses = {"zero": 0.0, "cut": 0.0} if losses is None else losses
    return made(
        {level: measured(MECHANISMS[word], n) for level, word in zip(levels, words, strict=True)},
        guards=guards,
        losses={arm: np.full(n, 10.0 * share) for arm, share in losses.items()},
    )


def made(found: Mapping[str, Mapping[str, np.ndarray]], **given: Any) -> Evidence:
    """Evidence from effects by level, every pair a cluster of its own."""
    n = len(next(iter(found.values()))["te"])
    given = {"guards": HOLDS, "losses_clusters": list(range(n))} | given
    return Evidence(effects=found, clusters={level: list(range(n)) for level in found}, **given)
