"""Every word of a level and of the ladder is reached by what defines it, and by nothing else."""

import itertools

import numpy as np
import pytest

from mindseye.causal import Margin, judge
from tests.causal.evidence import HOLDS, LADDER, MECHANISMS, evidence, made, measured

MARGIN = Margin(0.1)
WORDS = tuple(MECHANISMS)


def level_of(found, margin=MARGIN):
    """The word of one level by itself."""
    return judge(made({"kv": found}), margin)[1]["kv"]


def ladder_of(*words, **given):
    return judge(evidence(*words, **given), MARGIN)[0]


@pytest.mark.parametrize("word", WORDS)
def test_each_mechanism_gets_its_word(word):
    assert level_of(measured(MECHANISMS[word])).word == word


def test_a_mechanism_without_total_effect_has_nothing_to_mediate():
    """XOR: both edges are strong, and the two inputs answer alike."""
    found = level_of(measured([[0, 1], [1, 0]]))
    assert found.word == "inconclusive"
    assert "covers zero" in found.reasons[0]


def test_a_noisy_null_is_inconclusive_and_not_negligible():
    found = level_of(measured(MECHANISMS["negligible"], n=6, noise=0.2))
    assert found.word == "inconclusive"
    assert "neither to exceed nor to lie within" in found.reasons[0]


def test_an_effect_at_the_margin_is_inconclusive():
    assert level_of(measured([[0, 0.1], [0.9, 1]])).word == "inconclusive"


def test_a_null_is_only_as_good_as_its_margin():
    found = measured([[0, 0.15], [0.85, 1]], noise=0.01)
    assert level_of(found).word == "mediates"
    assert level_of(found, Margin(0.3)).word == "negligible"
    assert level_of(found, Margin(0.1, absolute=3.0)).word == "negligible"


def test_effects_that_cancel_in_the_mean_are_not_negligible():
    """Half of the pairs speak for the answer, half against it."""
    found = measured(MECHANISMS["negligible"])
    signs = np.tile([1.0, -1.0], 20)
    mixed = found | {name: found[name] + 5 * signs for name in ("pie", "tie")}
    verdict = level_of(mixed)
    assert verdict.word == "mediates"
    assert "in both directions" in verdict.reasons[0]
    assert abs(mixed["pie"].mean()) < 1


def test_effects_that_go_against_the_total_one_are_not_negligible():
    assert level_of(measured([[0, -0.5], [1.5, 1]])).word == "mediates"


def test_a_few_large_pairs_among_many_nulls_are_not_called_negligible():
    found = measured(MECHANISMS["negligible"])
    odd = np.zeros(40)
    odd[:4] = [20, -20, 20, -20]
    assert level_of(found | {"pie": found["pie"] + odd}).word != "negligible"


def test_an_outcome_that_falls_is_judged_like_one_that_rises():
    """On a scale such as KL the total effect is negative."""
    for word, mechanism in MECHANISMS.items():
        assert level_of(measured(mechanism, scale=-10.0)).word == word


def test_reasons_name_both_directions_and_the_margin():
    reasons = level_of(measured(MECHANISMS["redundant"])).reasons
    assert [reason.split()[0] for reason in reasons] == ["PIE", "TIE"]
    assert "exceeds the margin of 1 nats" in reasons[0]
    assert "lies within" in reasons[1]


def test_outcomes_that_never_vary_still_have_a_word():
    constant = {name: np.full(5, 4.0 * (name in ("te", "pie"))) for name in measured([[0, 0]] * 2)}
    assert level_of(constant).word == "redundant"


def expected(embedding, kv, span):
    """The ladder's word by its definition, where nothing is lost without the latents."""
    silent = [word == "negligible" for word in (embedding, kv, span)]
    if all(silent):
        return "negligible"
    if silent == [True, True, False]:
        return "marker-format"
    if silent == [True, False, False]:
        return "relay"
    return kv


NARROW_TO_WIDE = [
    words
    for words in itertools.product(WORDS, repeat=3)
    # What matters at a narrow level is part of what is exchanged at a wider one.
    if [word != "negligible" for word in words] == sorted(word != "negligible" for word in words)
]


