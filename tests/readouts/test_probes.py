"""Probes read what is there, and nothing that is not."""

import numpy as np
import pytest

from mindseye.errors import SampleError
from mindseye.readouts import probe


def planted(n=120, d=40, strength=2.0, seed=0):
    """Features with a label direction planted in noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    directions = rng.normal(size=(3, d))
    return rng.normal(size=(n, d)) + strength * directions[labels], [str(x) for x in labels]


def test_a_planted_label_is_read():
    read = probe(*planted())
    assert read.accuracy > 0.9
    assert read.low < read.accuracy <= read.high


def test_noise_is_read_at_chance_even_in_many_dimensions():
    rng = np.random.default_rng(1)
    read = probe(rng.normal(size=(150, 4, 800)), [str(x) for x in rng.integers(3, size=150)])
    assert read.low < 1 / 3 < read.high


def test_the_shuffled_control_is_at_chance_where_the_probe_is_not():
    read = probe(*planted())
    assert read.shuffled < 0.55 < read.accuracy


def test_groups_never_part_between_folds():
    """Copies of one sample would be recognised across folds if they could part."""
    rng = np.random.default_rng(2)
    features = np.repeat(rng.normal(size=(60, 200)), 2, axis=0)
    labels = [str(x) for x in np.repeat(rng.integers(2, size=60), 2)]
    pairs = [str(i // 2) for i in range(120)]
    assert probe(features, labels).accuracy > 0.6
    assert probe(features, labels, groups=pairs).accuracy < 0.65


def test_equal_seeds_give_equal_probes():
    assert probe(*planted(strength=0.3)) == probe(*planted(strength=0.3))


def test_a_probe_is_a_row():
    frame = probe(*planted()).to_frame()
    assert frame.columns.tolist() == ["accuracy", "low", "high", "shuffled", "majority", "n"]


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
