"""Probes read what is there, and nothing that is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.base import clone

from mindseye.errors import SampleError, UnknownNameError
from mindseye.readouts import probe
from mindseye.readouts.geometry.chance import p_value
from mindseye.readouts.probes import KINDS
from mindseye.readouts.probes.folds import folds, within
from mindseye.readouts.probes.kinds import pipeline
from mindseye.readouts.probes.reading import Projection, projections, read
from mindseye.readouts.probes.samples import labelled
from tests.readouts.probes.planting import planted
from tests.strategies import seeds

few = settings(max_examples=3)


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_label_is_read_by_every_kind(kind):
    read = probe(*planted(), kind=kind, n_permutations=1)
    assert read.accuracy > 0.9
    assert read.low < read.accuracy <= read.high
    assert read.v_information > 1
    assert read.compression > 2
    assert read.kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_read_at_chance_even_in_many_dimensions(kind):
    labels = planted(150, seed=1)[1]
    read = probe(noise(1, 150, 4, 800).astype(np.float32), labels, kind=kind, n_permutations=1)
    assert read.low < 1 / 3 < read.high
    assert abs(read.v_information) < 0.06


def test_a_probe_that_sees_its_test_samples_would_read_noise():
    """What the folds prevent: in many dimensions random labels are learned by heart."""
    features, (_, labels) = noise(1, 150, 800), planted(150, seed=1)
    read = clone(pipeline("logistic", 150, 800, 75)).fit(features, labels)
    assert np.mean(read.predict(features) == np.array(labels)) > 0.7


def test_the_shuffled_control_is_at_chance_where_the_probe_is_not():
    read = probe(*planted())
    assert read.shuffled < 0.55 < read.accuracy
    assert read.p_value == pytest.approx(1 / 20)


@few
@given(seeds)
def test_shuffled_features_have_no_selectivity_and_no_information(seed):
    features, labels = planted(seed=seed)
    read = probe(np.random.default_rng(seed).permutation(features), labels, n_permutations=5)
    assert abs(read.selectivity) < 0.2
    assert abs(read.v_information) < 0.1
    assert read.low < read.majority


def test_types_known_by_heart_are_not_selective():
    """Vectors that show nothing but their type read any labels that are one per type."""
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(12), 15)
    features = 4 * rng.normal(size=(12, 60))[types] + rng.normal(size=(180, 60))
    labels = [str(t % 3) for t in types]
    names = [f"type {t}" for t in types]
    by_heart = probe(features, labels, types=names, n_permutations=3)
    assert by_heart.accuracy > 0.9
    assert by_heart.selectivity < 0.1
    assert probe(features, labels, n_permutations=3).selectivity > 0.4
    spelled_out, answers = planted(180)
    drawn = [str(x) for x in rng.integers(12, size=180)]
    assert probe(spelled_out, answers, types=drawn, n_permutations=3).selectivity > 0.4


def test_random_labels_cost_about_what_they_weigh():
    costs = [
        probe(noise(seed, 200, 100), planted(200, n_classes=4, seed=seed)[1], n_permutations=0)
        for seed in range(4)
    ]
    assert np.mean([read.mdl_bits for read in costs]) == pytest.approx(400, rel=0.06)
    assert np.mean([read.compression for read in costs]) == pytest.approx(1, rel=0.06)


def test_an_untempered_probe_would_pay_far_more_for_random_labels(monkeypatch):
    monkeypatch.setattr("mindseye.readouts.probes.bits.tempering", lambda *_: 4.0)
    read = probe(noise(0, 200, 100), planted(200, n_classes=4)[1], n_permutations=0)
    assert read.mdl_bits > 500


def test_information_is_near_the_entropy_of_labels_where_they_are_written():
    read = probe(*planted(200, n_classes=4), n_permutations=0)
    assert read.v_information == pytest.approx(2, abs=0.05)
    assert read.v_low <= read.v_information <= read.v_high
    assert read.pvi.shape == (200,)
    assert read.pvi.mean() == pytest.approx(read.v_information)


def test_the_sample_with_the_wrong_label_is_the_one_that_misleads():
    features, labels = planted(200, n_classes=2, strength=3)
    wrong = [*labels[:-1], "1" if labels[-1] == "0" else "0"]
    read = probe(features, wrong, n_permutations=0)
    assert read.pvi.argmin() == 199
    assert read.pvi[199] < -2


def test_groups_never_part_between_folds():
    """Copies of one sample would be recognised across folds if they could part."""
    features = np.repeat(noise(2, 40, 200), 4, axis=0)
    labels = [str(x) for x in np.repeat(np.random.default_rng(2).integers(2, size=40), 4)]
    images = [str(i // 4) for i in range(160)]
    apart, together = (probe(features, labels, groups=g, n_permutations=0) for g in (None, images))
    assert apart.accuracy > 0.8
    assert apart.v_information > 0.1
    assert together.accuracy < 0.65
    assert together.v_information < 0.1
    assert together.n_groups == 40


def test_intervals_of_few_groups_are_wider():
    features, labels = planted(strength=0.3)
    order = np.argsort(labels, kind="stable")
    groups = [str(i // 10) for i in range(120)]
    grouped, single = (
        probe(features[order], [labels[i] for i in order], groups=g, n_permutations=0)
        for g in (groups, None)
    )
    assert grouped.high - grouped.low > single.high - single.low


@few
@given(seeds)
def test_units_and_offsets_of_features_do_not_matter(seed):
    features, labels = planted(60, strength=0.5, seed=seed)
    rng = np.random.default_rng(seed)
    units = np.exp(rng.normal(size=features.shape[1]))
    moved = features * units + 100 * rng.normal(size=features.shape[1])
    own, other = (probe(each, labels, n_permutations=2) for each in (features, moved))
    assert own.accuracy == other.accuracy
    assert own.v_information == pytest.approx(other.v_information, abs=1e-4)


def test_a_rotation_hides_nothing():
    features, labels = planted(strength=0.6)
    turn = np.linalg.qr(noise(3, 40, 40))[0]
    own, turned = (probe(each, labels, n_permutations=0) for each in (features, features @ turn))
    assert abs(own.accuracy - turned.accuracy) < 0.1


def test_slots_are_laid_end_to_end_or_averaged():
    features, labels = planted(strength=1.0)
    opposed = np.stack([features, -features], axis=1)
    assert probe(opposed, labels, n_permutations=0).accuracy > 0.9
    assert probe(opposed, labels, pooling="mean", n_permutations=0).accuracy < 0.6


def test_features_that_never_vary_are_read_as_the_majority():
    read = probe(np.ones((60, 4)), ["a"] * 40 + ["b"] * 20, n_permutations=3)
    assert read.accuracy == read.majority == read.shuffled == pytest.approx(2 / 3)
    assert read.v_information == pytest.approx(0, abs=1e-6)
    assert read.p_value == 1


def test_labels_rarer_than_folds_are_no_obstacle():
    read = probe(noise(0, 30, 8), ["a"] * 27 + ["b", "b", "c"], n_permutations=2)
    assert read.n == 30
    every_one_its_own = probe(noise(0, 30, 8), [str(i // 2) for i in range(30)], n_permutations=1)
    assert every_one_its_own.accuracy < 0.2


def test_p_values_of_noise_are_not_small_too_often():
    """Of 30 noise probes about 3 have p <= 0.1; 10 would happen once in a thousand times."""
    found = []
    for k in range(30):
        samples = labelled(noise(k, 30, 8), planted(30, n_classes=2, seed=k)[1], None)
        splits = folds(samples.labels, samples.groups, seed=k)
        parts = projections(samples, splits, Projection())
        orders = within(splits, samples.groups, 9, np.random.default_rng(k))
        drawn = np.array([read(parts, samples.labels[order]).mean() for order in orders])
        found.append(p_value(float(read(parts, samples.labels).mean()), drawn))
    assert np.sum(np.array(found) <= 0.1) < 10


def test_equal_seeds_give_equal_probes():
    first, second = (probe(*planted(60, strength=0.3), n_permutations=3) for _ in range(2))
    assert first == second


def test_a_probe_is_a_row():
    frame = probe(*planted(), n_permutations=1).to_frame()
    assert frame.columns.tolist() == [
        "accuracy", "low", "high", "shuffled", "majority", "n", "n_groups", "kind", "p_value",
        "n_permutations", "control", "selectivity", "mdl_bits", "compression",
        "v_information", "v_low", "v_high",
    ]  # fmt: skip
    assert len(frame) == 1


@pytest.mark.parametrize(
    ("n_features", "targets", "words"),
    [
        (5, ["a"] * 6, "one each per sample"),
        (30, ["a"] * 30, "1 different targets"),
        (3, ["a", "b", "a"], "at least 5 groups"),
    ],
)
def test_what_cannot_be_probed_is_refused(n_features, targets, words):
    with pytest.raises(SampleError, match=words):
        probe(np.ones((n_features, 4)), targets)


def test_other_wrong_arguments_are_refused():
    features, labels = planted(30)
    broken = features.copy()
    broken[7, 3] = np.nan
    with pytest.raises(SampleError, match="1 of 30 samples, first in sample 7"):
        probe(broken, labels)
    with pytest.raises(SampleError, match="30 features and 29 groups"):
        probe(features, labels, groups=labels[:-1])
    with pytest.raises(SampleError, match="3 groups of samples"):
        probe(features, labels, groups=[str(i % 3) for i in range(30)])
    with pytest.raises(SampleError, match="30 types, 1 of them different"):
        probe(features, labels, types=["a"] * 30)
    with pytest.raises(SampleError, match="pass 0 for no test"):
        probe(features, labels, n_permutations=-1)
    with pytest.raises(UnknownNameError, match="Did you mean 'logistic'"):
        probe(features, labels, kind="logistics")
