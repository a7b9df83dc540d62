"""From measured effects, guards and margins to one word, with its reasons."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from mindseye.causal.equivalence import Margin, equivalent
from mindseye.causal.intervals import Interval, interval

__all__ = ["GUARDS", "Evidence", "Verdict", "judge"]

Values = Float[np.ndarray, " _"]
"""One per pair; levels may have different numbers of pairs."""

GUARDS = {
    "identity_max_abs": "the identity arm: own latents put back, compared with the unedited run",
    "edits_missed_max_abs": "what an edit wrote, compared with what then stood there",
    "pins_fired_min": "the planted edit: what feeding zeros and noise changed in the slots",
    "not_a_number": "outcomes that are no numbers",
}
"""Without these a verdict is inconclusive."""

_LADDER = ("embedding", "kv", "span")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A word and why.

    Attributes:
        word: Of one level: `mediates`, `redundant`, `necessary only jointly`, `negligible` or
            `inconclusive`. Of the whole ladder also `relay`, `marker-format` or `soft prompt`.
        reasons: Sentences that support it.
    """

    word: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a verdict rests on.

    Attributes:
        effects: By level, then by effect: one value per pair, of the outcome that is judged.
        clusters: By level: what each pair belongs to.
        losses: What the clean run loses when its mediator is pinned or its slots are not read
            (NEC), by arm; needed where no exchange does anything.
        losses_clusters: What each of these values belongs to.
        guards: By the names of `GUARDS`.
        unexchanged: Levels that say nothing, because the runs of no pair differ in what they are.
        unit: Of the outcome, for the reasons.
    """

    effects: Mapping[str, Mapping[str, Values]]
    clusters: Mapping[str, Sequence[Hashable]]
    guards: Mapping[str, float]
    losses: Mapping[str, Values] = field(default_factory=dict)
    losses_clusters: Sequence[Hashable] = ()
    unexchanged: frozenset[str] = frozenset()
    unit: str = "nats"


def judge(
    evidence: Evidence, margin: Margin, *, seed: int = 0
) -> tuple[Verdict, dict[str, Verdict]]:
    """Name what the latents do, over the whole ladder and level by level.

    At each level PIE (sufficiency) and TIE (necessity) are held against the margin in TE's
    direction, as linear contrasts on clusters, which need no ratio. An effect is *present* if it
    exceeds the margin; *absent* if two one-sided tests at 5 % put its mean within the margin and
    single pairs are on average within it too; and *mixed* if single pairs exceed it on average
    while their mean does not, which counts as present. Whatever is none of these is undecided.

    | PIE | TIE | word of a level |
    |---|---|---|
    | present | present | mediates |
    | present | absent | redundant: sufficient, not necessary |
    | absent | present | necessary only jointly |
    | absent | absent | negligible |

    The ladder's word is that of `kv`, unless `embedding` is negligible there (`relay`), `embedding`
    and `kv` are and `span` is not (`marker-format`), or all are negligible and yet the run loses
    its answer without its latents (`soft prompt`).

    A missing guard, a failed one, a missing level or anything undecided on the way makes it
    inconclusive: a "no" is a claim.

    Args:
        evidence: What was measured.
        margin: How small counts as none; its floor is raised to the identity arm's residual.
        seed: Of the bootstrap; every contrast draws the same resamples.

    Returns:
        The ladder's verdict, and those of its levels.

    Source: Robins & Greenland 1992 for the effects; Berger & Hsu 1996 for two one-sided tests.
    """
    levels = {level: _judge_level(evidence, level, margin, seed) for level in evidence.effects}
    return _conclude(evidence, levels, margin, seed), levels


_WORDS = {
    ("present", "present"): "mediates",
    ("present", "absent"): "redundant",
    ("absent", "present"): "necessary only jointly",
    ("absent", "absent"): "negligible",
}


def _judge_level(evidence: Evidence, level: str, margin: Margin, seed: int) -> Verdict:
    if level in evidence.unexchanged:
        return _inconclusive("Both runs of every pair are alike here, so nothing was exchanged.")
    fault = _fault(evidence, evidence.effects[level], evidence.clusters[level], margin, seed)
    if fault:
        return _inconclusive(fault)
    effects, clusters = evidence.effects[level], evidence.clusters[level]
    sign, bounds = _oriented(effects["te"], margin, evidence.guards)
    states = {name: _state(sign * effects[name], bounds, clusters, seed) for name in ("pie", "tie")}
    pie, tie = ("present" if each == "mixed" else each for each in states.values())
    word = _WORDS.get((pie, tie), "inconclusive")
    size = f"{float(bounds.mean()):.2g} {evidence.unit}"
    return Verdict(word, tuple(_reason(name, states[name], size) for name in states))


def _fault(
    evidence: Evidence,
    effects: Mapping[str, Values],
    clusters: Sequence[Hashable],
    margin: Margin,
    seed: int,
) -> str:
    """Say what forbids any verdict; empty if nothing does."""
    guards, unit = evidence.guards, evidence.unit
    missing = [text for name, text in GUARDS.items() if name not in guards]
    if missing:
        return f"A guard was not run: {missing[0]}."
    if guards["not_a_number"] != 0:
        return (
            f"{guards['not_a_number']:.0f} outcomes are no numbers; the model's logits overflow. "
            "Run it in another dtype."
        )
    if len(set(clusters)) < 2:
        return (
            f"All {len(clusters)} pairs belong to one cluster, so nothing says how another one "
            "would come out."
        )
    if guards["edits_missed_max_abs"] != 0:
        return (
            f"An edit wrote something else than what then stood there "
            f"(by {guards['edits_missed_max_abs']:.2g})."
        )
    if not guards["pins_fired_min"] > 0:
        return "Feeding zeros or noise changed nothing in the slots: edits do not fire here."
    te = effects["te"]
    if np.ptp(te) == 0 and te[0] == 0:
        return "The outcome is the same for both inputs of every pair: there is nothing to mediate."
    total = interval(te, clusters, rng=np.random.default_rng(seed))
    if not (total.low > 0 or total.high < 0):
        return (
            f"The total effect's interval, {total.low:.2f} to {total.high:.2f} {unit}, covers "
            "zero, so there is no effect to mediate."
        )
    _, bounds = _oriented(te, margin, guards)
    size = float(bounds.mean())
    if min(abs(total.low), abs(total.high)) <= size:
        return (
            f"The total effect is not shown to exceed the margin of {size:.2g} {unit}, so there is "
            "not enough of it to mediate."
        )
    if not guards["identity_max_abs"] <= size / 10:
        return (
            f"The identity arm missed the unedited run by {guards['identity_max_abs']:.2g} {unit}, "
            f"more than a tenth of the margin of {size:.2g}."
        )
    return ""


def _oriented(te: Values, margin: Margin, guards: Mapping[str, float]) -> tuple[float, Values]:
    """Return TE's sign, and the margin as pairs see it."""
    return float(np.sign(te.mean()) or 1.0), margin.above(guards["identity_max_abs"]).bounds(te)


