"""The referee's checklist: every item has a state, and each state a reason."""

from dataclasses import replace

import pytest

import mindseye as me
from mindseye.causal import Verdict, checklist

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(4, seed=6)


@pytest.fixture(scope="module")
def found(organism, pairs):
    return me.mediate(organism("bypass"), pairs)


@pytest.fixture(scope="module")
def narrow(organism, pairs):
    """One level, one pin."""
    return me.mediate(organism("bypass"), pairs[:2], levels=("kv",), pins=["zero"])


def states(found, **filled):
    return checklist(found, **filled).set_index("item")["state"]


def notes(found):
    return found.checklist.set_index("item")["note"]


def test_there_are_nineteen_items_and_three_states(found, narrow):
    for each in (found, narrow):
        frame = each.checklist
        assert frame.columns.tolist() == ["item", "what", "state", "note"]
        assert frame["item"].tolist() == list(range(1, 20))
        assert set(frame["state"]) <= {"done", "failed", "not run"}
        assert frame["what"].str.len().min() > 10
        assert frame[frame["state"] == "failed"]["note"].str.len().gt(0).all()


def test_what_one_mediation_cannot_know_was_not_run(found):
    assert states(found)[[8, 9, 13, 16, 19]].eq("not run").all()


def test_a_whole_ladder_with_two_pins_and_a_cut_is_done(found):
    assert found.verdict == "negligible"
    assert states(found)[[1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 14, 15, 17, 18]].eq("done").all()
    assert "noise, zero" in notes(found)[7]


def test_one_level_and_one_family_of_replacements_are_not_enough(narrow):
    assert states(narrow)[[6, 7]].eq("not run").all()
    assert notes(narrow)[6] == "only kv"


def test_what_was_run_beside_it_is_filled_in_and_goes_before(found):
    filled = {8: ("done", "cut"), 13: ("failed", "placebo moved"), 5: ("failed", "ours")}
    with_more = checklist(found, filled).set_index("item")
    assert with_more.loc[8, ["state", "note"]].tolist() == ["done", "cut"]
    assert with_more.loc[[13, 5], "state"].tolist() == ["failed", "failed"]
    assert states(found)[5] == "done"


FAILURES = {
    2: {"guards": {"identity_max_abs": 1.0}},
    11: {"verdicts": {"kv": Verdict("inconclusive", ("too few",))}},
    12: {"guards": {"pins_fired_min": 0.0}},
}


@pytest.mark.parametrize("item", FAILURES)
def test_what_went_wrong_is_a_failed_item(found, item):
    broken = {name: {**getattr(found, name), **changes} for name, changes in FAILURES[item].items()}
    after = states(replace(found, **broken))
    assert after[item] == "failed"
    assert (after.drop(item) == states(found).drop(item)).all()


def test_a_total_effect_that_may_be_zero_fails_its_item(found):
    rows = found.rows.assign(te=[5.0, -5.0, 6.0, -6.0] * 3)
    assert states(replace(found, rows=rows))[3] == "failed"


def test_an_answer_said_before_the_latents_fails_its_item(found):
    runs = found.runs.assign(stated_before=True)
    after = replace(found, runs=runs)
    assert states(after)[15] == "failed"
    assert "100% of runs say the answer before" in notes(after)[15]


def test_without_pins_no_control_was_planted(organism, pairs):
    none = me.mediate(organism("bypass"), pairs[:2], levels=("kv",), pins={})
    assert states(none)[12] == "not run"
    assert states(none)[14] == "done"  # the edges from the slots are cut all the same
