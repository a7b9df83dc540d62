"""What each perturbation of layout and resolution declares."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mindseye.errors import EditError, SampleError
from mindseye.interventions.perturbations import crop_jitter, patch_shuffle, resolution, smaller
from mindseye.samples import Pixels, Sample
from mindseye.tasks.digits import Digits
from tests.interventions.perturbations.scenes import boxes, located, rng
from tests.strategies import pixels, samples, seeds


def shown(image: Pixels, box: tuple[int, int, int, int]) -> Pixels:
    left, top, right, bottom = box
    return image[top:bottom, left:right]


def bag(image: Pixels) -> Counter[bytes]:
    return Counter(pixel.tobytes() for pixel in image.reshape(-1, 3))


@st.composite
def with_room(draw: st.DrawFn) -> Sample:
    """Samples whose target does not fill the picture."""
    sample = draw(located(low=2, high=30))
    height, width = sample.image.shape[:2]
    assume(sample.regions["target"] != (0, 0, width, height))
    return sample


@given(with_room(), st.floats(0.01, 0.2), seeds)
def test_crop_jitter_shows_every_region_whole_and_unchanged(
    sample: Sample, share: float, seed: int
) -> None:
    after = crop_jitter(sample, share=share, rng=rng(seed))
    before = shown(sample.image, sample.regions["target"])
    assert np.array_equal(shown(after.image, after.regions["target"]), before)


@given(with_room(), st.floats(0.01, 0.2), seeds)
def test_crop_jitter_moves_every_pixel_alike_and_no_further_than_told(
    sample: Sample, share: float, seed: int
) -> None:
    after = crop_jitter(sample, share=share, rng=rng(seed))
    (left, top, _, _), (new_left, new_top, _, _) = (
        each.regions["target"] for each in (sample, after)
    )
    right, down = new_left - left, new_top - top
    height, width = sample.image.shape[:2]
    assert (right, down) != (0, 0)
    assert abs(right) <= max(1, round(share * width))
    assert abs(down) <= max(1, round(share * height))
    for y in range(height):
        for x in range(width):
            came_from = min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1)
            assert (after.image[y, x] == sample.image[came_from]).all()


def test_crop_jitter_draws_every_move_that_keeps_the_target() -> None:
    image = rng().integers(0, 256, (20, 20, 3)).astype(np.uint8)
    corner = Sample((image,), "?", "!", regions={"target": (0, 0, 19, 18)})
    ends = {crop_jitter(corner, share=0.2, rng=rng(seed)).regions["target"] for seed in range(200)}
    assert {box[:2] for box in ends} == {(1, 0), (0, 1), (1, 1), (0, 2), (1, 2)}


@given(samples(), seeds)
def test_crop_jitter_of_dose_0_is_the_identity(sample: Sample, seed: int) -> None:
    assert np.array_equal(crop_jitter(sample, share=0.0, rng=rng(seed)).image, sample.image)


def test_crop_jitter_moves_each_image_by_itself() -> None:
    image = rng().integers(0, 256, (40, 40, 3)).astype(np.uint8)
    pictured = Sample((image,) * 6, "?", "!")
    moved = crop_jitter(pictured, share=0.2, rng=rng()).images
    assert len({np.asarray(each).tobytes() for each in moved}) > 1


def test_crop_jitter_refuses_a_target_that_fills_the_picture() -> None:
    full = Digits(size=1, kinds=("zoom",)).samples(1)[0]
    with pytest.raises(SampleError, match=r"regions of sample 'digits/test/0/0' fill its picture"):
        crop_jitter(full, rng=rng())


@given(samples(st.tuples(st.integers(4, 15), st.integers(4, 15))), st.integers(1, 4), seeds)
def test_patch_shuffle_keeps_every_pixel_and_every_whole_patch(
    sample: Sample, across: int, seed: int
) -> None:
    image = patch_shuffle(sample, across=across, rng=rng(seed)).image
    high, wide = (size // across for size in image.shape[:2])
    corners = [(high * i, wide * j) for i in range(across) for j in range(across)]
    patches = [
        Counter(whole[top : top + high, left : left + wide].tobytes() for top, left in corners)
        for whole in (sample.image, image)
    ]
    assert patches[0] == patches[1]
    assert bag(image) == bag(sample.image)
    assert np.array_equal(image[across * high :], sample.image[across * high :])
    assert np.array_equal(image[:, across * wide :], sample.image[:, across * wide :])


@given(seeds)
def test_patch_shuffle_never_leaves_a_scene_as_it_was(seed: int) -> None:
    scene = Digits().samples(1)[0]
    assert not np.array_equal(patch_shuffle(scene, across=2, rng=rng(seed)).image, scene.image)


@given(samples(), seeds)
def test_patch_shuffle_of_one_patch_changes_no_pixel(sample: Sample, seed: int) -> None:
    image = patch_shuffle(sample, across=1, rng=rng(seed)).image
    assert np.array_equal(image, sample.image)


def test_patch_shuffle_keeps_no_region() -> None:
    assert not patch_shuffle(Digits().samples(1)[0], rng=rng()).regions


def test_patch_shuffle_refuses_a_picture_with_too_few_pixels() -> None:
    tiny = Sample((np.zeros((2, 9, 3), np.uint8),), "?", "!", id="tiny")
    with pytest.raises(SampleError, match=r"'tiny' has an image of 9x2, too small for 4 patches"):
        patch_shuffle(tiny, rng=rng())


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.data())
def test_resolution_shows_the_mean_of_every_block(
    rows: int, columns: int, factor: int, data: st.DataObject
) -> None:
    image = data.draw(pixels(st.just((rows * factor, columns * factor))))
    coarse = resolution(Sample((image,), "?", "!"), factor=float(factor), rng=rng()).image
    blocks = image.reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
    # Pillow rounds once along each axis.
    assert np.abs(coarse[::factor, ::factor] - blocks).max() <= 1
    assert np.array_equal(
        coarse, np.kron(coarse[::factor, ::factor], np.ones((factor, factor, 1), np.uint8))
    )


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.data())
def test_resolution_does_nothing_more_the_second_time(
    rows: int, columns: int, factor: int, data: st.DataObject
) -> None:
    image = data.draw(pixels(st.just((rows * factor, columns * factor))))
    once = resolution(Sample((image,), "?", "!"), factor=float(factor), rng=rng())
    assert np.array_equal(resolution(once, factor=float(factor), rng=rng()).image, once.image)


@given(samples(), st.floats(1, 20))
def test_resolution_stays_on_its_grid_and_within_the_range_of_its_pixels(
    sample: Sample, factor: float
) -> None:
    image = resolution(sample, factor=factor, rng=rng()).image
    assert image.shape == sample.image.shape
    assert sample.image.min() <= image.min() <= image.max() <= sample.image.max()


@pytest.mark.parametrize("change", [resolution, smaller])
@given(samples())
def test_a_factor_of_1_is_the_identity(change: Any, sample: Sample) -> None:
    assert np.array_equal(change(sample, factor=1.0, rng=rng()).image, sample.image)


def test_resolution_takes_more_of_a_scene_at_a_larger_factor() -> None:
    for sample in Digits().samples(5):
        spread = [
            resolution(sample, factor=factor, rng=rng()).image.var(axis=(0, 1)).sum()
            for factor in (1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
        ]
        assert spread == sorted(spread, reverse=True)


@given(samples(n_images=2), st.floats(1, 20))
def test_smaller_divides_the_sides_of_every_image(sample: Sample, factor: float) -> None:
    after = smaller(sample, factor=factor, rng=rng())
    for before, image in zip(sample.images, after.images, strict=True):
        assert isinstance(before, np.ndarray)
        assert isinstance(image, np.ndarray)
        assert image.shape[:2] == tuple(max(1, round(n / factor)) for n in before.shape[:2])


@given(located(), st.floats(1, 20))
def test_smaller_takes_regions_along_and_cuts_nothing_off(sample: Sample, factor: float) -> None:
    after = smaller(sample, factor=factor, rng=rng())
    height, width = after.image.shape[:2]
    scales = [
        new / old for new, old in zip((width, height), sample.image.shape[1::-1], strict=True)
    ]
    left, top, right, bottom = after.regions["target"]
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    old = sample.regions["target"]
    for low, high, scale, near, far in (
        (left, right, scales[0], 0, 2),
        (top, bottom, scales[1], 1, 3),
    ):
        assert old[near] * scale - 1 < low <= old[near] * scale
        assert old[far] * scale <= high + 1e-9
        assert high < old[far] * scale + 1


@given(pixels(st.just((6, 6))), boxes(6, 6))
def test_smaller_leaves_a_picture_of_one_colour_that_colour(
    image: Pixels, box: tuple[int, int, int, int]
) -> None:
    plain = Sample((np.full_like(image, image[0, 0]),), "?", "!", regions={"target": box})
    assert (smaller(plain, factor=3.0, rng=rng()).image == image[0, 0]).all()


@pytest.mark.parametrize(
    ("change", "told", "wrong"),
    [
        (crop_jitter, {"share": 0.5}, "crop_jitter got share=0.5; it takes numbers from 0 to 0.2"),
        (crop_jitter, {"share": math.nan}, "crop_jitter got share=nan"),
        (patch_shuffle, {"across": 0}, "patch_shuffle got across=0; it takes numbers from 1 up"),
        (resolution, {"factor": 0.5}, "resolution got factor=0.5"),
        (smaller, {"factor": math.inf}, "smaller got factor=inf"),
    ],
)
def test_a_dose_outside_is_refused(change: Any, told: dict[str, Any], wrong: str) -> None:
    with pytest.raises(EditError, match=wrong):
        change(Digits().samples(1)[0], rng=rng(), **told)


@pytest.mark.parametrize("change", [crop_jitter, patch_shuffle, resolution, smaller])
def test_a_sample_without_image_is_refused(change: Any) -> None:
    with pytest.raises(SampleError, match="'bare' has no image"):
        change(Sample((), "?", "!", id="bare"), rng=rng())


@pytest.mark.parametrize("change", [crop_jitter, smaller])
def test_a_region_outside_the_picture_is_refused(change: Any) -> None:
    sample = replace(Digits().samples(1)[0], regions={"target": (0, 0, 65, 10)})
    with pytest.raises(SampleError, match=r"Region 'target' of sample .* is \(0, 0, 65, 10\)"):
        change(sample, rng=rng())
