"""What must hold for a verdict to mean anything, and what a referee would ask of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mindseye.causal import Mediation
from mindseye.report.figures.outcomes import digits_of, unit_of, written
from mindseye.report.numbers import percent, span_of
from mindseye.studies import Audit

__all__ = ["Asked", "Guard", "Referee", "guards", "margin_of", "referee"]


@dataclass(frozen=True, slots=True)
class Guard:
    """Something that must hold for a verdict to mean anything; `state` is ok, warn or note."""

    name: str
    state: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One item of the checklist; `state` is done, failed or not run."""

    number: int
    what: str
    state: str
    note: str


@dataclass(frozen=True, slots=True)
class Referee:
    """The checklist, and how much of it is done, in words."""

    tally: str
    has_failed: bool
    items: tuple[Asked, ...]


def referee(audit: Audit) -> Referee:
    """Return the referee's checklist of an audit."""
    items = tuple(
        Asked(int(row["item"]), str(row["what"]), str(row["state"]), str(row["note"]))
        for row in audit.checklist.to_dict("records")
    )
    states = [item.state for item in items]
    counts = {state: states.count(state) for state in ("done", "failed", "not run")}
    rest = [f"{n} {state}" for state, n in counts.items() if n and state != "done"]
    tally = ", ".join([f"{counts['done']} of {len(items)} done", *rest])
    return Referee(tally, counts["failed"] > 0, items)


def margin_of(mediation: Mediation) -> str:
    """Write the margin with its unit."""
    return _amount(mediation.margin_size, unit_of(mediation.outcome))


def guards(audit: Audit) -> tuple[Guard, ...]:
    """Return what was checked beside the effects, and what came out."""
    mediation = audit.mediation
    return (
        _noise_floor(mediation),
        _edits(mediation),
        _planted(mediation),
        _moved(mediation),
        _placebo(audit),
        _left_out(mediation),
        _clusters(mediation),
        _probe(audit),
    )


def _noise_floor(mediation: Mediation) -> Guard:
    floor = mediation.guards["identity_max_abs"]
    return Guard(
        "Noise floor",
        _held(floor <= mediation.margin_size / 10),
        _amount(floor, unit_of(mediation.outcome)),
        "The most that an answer moves when a run gets its own latents back. It should be rounding "
        f"only, below a tenth of the margin of {margin_of(mediation)}.",
    )


def _edits(mediation: Mediation) -> Guard:
    missed = mediation.guards["edits_missed_max_abs"]
    return Guard(
        "Edits landed",
        _held(missed == 0),
        "exactly" if missed == 0 else f"off by {missed:.1g}",
        "What every edit wrote, compared with what then stood there.",
    )


def _planted(mediation: Mediation) -> Guard:
    name, fired = "Planted edit", mediation.guards.get("pins_fired_min")
    if fired is None:
        return Guard(name, "warn", "not run", "No edit was planted that had to show in the slots.")
    return Guard(
        name,
        _held(fired > 0),
        _at_least(fired) if fired > 0 else "nothing",
        "What zeros and noise, fed at the slots, change in what the slots show, where they change "
        "it least. If nothing, edits do not fire here.",
    )


def _moved(mediation: Mediation) -> Guard:
    name, moved = "Latents moved", mediation.guards["latents_moved_min"]
    if moved == 0:
        return Guard(
            name,
            "note",
            "not at all",
            "In some pair both runs have the very same latents, so that exchanging them is no "
            "change. This is so where latents do not depend on the image.",
        )
    return Guard(
        name,
        _held(moved > 0),
        _at_least(moved),
        "Largest change of any latent coordinate, in the pair where it is least.",
    )


def _placebo(audit: Audit) -> Guard:
    found, placebo = audit.mediation, audit.placebo_te
    size, outcome = found.margin_size, found.outcome
    is_quiet = -size < placebo.low and placebo.high < size
    ends = span_of(placebo.low, placebo.high, digits=digits_of(outcome))
    return Guard(
        "Placebo effect",
        _held(is_quiet),
        f"{written(placebo.mean, outcome)} ({ends})",
        "Total effect of a change that leaves the answer as it is. Its interval "
        f"{'lies' if is_quiet else 'should lie'} within the margin of {margin_of(found)}.",
    )


def _left_out(mediation: Mediation) -> Guard:
    left_out = int(mediation.guards["pairs_left_out"])
    return Guard(
        "Pairs left out",
        _held(not left_out),
        str(left_out),
        "Pairs of which a run did not imagine, or whose latents stand at other positions. The "
        "effects say nothing about them.",
    )


def _clusters(mediation: Mediation) -> Guard:
    n = mediation.n_clusters
    return Guard(
        "Independent images",
        "note" if n > 1 else "warn",
        f"{n} in {mediation.n_pairs} pairs",
        "What intervals draw from, whole: pairs of one image are no independent evidence.",
    )


def _probe(audit: Audit) -> Guard:
    name, found = "Probe", audit.probe
    if found is None:
        return Guard(name, "note", "–", "Too few runs to fit a linear probe on the latents.")
    readable = found.low > found.shuffled
    return Guard(
        name,
        "note",
        f"{percent(found.accuracy)}, shuffled {percent(found.shuffled)}",
        "How often a linear probe reads the gold answer from the latents "
        f"({percent(found.low)} to {percent(found.high)}), and with shuffled labels. "
        + ("The answer can be read there; " if readable else "No sign that it can be read there; ")
        + "whether the model reads it is what the effects say.",
    )


def _held(holds: bool) -> str:
    return "ok" if holds else "warn"


def _at_least(value: float) -> str:
    return f"{value:.2g} or more" if math.isfinite(value) else "–"


def _amount(value: float, unit: str) -> str:
    """Write a size that may be tiny."""
    return f"{value:.2g} {unit}".rstrip()
