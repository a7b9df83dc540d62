"""What a verdict must not depend on: signs, units, order; and what swapping directions does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mindseye.causal import Evidence, Margin, effects, judge
from tests.causal.evidence import HOLDS, LADDER, MECHANISMS, evidence

few = settings(max_examples=12)
SWAPPED = {"redundant": "necessary only jointly", "necessary only jointly": "redundant"}


@pytest.fixture(autouse=True, scope="module")
def fewer_resamples():
    """Invariance is exact with any number of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mindseye.causal.intervals._RESAMPLES", 300)
        yield


@st.composite
def measurements(draw):
    """Any evidence, on an edge or not: mechanisms that are mixed, noisy, clustered or absurd."""
    n = draw(st.integers(2, 24))
    noise = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    parts = arrays(np.float64, (2, 2), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0, -1.0]))
    by_level = {
        level: effects(8.0 * (draw(parts) + noise * rng.normal(size=(n, 2, 2)))) for level in LADDER
    }
    clusters = [str(i % draw(st.sampled_from([1, 3, 40]))) for i in range(n)]
    return Evidence(
        effects=by_level,
        clusters=dict.fromkeys(LADDER, clusters),
        guards=HOLDS | {"identity_max_abs": draw(st.sampled_from([0.0, 0.5]))},
        losses={"cut": 8.0 * (draw(parts)[0, 0] + noise * rng.normal(size=n))},
        losses_clusters=clusters,
    )


def changed(held, change):
    """The same evidence with every value changed, level by level and loss by loss."""
    return replace(
        held,
        effects={
            level: {name: change(values) for name, values in found.items()}
            for level, found in held.effects.items()
        },
        losses={arm: change(values) for arm, values in held.losses.items()},
    )


def words(held, margin):
    conclusion, levels = judge(held, margin)
    return [conclusion.word, *(levels[level].word for level in LADDER)]


@few
@given(measurements(), st.sampled_from([0.05, 0.1, 0.3]))
def test_turning_the_outcome_round_never_changes_a_word(held, margin):
    turned = changed(held, lambda values: -values)
    assert words(turned, Margin(margin)) == words(held, Margin(margin))


@few
@given(measurements(), st.integers(-20, 20))
def test_the_unit_of_the_outcome_never_changes_a_word(held, power):
    """Powers of two scale without rounding, so even what lies on an edge stays there."""
    unit = 2.0**power
    identity = HOLDS | {"identity_max_abs": held.guards["identity_max_abs"] * unit}
    scaled = replace(changed(held, lambda values: values * unit), guards=identity)
    assert words(scaled, Margin(0.1, absolute=unit)) == words(held, Margin(0.1, absolute=1.0))


@few
@given(st.lists(st.sampled_from(list(MECHANISMS)), min_size=3, max_size=3), st.randoms())
def test_the_order_of_pairs_never_changes_a_word(mechanisms, shuffle):
    """Of evidence that is on no edge: the order decides what the bootstrap draws."""
    held = evidence(*mechanisms, losses={"zero": 1.0, "cut": 0.0})
    order = list(range(40))
    shuffle.shuffle(order)
    clusters = [f"scene {i // 2}" for i in range(40)]
    straight = replace(
        held, clusters=dict.fromkeys(LADDER, clusters), losses_clusters=clusters
    )  # fmt: skip
    there = [clusters[i] for i in order]
    moved = replace(
        changed(held, lambda values: values[order]),
        clusters=dict.fromkeys(LADDER, there),
        losses_clusters=there,
    )
    assert words(moved, Margin(0.1)) == words(straight, Margin(0.1))


@few
@given(measurements())
def test_the_names_of_clusters_never_change_a_word(held):
    names = [("scene", int(name)) for name in held.losses_clusters]
    renamed = replace(held, clusters=dict.fromkeys(LADDER, names), losses_clusters=names)
    assert words(renamed, Margin(0.1)) == words(held, Margin(0.1))


@few
@given(measurements())
def test_swapping_sufficiency_and_necessity_swaps_the_two_lopsided_words(held):
    swapped = replace(
        held,
        effects={
            level: dict(found) | {"pie": found["tie"], "tie": found["pie"]}
            for level, found in held.effects.items()
        },
    )
    wanted = [SWAPPED.get(word, word) for word in words(held, Margin(0.1))]
    assert words(swapped, Margin(0.1)) == wanted
