"""Nothing is concluded without guards, with failed ones, or from too little."""

import numpy as np
import pytest

from mindseye.causal import GUARDS, Evidence, Margin, judge
from tests.causal.evidence import HOLDS, MECHANISMS, evidence, made, measured

MARGIN = Margin(0.1)
WORDS = ("mediates", "negligible")


def verdicts(held):
    """The conclusion and the levels' verdicts, all of which must be the same."""
    conclusion, levels = judge(held, MARGIN)
    assert {conclusion.word, *(found.word for found in levels.values())} == {"inconclusive"}
    return levels["kv"].reasons[0]


def alike(found, **given):
    """Evidence with the same effects at every level."""
    return made(dict.fromkeys(("embedding", "kv", "span"), found), **given)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_was_not_run_forbids_any_verdict(word, guard):
    held = evidence(word, guards={key: value for key, value in HOLDS.items() if key != guard})
    assert verdicts(held) == f"A guard was not run: {GUARDS[guard]}."


FAILED = {
    "identity_max_abs": (0.2, "identity arm missed the unedited run by 0.2 nats"),
    "edits_missed_max_abs": (1e-3, "wrote something else than what then stood there"),
    "pins_fired_min": (0.0, "edits do not fire"),
    "not_a_number": (3.0, "3 outcomes are no numbers"),
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("guard", GUARDS)
def test_a_failed_guard_forbids_any_verdict(word, guard):
    value, said = FAILED[guard]
    assert said in verdicts(evidence(word, guards=HOLDS | {guard: value}))


@pytest.mark.parametrize("guard", sorted(set(GUARDS) - {"not_a_number"}))
def test_a_guard_that_is_not_a_number_fails(guard):
    verdicts(evidence("mediates", guards=HOLDS | {guard: float("nan")}))


def test_a_count_of_numbers_that_is_none_fails():
    verdicts(evidence("mediates", guards=HOLDS | {"not_a_number": float("nan")}))


def test_a_residual_far_below_the_margin_is_let_through():
    held = evidence("mediates", guards=HOLDS | {"identity_max_abs": 0.05})
    assert judge(held, MARGIN)[0].word == "mediates"


def test_the_residual_is_held_against_the_margin_not_against_a_constant():
    held = evidence("mediates", guards=HOLDS | {"identity_max_abs": 0.2})
    assert judge(held, Margin(0.3))[0].word == "mediates"
    assert judge(held, Margin(0.1))[0].word == "inconclusive"


@pytest.mark.parametrize("n", [1, 2, 40])
def test_one_cluster_says_nothing_of_another(n):
    found = {level: measured(MECHANISMS["mediates"], n) for level in ("embedding", "kv", "span")}
    held = Evidence(found, dict.fromkeys(found, ["scene"] * n), HOLDS)
    assert f"All {n} pairs belong to one cluster" in verdicts(held)


def test_two_clusters_of_much_noise_say_nothing_either():
    verdicts(alike(measured(MECHANISMS["mediates"], n=2, noise=0.5)))


def test_an_outcome_that_no_input_changes_has_nothing_to_mediate():
    nothing = {name: np.zeros(12) for name in measured([[0, 0]] * 2)}
    assert "nothing to mediate" in verdicts(alike(nothing))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("effect", ["te", "pie", "tie"])
def test_one_value_that_is_no_number_forbids_a_verdict(effect, bad):
    found = measured(MECHANISMS["mediates"])
    found[effect][7] = bad
    verdicts(alike(found, guards=HOLDS | {"not_a_number": 1.0}))
    # Even where nobody counted it.
    assert judge(alike(found), MARGIN)[0].word == "inconclusive"


def test_a_total_effect_around_zero_is_said_to_cover_it():
    found = measured([[0, 0.01], [0, 0.01]], noise=1.0, n=12)
    assert "covers zero" in verdicts(alike(found))


def test_a_total_effect_within_an_absolute_margin_is_not_enough():
    found, _ = judge(evidence("mediates"), Margin(0.1, absolute=50.0))
    assert found.word == "inconclusive"
    assert "not enough of it to mediate" in found.reasons[1]


def test_the_unit_is_that_of_the_outcome():
    found = alike(measured([[0, 0.01], [0, 0.01]], noise=1.0, n=12), unit="points")
    assert "points" in verdicts(found)
