"""From measured effects to a word, with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mindseye.causal.effects import bootstrap_mean

__all__ = ["NUMERIC_TOLERANCE", "Verdict", "judge"]

NUMERIC_TOLERANCE = 1e-3
"""Largest identity residual, in nats, that float32 arithmetic excuses."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A word and why.

    Attributes:
        word: `mediates`, `redundant`, `necessary only jointly`, `negligible` or `inconclusive`.
        reasons: Sentences that support it.
    """

    word: str
    reasons: tuple[str, ...]


def judge(
    measured: Mapping[str, Float[np.ndarray, " pairs"]],
    guards: Mapping[str, float],
    *,
    margin: float,
    seed: int,
) -> Verdict:
    """Name what the latents do at one level.

    PIE (sufficiency) and TIE (necessity) are each held against the margin, a share of TE, as linear
    contrasts such as PIE - margin x TE, which need no ratio. An effect counts as *present* if its
    contrast's 90 % interval lies above zero, and as *absent* if the intervals of both contrasts put
    it inside (-margin x TE, margin x TE): two one-sided tests at 5 %. A "no" is thus a claim with a
    margin; whatever is neither present nor absent is inconclusive, and so is everything if a guard
    fails.

    Args:
        measured: Effects by name, one value per pair.
        guards: `identity_max_abs` (nats) and `latents_moved_min` (the least change of any pair's
            latents).
        margin: Share of TE below which an effect is negligible.
        seed: Of the bootstrap; every contrast draws the same resamples of pairs.

    Source: Robins & Greenland 1992 for the effects; Berger & Hsu 1996 for the two one-sided tests.
    """
    if not guards["identity_max_abs"] <= NUMERIC_TOLERANCE:
        return _inconclusive(
            f"The identity arm missed the clean run by {guards['identity_max_abs']:.2g} nats, more "
            f"than the {NUMERIC_TOLERANCE:g} that arithmetic excuses."
        )
    if not guards["latents_moved_min"] > 0:
        return _inconclusive(
            "In some pair both runs have the very same latents: nothing was put in."
        )
    te = measured["te"]
    total = bootstrap_mean(te, rng=np.random.default_rng(seed))
    if len(te) < 2 or not total.low > 0:
        return _inconclusive(
            f"The total effect's interval, {total.low:.2f} to {total.high:.2f}, does not lie above "
            "zero, so there is no effect to mediate."
        )
    states = {name: _state(measured[name], te, margin, seed) for name in ("pie", "tie")}
    word = _WORDS.get((states["pie"], states["tie"]), "inconclusive")
    return Verdict(word, tuple(_reason(name, states[name], margin) for name in states))


_WORDS = {
    ("present", "present"): "mediates",
    ("present", "absent"): "redundant",
    ("absent", "present"): "necessary only jointly",
    ("absent", "absent"): "negligible",
}


def _state(
    effect: Float[np.ndarray, " pairs"],
    te: Float[np.ndarray, " pairs"],
    margin: float,
    seed: int,
) -> str:
    above = bootstrap_mean(effect - margin * te, rng=np.random.default_rng(seed), level=0.9)
    below = bootstrap_mean(effect + margin * te, rng=np.random.default_rng(seed), level=0.9)
    if above.low > 0:
        return "present"
    if above.high < 0 and below.low > 0:
        return "absent"
    return "undecided"


def _reason(name: str, state: str, margin: float) -> str:
    meaning = {"pie": "sufficiency", "tie": "necessity"}[name]
    verb = {
        "present": f"exceeds {margin:.0%} of the total effect",
        "absent": f"lies within {margin:.0%} of the total effect",
        "undecided": f"is shown neither to exceed nor to lie within {margin:.0%} of the total"
        " effect",
    }[state]
    return f"{name.upper()} ({meaning}) {verb}."


def _inconclusive(reason: str) -> Verdict:
    return Verdict("inconclusive", (reason,))
