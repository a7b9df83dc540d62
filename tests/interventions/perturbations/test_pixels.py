"""What each perturbation of pixels declares, and what theory says of its dose."""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import correlate1d

from mindseye.errors import EditError, SampleError
from mindseye.interventions.perturbations import blank, blur, grey, jpeg, mean_colour, noise
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.interventions.perturbations.scenes import rng
from tests.strategies import pixels, samples, seeds

DOSES = st.lists(st.floats(0, 2), min_size=2, max_size=4).map(sorted)


def squared_error(a: Sample, b: Sample) -> float:
    return float(((a.image.astype(float) - b.image.astype(float)) ** 2).mean())


def psnr(a: Sample, b: Sample) -> float:
    """Peak signal-to-noise ratio in dB."""
    error = squared_error(a, b)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@given(samples(), st.sampled_from(["white", "black"]))
def test_blank_leaves_one_colour(sample: Sample, colour: Any) -> None:
    level = {"white": 255, "black": 0}[colour]
    assert (blank(sample, colour=colour, rng=rng()).image == level).all()


@given(samples())
def test_grey_leaves_127(sample: Sample) -> None:
    assert (grey(sample, rng=rng()).image == 127).all()


@given(samples())
def test_mean_colour_keeps_each_channels_mean_and_no_variance(sample: Sample) -> None:
    image = mean_colour(sample, rng=rng()).image
    assert np.abs(image.mean(axis=(0, 1)) - sample.image.mean(axis=(0, 1))).max() <= 0.5
    assert (image == image[0, 0]).all()


@pytest.mark.parametrize("emptied", [blank, grey, mean_colour])
@given(samples())
def test_emptying_an_empty_picture_changes_nothing(emptied: Any, sample: Sample) -> None:
    once = emptied(sample, rng=rng())
    assert squared_error(once, emptied(once, rng=rng())) == 0


@given(samples(), seeds)
def test_noise_of_dose_0_is_the_identity(sample: Sample, seed: int) -> None:
    assert squared_error(sample, noise(sample, sigma=0.0, rng=rng(seed))) == 0


@given(samples(), DOSES, seeds)
def test_noise_moves_no_pixel_less_at_a_larger_dose(
    sample: Sample, doses: list[float], seed: int
) -> None:
    noisy = [noise(sample, sigma=dose, rng=rng(seed)) for dose in doses]
    moved = [np.abs(each.image.astype(int) - sample.image) for each in noisy]
    assert all((less <= more).all() for less, more in itertools.pairwise(moved))
    ratios = [psnr(sample, each) for each in noisy]
    assert ratios == sorted(ratios, reverse=True)


def test_noise_has_the_deviation_it_was_asked_for() -> None:
    middle = Sample((np.full((200, 200, 3), 128, np.uint8),), "?", "!")
    moved = noise(middle, sigma=0.05, rng=rng()).image.astype(float) - 128
    # 120,000 draws: the standard error of the deviation is 0.2 %, rounding adds 1/12 to variance.
    assert moved.std() == pytest.approx(math.hypot(0.05 * 255, 1 / 12**0.5), rel=0.01)
    assert abs(moved.mean()) < 0.2


def test_noise_differs_from_image_to_image_and_from_channel_to_channel() -> None:
    image = np.full((20, 20, 3), 128, np.uint8)
    one, two = noise(Sample((image, image), "?", "!"), rng=rng()).images
    assert not np.array_equal(one, two)
    assert not np.array_equal(one[..., 0], one[..., 1])


@given(samples())
def test_blur_of_dose_0_is_the_identity(sample: Sample) -> None:
    assert squared_error(sample, blur(sample, sigma=0.0, rng=rng())) == 0


@given(samples(), st.floats(0.3, 6))
def test_blur_is_a_mean_with_gaussian_weights(sample: Sample, sigma: float) -> None:
    # The plain slow way: the whole kernel, to beyond what scipy cuts off, applied by the axis.
    offsets = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    slow = sample.image.astype(float)
    for axis in (0, 1):
        slow = correlate1d(slow, weights / weights.sum(), axis=axis, mode="reflect")
    assert np.abs(blur(sample, sigma=sigma, rng=rng()).image - slow).max() <= 0.5 + 1e-9