def _state(effect: Values, bounds: Values, clusters: Sequence[Hashable], seed: int) -> str:
    """Say whether an effect is present, absent, mixed or undecided."""
    held = equivalent(effect, bounds, clusters, seed=seed)
    if held.present:
        return "present"
    beyond: Interval = interval(
        np.abs(effect) - bounds, clusters, rng=np.random.default_rng(seed), level=0.9
    )
    if held.absent and beyond.high < 0:
        return "absent"
    return "mixed" if beyond.low > 0 else "undecided"


def _reason(name: str, state: str, size: str) -> str:
    meaning = {"pie": "sufficiency", "tie": "necessity"}[name]
    said = {
        "present": f"exceeds the margin of {size}",
        "absent": f"lies within the margin of {size}, in the mean and pair by pair",
        "mixed": f"exceeds the margin of {size} in single pairs, in both directions",
        "undecided": f"is shown neither to exceed nor to lie within the margin of {size}",
    }[state]
    return f"{name.upper()} ({meaning}) {said}."


def _conclude(
    evidence: Evidence, levels: Mapping[str, Verdict], margin: Margin, seed: int
) -> Verdict:
    """Return the ladder's verdict from those of its levels."""
    missing = [level for level in _LADDER if level not in levels]
    if missing:
        return _inconclusive(
            f"Level {missing[0]} was not measured; what the latents do is told from the whole "
            f"ladder, {', '.join(_LADDER)}."
        )
    words = {level: levels[level].word for level in _LADDER}
    undecided = [level for level in _LADDER if words[level] == "inconclusive"]
    if undecided:
        return Verdict("inconclusive", (f"At {undecided[0]}:", *levels[undecided[0]].reasons))
    if words["kv"] == "negligible" != words["embedding"]:
        return _inconclusive(
            "Exchanging what is fed matters and exchanging all that is read of the slots does "
            "not; the levels contradict each other."
        )
    if words["kv"] == words["span"] == "negligible":
        return _without_exchange(evidence, levels["kv"], margin, seed)
    if words["kv"] == "negligible":
        return Verdict(
            "marker-format",
            (
                "Exchanging the slots does nothing, exchanging the markers with them does.",
                *levels["span"].reasons,
            ),
        )
    if words["embedding"] == "negligible":
        return Verdict(
            "relay",
            (
                "Exchanging what is fed back does nothing; exchanging what the slots hold does, so "
                "they carry what they read from the input themselves.",
                *levels["kv"].reasons,
            ),
        )
    return Verdict(words["kv"], levels["kv"].reasons)


def _without_exchange(evidence: Evidence, kv: Verdict, margin: Margin, seed: int) -> Verdict:
    """Tell latents that do nothing from those whose presence alone is needed."""
    if not evidence.losses:
        return _inconclusive("No arm took the latents away, so they may still be needed as such.")
    sign, bounds = _oriented(evidence.effects["kv"]["te"], margin, evidence.guards)
    clusters = evidence.losses_clusters
    states = {
        arm: _state(sign * loss, bounds, clusters, seed) for arm, loss in evidence.losses.items()
    }
    needed = [arm for arm, state in states.items() if state in ("present", "mixed")]
    if needed:
        return Verdict(
            "soft prompt",
            (*kv.reasons, f"Yet the answer is lost without them ({', '.join(needed)})."),
        )
    undecided = [arm for arm, state in states.items() if state == "undecided"]
    if undecided:
        return _inconclusive(
            f"No exchange does anything, but whether the answer survives without the latents "
            f"({', '.join(undecided)}) is not shown."
        )
    return Verdict(
        "negligible", (*kv.reasons, f"Nor is the answer lost without them ({', '.join(states)}).")
    )


def _inconclusive(reason: str) -> Verdict:
    return Verdict("inconclusive", (reason,))
