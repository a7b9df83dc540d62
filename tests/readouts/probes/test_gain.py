"""What latents add to what is given."""

import numpy as np
import pytest

from mindseye.errors import SampleError
from mindseye.readouts.probes import conditional_gain, probe
from tests.readouts.probes.planting import planted


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_latents_that_repeat_the_image_add_nothing():
    image, labels = planted(strength=0.4)
    found = conditional_gain(image, {"image": image}, labels)
    assert found.gain == pytest.approx(0, abs=0.02)
    assert found.low <= found.gain <= found.high


def test_they_do_add_to_an_image_that_shows_nothing():
    latents, labels = planted()
    found = conditional_gain(latents, {"image": noise(0, 120, 5, 60)}, labels)
    alone = probe(latents, labels, n_permutations=0)
    assert found.low > 1
    assert found.gain == pytest.approx(alone.v_information, abs=0.1)
    assert found.gain == pytest.approx(found.entropy_given - found.entropy_both)
    assert found.gain == pytest.approx(found.pointwise.mean())


def test_noise_takes_nothing_from_what_is_known():
    image, labels = planted(strength=0.6)
    found = conditional_gain(noise(1, 120, 900), {"image": image}, labels)
    assert found.gain == pytest.approx(0, abs=0.08)
    assert found.entropy > found.entropy_given


def test_an_image_and_latents_that_tell_different_halves_add_up():
    bits = np.random.default_rng(0).integers(2, size=(2, 160))
    halves = [noise(k, 160, 10) + 4 * bits[k][:, None] for k in range(2)]
    labels = [f"{a}{b}" for a, b in bits.T]
    found = conditional_gain(halves[0], {"image": halves[1]}, labels)
    assert found.entropy_given == pytest.approx(1, abs=0.15)
    assert found.gain == pytest.approx(1, abs=0.15)


def test_large_arrays_do_not_drown_small_ones():
    small, labels = planted(d=6)
    assert conditional_gain(small, {"image": 100 * noise(2, 120, 3000)}, labels).low > 0.8


def test_nothing_given_is_refused():
    with pytest.raises(SampleError, match="nothing that is given"):
        conditional_gain(*planted()[:1], {}, planted()[1])


def test_lengths_must_agree(unchecked_types):
    latents, labels = planted()
    with pytest.raises(SampleError, match="100 features and 120 targets"):
        conditional_gain(latents, {"image": latents[:100]}, labels)


def test_a_gain_is_a_row():
    latents, labels = planted(30)
    frame = conditional_gain(latents, {"image": latents}, labels).to_frame()
    assert frame.columns.tolist() == [
        "gain", "low", "high", "entropy", "entropy_given", "entropy_both", "n",
    ]  # fmt: skip