@pytest.mark.parametrize("words", NARROW_TO_WIDE, ids="|".join)
def test_the_ladder_has_one_word_for_every_three_of_its_levels(words):
    conclusion, levels = judge(evidence(*words), MARGIN)
    assert {level: found.word for level, found in levels.items()} == dict(
        zip(LADDER, words, strict=True)
    )
    assert conclusion.word == expected(*words)


def test_every_word_there_is_was_reached():
    assert {expected(*words) for words in NARROW_TO_WIDE} == {*WORDS, "relay", "marker-format"}


@pytest.mark.parametrize("loud", WORDS[:3])
def test_levels_that_contradict_each_other_are_inconclusive(loud):
    """Exchanging less did something, and exchanging more, that included, did nothing."""
    found = ladder_of(loud, "negligible", "negligible")
    assert found.word == "inconclusive"
    assert "contradict" in found.reasons[0]


def test_markers_are_no_format_where_what_is_fed_matters():
    assert ladder_of("mediates", "negligible", "mediates").word != "marker-format"


def test_latents_that_no_exchange_reaches_but_that_are_needed_are_a_soft_prompt():
    found = ladder_of("negligible", losses={"zero": 1.0, "cut": 0.0})
    assert found.word == "soft prompt"
    assert "lost without them (zero)" in found.reasons[-1]


def test_a_loss_in_both_directions_is_a_need_as_well():
    lost = np.tile([8.0, -8.0], 20)
    held = evidence("negligible")
    given = made(held.effects, losses={"cut": lost})
    assert judge(given, MARGIN)[0].word == "soft prompt"


def test_an_undecided_loss_leaves_open_whether_latents_are_needed():
    lost = np.tile([0.0, 2.5], 20)
    found, _ = judge(made(evidence("negligible").effects, losses={"noise": lost}), MARGIN)
    assert found.word == "inconclusive"
    assert "(noise) is not shown" in found.reasons[0]


def test_without_any_arm_that_takes_latents_away_a_need_is_not_excluded():
    found = ladder_of("negligible", losses={})
    assert found.word == "inconclusive"
    assert "No arm took the latents away" in found.reasons[0]


@pytest.mark.parametrize("word", WORDS[:3])
def test_what_is_lost_without_latents_changes_no_other_word(word):
    assert ladder_of(word, losses={"zero": 1.0}).word == ladder_of(word).word == word


def test_negligible_says_that_the_answer_survives_without_the_latents():
    reasons = ladder_of("negligible").reasons
    assert len(reasons) == 3
    assert "Nor is the answer lost without them (zero, cut)" in reasons[-1]


@pytest.mark.parametrize("missing", LADDER)
def test_part_of_the_ladder_gives_words_of_levels_but_no_conclusion(missing):
    rest = [level for level in LADDER if level != missing]
    conclusion, levels = judge(evidence("mediates", levels=rest), MARGIN)
    assert conclusion.word == "inconclusive"
    assert f"Level {missing} was not measured" in conclusion.reasons[0]
    assert {found.word for found in levels.values()} == {"mediates"}


def test_levels_beside_the_ladder_do_not_disturb_it():
    conclusion, levels = judge(
        evidence("mediates", "mediates", "mediates", "negligible", levels=(*LADDER, "length")),
        MARGIN,
    )
    assert conclusion.word == "mediates"
    assert levels["length"].word == "negligible"


@pytest.mark.parametrize("level", LADDER)
def test_one_undecided_level_makes_the_whole_inconclusive_and_is_named(level):
    held = dict(evidence("mediates").effects) | {level: measured([[0, 0.1], [0.9, 1]])}
    conclusion, levels = judge(made(held), MARGIN)
    assert conclusion.word == "inconclusive"
    assert conclusion.reasons == (f"At {level}:", *levels[level].reasons)


def test_equal_seeds_give_equal_verdicts():
    held = evidence("mediates", "redundant")
    assert judge(held, MARGIN, seed=3) == judge(held, MARGIN, seed=3)


def test_guards_that_hold_are_those_that_are_asked_for():
    from mindseye.causal import GUARDS

    assert set(HOLDS) == set(GUARDS)
