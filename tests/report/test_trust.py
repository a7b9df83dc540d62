"""Guards say what holds and what does not; the checklist is counted as it stands."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mindseye.report.trust import Guard, guards, margin_of, referee
from mindseye.studies import Audit
from tests.report.audits import altered, computed

pytestmark = pytest.mark.model


def with_guards(found: Audit, **changed: float) -> dict[str, Guard]:
    """The guards by name, with other measurements behind them."""
    measured = {**found.mediation.guards, **changed}
    mediation = altered(found.mediation, computed(found.mediation), guards=measured)
    return {guard.name: guard for guard in guards(replace(found, mediation=mediation))}


def test_there_are_eight_in_a_fixed_order(found: Audit) -> None:
    assert [guard.name for guard in guards(found)] == [
        "Noise floor",
        "Edits landed",
        "Planted edit",
        "Latents moved",
        "Placebo effect",
        "Pairs left out",
        "Independent images",
        "Probe",
    ]


def test_the_noise_floor_is_held_against_a_tenth_of_the_margin(found: Audit) -> None:
    size = found.mediation.margin_size
    assert with_guards(found, identity_max_abs=size / 20)["Noise floor"].state == "ok"
    over = with_guards(found, identity_max_abs=size / 5)["Noise floor"]
    assert over.state == "warn"
    assert over.value == f"{size / 5:.2g} nats"
    assert margin_of(found.mediation) in over.meaning


def test_edits_land_exactly_or_not(found: Audit) -> None:
    landed = with_guards(found, edits_missed_max_abs=0.0)["Edits landed"]
    assert (landed.state, landed.value) == ("ok", "exactly")
    missed = with_guards(found, edits_missed_max_abs=0.0123)["Edits landed"]
    assert (missed.state, missed.value) == ("warn", "off by 0.01")
    assert with_guards(found, edits_missed_max_abs=math.nan)["Edits landed"].state == "warn"


def test_planted_edits_have_to_show(found: Audit) -> None:
    assert with_guards(found, pins_fired_min=0.25)["Planted edit"].value == "0.25 or more"
    silent = with_guards(found, pins_fired_min=0.0)["Planted edit"]
    assert (silent.state, silent.value) == ("warn", "nothing")
    measured = {k: v for k, v in found.mediation.guards.items() if k != "pins_fired_min"}
    without = replace(found, mediation=altered(found.mediation, guards=measured))
    assert [g.value for g in guards(without) if g.name == "Planted edit"] == ["not run"]


def test_latents_that_never_move_are_noted_not_warned_of(found: Audit) -> None:
    still = with_guards(found, latents_moved_min=0.0)["Latents moved"]
    assert (still.state, still.value) == ("note", "not at all")
    assert "very same latents" in still.meaning
    assert with_guards(found, latents_moved_min=1.5)["Latents moved"].state == "ok"
    assert with_guards(found, latents_moved_min=math.nan)["Latents moved"].state == "warn"


@pytest.mark.parametrize(("shift", "state"), [(0.0, "ok"), (1e6, "warn")])
def test_a_placebo_is_to_stay_within_the_margin(found: Audit, shift: float, state: str) -> None:
    spread = np.linspace(-1, 1, len(found.placebo.rows)) * found.mediation.margin_size / 100
    placebo = altered(found.placebo, rows=found.placebo.rows.assign(te=spread + shift))
    shown = {guard.name: guard for guard in guards(replace(found, placebo=placebo))}
    assert shown["Placebo effect"].state == state
    assert margin_of(found.mediation) in shown["Placebo effect"].meaning


def test_left_out_pairs_are_counted(found: Audit) -> None:
    assert with_guards(found, pairs_left_out=0.0)["Pairs left out"].state == "ok"
    some = with_guards(found, pairs_left_out=3.0)["Pairs left out"]
    assert (some.state, some.value) == ("warn", "3")


def test_images_are_counted_beside_pairs(found: Audit) -> None:
    several = {guard.name: guard for guard in guards(found)}["Independent images"]
    assert several.state == "note"
    assert several.value == f"{found.mediation.n_clusters} in {found.mediation.n_pairs} pairs"
    rows = found.mediation.rows.assign(cluster="one")
    mediation = altered(found.mediation, computed(found.mediation), rows=rows)
    alone = {guard.name: guard for guard in guards(replace(found, mediation=mediation))}
    assert alone["Independent images"].state == "warn"


def test_too_few_runs_for_a_probe_are_no_fault(found: Audit) -> None:
    (missing,) = (g for g in guards(replace(found, probe=None)) if g.name == "Probe")
    assert (missing.state, missing.value) == ("note", "–")


def test_the_checklist_is_shown_whole_and_counted(found: Audit) -> None:
    shown, frame = referee(found), found.checklist
    assert [item.number for item in shown.items] == list(range(1, 20))
    assert [item.state for item in shown.items] == frame["state"].to_list()
    assert [item.note for item in shown.items] == frame["note"].to_list()
    counts = frame["state"].value_counts()
    assert shown.tally.startswith(f"{counts['done']} of 19 done")
    assert f"{counts['not run']} not run" in shown.tally
    assert shown.has_failed == ("failed" in counts)


def test_states_that_do_not_occur_are_not_counted(found: Audit) -> None:
    size = found.mediation.margin_size
    noisy = {**found.mediation.guards, "identity_max_abs": size}
    failing = altered(found.mediation, computed(found.mediation), guards=noisy)
    shown = referee(replace(found, mediation=failing))
    assert shown.has_failed
    assert " failed, " in shown.tally
    done = referee(found)
    assert ("failed" in done.tally) == any(item.state == "failed" for item in done.items)
