"""Pairs of one image, or of one family, count as one draw."""

from dataclasses import replace

import pytest

import mindseye as me

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(4, seed=2)


@pytest.fixture(scope="module")
def mediate(organism):
    return lambda pairs, **more: me.mediate(
        organism("mediator"), pairs, levels=("embedding",), pins={}, **more
    )


@pytest.fixture(scope="module")
def alone(mediate, pairs):
    return mediate(pairs)


@pytest.fixture(scope="module")
def doubled(pairs):
    return [*pairs, *(replace(pair, id=f"{pair.id} again") for pair in pairs)]


def width(found, effect="pie"):
    row = found.effect(effect, level="embedding")
    return row.high - row.low


def test_asking_twice_about_an_image_narrows_nothing(mediate, alone, doubled):
    twice = mediate(doubled)
    assert (twice.n_pairs, twice.n_clusters) == (8, 4)
    for effect in ("te", "pie", "tie"):
        assert twice.effect(effect, level="embedding").mean == pytest.approx(
            alone.effect(effect, level="embedding").mean, abs=1e-4
        )
        assert width(twice, effect) == pytest.approx(width(alone, effect), rel=1e-3)
    detectable = (found.effects["detectable"].tolist() for found in (twice, alone))
    assert next(detectable) == pytest.approx(next(detectable), rel=1e-3)


def test_taking_the_two_for_independent_would_narrow_it(mediate, alone, doubled):
    naive = mediate(doubled, cluster=lambda pair: pair.id)
    assert naive.n_clusters == 8
    assert width(naive) < 0.8 * width(alone)


def test_a_pairs_own_cluster_goes_before_its_image(mediate, alone, pairs):
    families = [replace(pair, cluster=f"family {i // 2}") for i, pair in enumerate(pairs)]
    found = mediate(families)
    assert (found.n_pairs, found.n_clusters) == (4, 2)
    assert found.rows["cluster"].tolist() == [pair.cluster for pair in families]
    assert found.effects["clusters"].tolist() == [2] * 6
    assert found.effects["mean"].tolist() == pytest.approx(alone.effects["mean"].tolist())
    assert not found.effects["low"].equals(alone.effects["low"])


def test_a_function_of_ones_own_goes_before_both(mediate, pairs):
    families = [replace(pair, cluster="family") for pair in pairs]
    found = mediate(families, cluster=lambda pair: pair.clean.question)
    assert found.rows["cluster"].tolist() == [pair.clean.question for pair in pairs]


def test_one_family_of_pairs_shows_nothing_of_others(mediate, pairs):
    found = mediate([replace(pair, cluster="one scene") for pair in pairs])
    row = found.effect("te", level="embedding")
    assert (row.low, row.high) == (-float("inf"), float("inf"))
    assert found.shares["refused"].tolist() == ["TE's interval covers 0"] * 2
    assert found.verdicts["embedding"].word == "inconclusive"