@given(samples(), st.floats(0, 8))
def test_blur_adds_no_contrast_and_keeps_the_mean(sample: Sample, sigma: float) -> None:
    image = blur(sample, sigma=sigma, rng=rng()).image
    for channel in range(3):
        before, after = sample.image[..., channel], image[..., channel]
        assert before.min() <= after.min() <= after.max() <= before.max()
        assert abs(float(before.mean()) - float(after.mean())) <= 0.5 + 1e-9
        # Rounding moves each pixel by half a level at most.
        assert after.std() <= before.std() + 0.5 + 1e-9


def test_blur_takes_more_of_a_scene_at_a_larger_dose() -> None:
    for sample in Digits().samples(5):
        blurry = [blur(sample, sigma=dose, rng=rng()) for dose in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)]
        spread = [each.image.var(axis=(0, 1)).sum() for each in blurry]
        assert spread == sorted(spread, reverse=True)
        ratios = [psnr(sample, each) for each in blurry]
        assert ratios == sorted(ratios, reverse=True)


def test_blur_leaves_channels_to_themselves() -> None:
    red = np.zeros((9, 9, 3), np.uint8)
    red[4, 4, 0] = 255
    image = blur(Sample((red,), "?", "!"), sigma=1.0, rng=rng()).image
    assert image[..., 0].any()
    assert not image[..., 1:].any()


def test_jpeg_is_closer_at_a_higher_quality_and_always_close() -> None:
    for sample in Digits().samples(5):
        ratios = [psnr(sample, jpeg(sample, quality=q, rng=rng())) for q in (30, 50, 75, 95)]
        assert ratios == sorted(ratios)
        assert 20 < ratios[0] < ratios[-1] < math.inf


@given(samples(), st.integers(30, 95))
def test_jpeg_shows_what_a_file_of_that_quality_would(sample: Sample, quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(sample.image).save(file, "jpeg", quality=quality)
    shown = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(jpeg(sample, quality=quality, rng=rng()).image, shown)


@pytest.mark.parametrize(
    ("change", "told", "wrong"),
    [
        (noise, {"sigma": -0.1}, r"noise got sigma=-0.1; it takes numbers from 0 up"),
        (noise, {"sigma": math.nan}, "noise got sigma=nan"),
        (noise, {"sigma": math.inf}, "noise got sigma=inf"),
        (blur, {"sigma": -1.0}, "blur got sigma=-1.0"),
        (jpeg, {"quality": 10}, "jpeg got quality=10; it takes numbers from 30 to 95"),
        (jpeg, {"quality": 96}, "jpeg got quality=96"),
        (jpeg, {"quality": 50.5}, "quality=50.5; expected a whole number"),
        (blank, {"colour": "pink"}, "colour='pink'; expected one of white, black"),
    ],
)
def test_a_dose_outside_is_refused(change: Any, told: dict[str, Any], wrong: str) -> None:
    with pytest.raises(EditError, match=wrong):
        change(Digits().samples(1)[0], rng=rng(), **told)


@pytest.mark.parametrize("change", [blank, grey, mean_colour, noise, blur, jpeg])
def test_a_sample_without_image_is_refused(change: Any) -> None:
    with pytest.raises(SampleError, match="'bare' has no image to perturb"):
        change(Sample((), "?", "!", id="bare"), rng=rng())


@given(pixels())
def test_files_and_pictures_of_pillow_are_perturbed_like_their_pixels(image: np.ndarray) -> None:
    plain = Sample((image,), "?", "!")
    pillow = replace(plain, images=(Image.fromarray(image),))
    assert squared_error(noise(plain, rng=rng()), noise(pillow, rng=rng())) == 0


def test_a_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    Image.fromarray(Digits().samples(1)[0].image).save(path)
    before = path.read_bytes()
    assert not blank(Sample((path,), "?", "!"), colour="black", rng=rng()).image.any()
    assert path.read_bytes() == before


@given(samples(n_images=3), seeds)
def test_every_image_is_changed(sample: Sample, seed: int) -> None:
    after = grey(sample, rng=rng(seed))
    assert len(after.images) == 3
    assert all((np.asarray(image) == 127).all() for image in after.images)
