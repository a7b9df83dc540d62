"""Words and latents under edits of the same strength, as shares of what the picture does."""

from dataclasses import replace

import pytest

import mindseye as me
from mindseye.engine import battery, contrast
from mindseye.engine.words import WORDS
from mindseye.errors import SampleError
from mindseye.imagination import STRENGTHS, Strength, matched
from mindseye.plugins import names
from mindseye.readouts import logit_difference
from mindseye.tasks.digits import Digits
from tests.speaking import MARK, hasty, ids_of, own_words, reader, speaker, stock

TAKEN = (
    Strength("everything", "identity", "identity"),
    Strength("the pieces, in another order", "shuffle", "shuffle"),
    Strength("the counterfactual twin's", "twin", "twin"),
)

N = 6

model = pytest.mark.model


def test_every_strength_names_replacements_that_there_are():
    offered = names("replacement")
    for each in STRENGTHS:
        assert each.words.partition(":")[0] in offered
        assert each.latents.partition(":")[0] in offered
    assert len({each.leaves for each in STRENGTHS}) == len(STRENGTHS)


@pytest.fixture(scope="module")
def blind(folder):
    """Whose answers come from its words alone."""
    return speaker(hasty(reader(folder, answers_from="words")))


@pytest.fixture(scope="module")
def seeing(folder):
    return speaker(hasty(reader(folder)))


def total_effect(ours, pair, samples):
    """What both sides' words change about the answer, each said to a sample, by stock forwards."""
    parting = contrast(ours, pair)
    one, other = (
        logit_difference(stock(ours, sample, ids_of(ours, own_words(side)))[-1], parting)
        for sample, side in zip(samples, (pair.clean, pair.reference), strict=True)
    )
    return (one - other).item()


@pytest.fixture(scope="module")
def told_apart(blind, seeing):
    """Pairs that both random models tell apart, if only in the wrong direction."""

    def clear(pair):
        sides = (pair.clean, pair.reference)
        unseen = tuple(replace(side, images=()) for side in sides)
        found = [total_effect(seeing, pair, each) for each in (sides, unseen)]
        return min(found) > -1.5 and max(found) < -0.3

    return [pair for pair in Digits(kinds=("zoom",)).pairs(64, seed=1) if clear(pair)]


@pytest.fixture(scope="module")
def pairs(told_apart):
    return told_apart[:N]


@pytest.fixture(scope="module")
def table(blind, organism, pairs):
    return matched(blind, organism("mediator"), pairs, strengths=TAKEN)


@model
def test_one_row_per_strength_and_model_in_the_order_they_were_asked_for(table, pairs):
    assert len(pairs) == N
    assert list(table) == ["leaves", "imagines", "arm", "mean", "low", "high", "n"]
    assert table["leaves"].tolist() == [each.leaves for each in TAKEN] * 2
    assert table["imagines"].tolist() == ["words"] * 3 + ["latents"] * 3
    assert table["arm"].tolist() == ["identity", "shuffle", "twin"] * 2
    assert (table["n"] == N).all()
    assert (table["low"] <= table["mean"]).all()
    assert (table["mean"] <= table["high"]).all()


@model
def test_what_leaves_everything_does_nothing(table):
    rows = table[table["arm"] == "identity"].set_index("imagines")
    assert rows.loc["words", ["mean", "low", "high"]].abs().max() < 1e-9
    assert rows.loc["latents", ["mean", "low", "high"]].abs().max() < 1e-4


@model
def test_where_words_are_the_only_path_the_twins_go_the_whole_way(table):
    rows = table[table["arm"] == "twin"].set_index("imagines")
    assert rows.loc["words", "mean"] == pytest.approx(-1, abs=1e-9)


@model
def test_where_the_picture_answers_too_the_twins_go_as_far_as_what_is_mediated(
    seeing, organism, pairs
):
    """The other half of the last: -1 is not what any model would give."""
    rows = me.mediate(seeing, pairs, levels=(WORDS,), pins={}).rows
    taken = (TAKEN[2],)
    found = matched(seeing, organism("mediator"), pairs, strengths=taken).set_index("imagines")
    share = rows["tie"].mean() / rows["te"].mean()
    assert found.loc["words", "mean"] == pytest.approx(-share, abs=1e-9)
    assert abs(share - 1) > 1e-3


@model
def test_a_share_is_the_mean_effect_over_the_mean_total_effect(table, organism, pairs):
    ours = organism("mediator")
    te = me.mediate(ours, pairs, levels=("embedding",), pins={}).rows["te"].mean()
    for arm in ("shuffle", "twin"):
        rows = battery(ours, pairs, [arm], levels=["embedding"])
        (found,) = table[(table["imagines"] == "latents") & (table["arm"] == arm)]["mean"]
        assert found == pytest.approx(rows["effect"].mean() / te, abs=1e-4)


@model
def test_one_arm_may_stand_for_several_strengths(blind, organism, pairs):
    strengths = (TAKEN[0], Strength("everything, again", "identity", "twin"))
    found = matched(blind, organism("mediator"), pairs, strengths=strengths)
    words = found[found["imagines"] == "words"]
    assert words["leaves"].tolist() == ["everything", "everything, again"]
    assert words["arm"].tolist() == ["identity", "identity"]


@model
def test_answers_that_do_not_change_leave_nothing_to_take_shares_of(folder, organism, pairs):
    """Its words are the same whatever it sees, and they are all that it answers from."""
    stubborn = speaker(
        hasty(reader(folder, answers_from="words")), lambda sample: f"I look closely.{MARK}"
    )
    with pytest.raises(SampleError, match=r"do not change from one picture.*effect 0 to 0"):
        matched(stubborn, organism("mediator"), pairs, strengths=TAKEN)


@model
def test_a_model_that_imagines_in_no_pair_is_refused(folder, organism, pairs):
    endless = speaker(reader(folder), lambda sample: sample.imagination)
    with pytest.raises(SampleError, match="imagined"):
        matched(endless, organism("mediator"), pairs[:1], strengths=TAKEN)


@model
@pytest.mark.slow
def test_all_strengths_are_measured_on_both(blind, organism, told_apart):
    found = matched(blind, organism("mediator"), told_apart[:8])
    assert found["leaves"].tolist() == [each.leaves for each in STRENGTHS] * 2
    assert found["mean"].notna().all()
    words, latents = (
        found[found["imagines"] == which].set_index("leaves")["mean"]
        for which in ("words", "latents")
    )
    assert words["the counterfactual twin's"] == pytest.approx(-1, abs=1e-9)
    assert abs(words["everything"]) < 1e-9
    assert latents["what misleads most"] < latents["the counterfactual twin's"] < 0
    assert abs(latents["the same facts"]) < 0.5
