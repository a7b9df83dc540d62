"""What a number of pairs can show, told from a pilot."""

import numpy as np
import pytest

import mindseye as me
from mindseye.causal import forecast, needed_clusters, needed_items, smallest_detectable
from mindseye.errors import SampleError

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(40, seed=3)


@pytest.fixture(scope="module")
def found(organism, pairs):
    return forecast(organism("mediator"), pairs, pilot=4, levels=("embedding",))


def test_only_the_pilot_was_run(found, pairs):
    assert found.n_pairs == 40
    assert found.pilot.n_pairs == 4
    assert found.pilot.runs["pair"].unique().tolist() == [pair.id for pair in pairs[:4]]


def test_there_is_a_row_for_sufficiency_and_necessity_at_every_level(found):
    keys = list(zip(found.effects["level"], found.effects["effect"], strict=True))
    assert keys == [("embedding", "pie"), ("embedding", "tie")]


def test_ten_times_the_clusters_detect_an_effect_smaller_by_the_root_of_ten(found):
    for row in found.effects.to_dict("records"):
        held = found.pilot.rows[found.pilot.rows["level"] == row["level"]]
        least = smallest_detectable(held[row["effect"]].to_numpy(), held["cluster"].tolist())
        assert row["detectable"] == pytest.approx(least / np.sqrt(10))
        assert row["share"] == pytest.approx(row["detectable"] / abs(held["te"].mean()))
        assert row["margin"] == pytest.approx(0.1 * held["te"].mean(), rel=1e-4)
        spread = held[row["effect"]].std()
        assert row["needed"] == needed_clusters(spread, row["margin"])


def test_more_planned_pairs_detect_less(organism, pairs, found):
    few = forecast(organism("mediator"), pairs[:4], pilot=4, levels=("embedding",))
    assert (few.effects["detectable"] > 3 * found.effects["detectable"]).all()
    assert few.effects["needed"].equals(found.effects["needed"])


def test_answers_take_as_many_items_as_the_pilots_rate_of_changed_ones_says(found):
    te = found.pilot.effects
    rate = te[te["effect"] == "tie"]["flip_rate"].max()
    assert rate > 0.2
    wanted = [needed_items(rate, points) for points in (0.01, 0.02, 0.03)]
    assert found.answers["needed"].tolist() == wanted
    assert found.answers["margin"].tolist() == [0.01, 0.02, 0.03]


def test_where_no_answer_changed_the_rule_of_three_stands_in(organism, pairs):
    inert = forecast(organism("bypass"), pairs, pilot=3, levels=("kv",))
    assert inert.answers["needed"].tolist() == [
        needed_items(3 / 3, points) for points in (0.01, 0.02, 0.03)
    ]


def test_it_is_said_in_a_few_lines(found):
    lines = str(found).splitlines()
    assert len(lines) == 1 + 2 + 3
    assert lines[0] == "40 pairs planned; from a pilot of 4:"
    assert "PIE at embedding" in lines[1]
    assert "images" in lines[1]
    assert "accuracies equal within 1%" in lines[3]


def test_a_pilot_that_shows_nothing_says_so_in_words(organism):
    """Pairs of one image, of which none differs from its reference."""
    pair = me.task("digits").pairs(1)[0]
    same = [me.Pair(pair.clean, pair.clean, foil="1", id=str(i)) for i in range(3)]
    said = str(forecast(organism("mediator"), same, pilot=2, levels=("kv",)))
    assert "-1 images" not in said
    assert "nan" not in said


@pytest.mark.parametrize("pilot", [0, 1, 41])
def test_a_pilot_of_one_or_of_more_than_there_are_is_refused(organism, pairs, pilot):
    with pytest.raises(SampleError, match="takes 2 to 40"):
        forecast(organism("mediator"), pairs, pilot=pilot)
