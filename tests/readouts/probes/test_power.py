"""Learning curves, planted signals, and what may be said."""

from dataclasses import replace

import numpy as np
import pytest

from mindseye.errors import SampleError, UnknownNameError
from mindseye.readouts.probes import decodability, learning_curve, planted_power, probe
from tests.readouts.probes.planting import planted


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_more_samples_read_better():
    features, labels = planted(strength=0.3)
    curve = learning_curve(features, labels, n_draws=3)
    assert curve["n_train"].tolist() == [12, 24, 48, 72, 96]
    assert curve["accuracy"].iloc[-1] > curve["accuracy"].iloc[0] + 0.1
    assert (curve["low"] <= curve["accuracy"]).all()
    assert (curve["high"] <= 1).all()


def test_a_curve_of_noise_stays_where_it_is():
    curve = learning_curve(noise(0, 120, 30), planted()[1], n_draws=2)
    assert curve["accuracy"].max() < 0.5


def test_training_groups_are_drawn_whole():
    features, labels = planted(60)
    curve = learning_curve(
        features, labels, groups=[str(i // 3) for i in range(60)], shares=(0.5,), n_draws=2
    )
    assert curve["n_train"].iloc[0] % 3 == 0


@pytest.mark.parametrize("wrong", [{"shares": (0.0,)}, {"shares": (2.0,)}, {"n_draws": 0}])
def test_impossible_curves_are_refused(wrong):
    with pytest.raises(SampleError, match="learning_curve got"):
        learning_curve(*planted(30), **wrong)


def test_strong_signals_are_found_and_weak_ones_are_not():
    power = planted_power(*planted(), strengths=(0.1, 8.0), n_draws=6)
    assert power.to_frame()["found"].tolist() == [0, 1]
    assert power.smallest == 8


def test_what_is_found_does_not_depend_on_a_signal_that_is_there_already():
    """Labels are shuffled first, or else no planted signal would be too weak."""
    power = planted_power(*planted(strength=5), strengths=(0.01,), n_draws=6)
    assert power.smallest == np.inf


def test_the_units_of_features_do_not_matter():
    features, labels = planted(60)
    curves = [
        planted_power(scale * features, labels, strengths=(1.5,), n_draws=4).to_frame()
        for scale in (1.0, 1000.0)
    ]
    assert curves[0].equals(curves[1])


def test_more_samples_find_weaker_signals():
    few, many = (
        planted_power(*planted(n), strengths=(0.5, 1.0, 2.0, 4.0, 8.0), n_draws=5).smallest
        for n in (30, 200)
    )
    assert many < few


@pytest.mark.parametrize("wrong", [{"strengths": (0.0,)}, {"strengths": ()}, {"n_draws": 0}])
def test_impossible_plants_are_refused(wrong):
    with pytest.raises(SampleError, match="planted_power got"):
        planted_power(*planted(30), **wrong)
    with pytest.raises(UnknownNameError, match="Did you mean 'ridge'"):
        planted_power(*planted(30), kind="rigde")


def test_what_is_read_is_decodable():
    assert decodability(probe(*planted())).word == "decodable"


@pytest.mark.parametrize("n_permutations", [0, 9])
def test_a_test_of_few_permutations_does_not_speak_against_it(n_permutations):
    read = probe(*planted(), n_permutations=n_permutations)
    assert decodability(read).word == "decodable"
    unlucky = replace(read, p_value=0.3, n_permutations=9)
    assert decodability(unlucky).word == "inconclusive"


def test_not_decodable_takes_a_margin_and_power():
    features, labels = noise(4, 200, 20), planted(200, seed=4)[1]
    read, power = probe(features, labels), planted_power(features, labels, n_draws=5)
    assert read.low < read.majority
    assert decodability(read, power, margin=0.15).word == "not decodable within margin"
    missing = decodability(read, margin=0.15)
    assert missing.word == "inconclusive"
    assert "power is unknown" in missing.why
    assert "would be missed" in decodability(read, power, margin=0.15, strength=0.2).why
    narrow = decodability(read, power, margin=0.01)
    assert str(narrow).startswith("inconclusive")
    assert "reaches beyond a margin of 1%" in narrow.why
