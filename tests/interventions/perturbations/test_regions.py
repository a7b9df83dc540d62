"""Hiding a region, as much elsewhere, and everything else; and regions that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from mindseye.errors import EditError, SampleError
from mindseye.interventions.boxes import inside, random_box, region
from mindseye.interventions.perturbations import mask_random, mask_rest, mask_target
from mindseye.samples import Pixels, Sample
from mindseye.tasks.digits import Digits
from tests.interventions.perturbations.scenes import boxes, located, rng
from tests.strategies import pixels, seeds

FILLS = ("grey", "mean", "blur")
MASKS = (mask_target, mask_random, mask_rest)
fills = st.sampled_from(FILLS)


def target(sample: Sample) -> np.ndarray:
    return inside(sample.regions["target"], sample.image.shape[:2])


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    across = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    return across * max(0, min(one[3], other[3]) - max(one[1], other[1]))


def every_place(box: tuple[int, ...], height: int, width: int) -> list[tuple[int, int, int, int]]:
    wide, high = box[2] - box[0], box[3] - box[1]
    return [
        (x, y, x + wide, y + high)
        for y in range(height - high + 1)
        for x in range(width - wide + 1)
    ]


@given(located(), fills)
def test_mask_target_changes_no_pixel_outside_the_target(sample: Sample, fill: Any) -> None:
    image = mask_target(sample, fill=fill, rng=rng()).image
    assert np.array_equal(image[~target(sample)], sample.image[~target(sample)])


@given(located(), st.data(), st.sampled_from(["grey", "mean"]))
def test_mask_target_in_grey_or_mean_leaves_no_trace_of_the_target(
    sample: Sample, data: st.DataObject, fill: Any
) -> None:
    other = sample.image.copy()
    noise = data.draw(pixels(st.just(sample.image.shape[:2])))
    other[target(sample)] = noise[target(sample)]
    hidden = [
        mask_target(each, fill=fill, rng=rng()).image
        for each in (sample, replace(sample, images=(other,)))
    ]
    assert np.array_equal(hidden[0], hidden[1])


def test_a_blurred_fill_leaves_a_coarse_trace() -> None:
    sample = Digits().samples(1)[0]
    black = sample.image.copy()
    black[target(sample)] = 0
    hidden = [
        mask_target(each, fill="blur", rng=rng()).image
        for each in (sample, replace(sample, images=(black,)))
    ]
    assert not np.array_equal(hidden[0], hidden[1])


@given(located(), st.sampled_from(["grey", "mean"]))
def test_hiding_what_is_hidden_changes_nothing(sample: Sample, fill: Any) -> None:
    once = mask_target(sample, fill=fill, rng=rng())
    assert np.array_equal(mask_target(once, fill=fill, rng=rng()).image, once.image)


@given(located())
def test_a_grey_fill_is_127_and_a_mean_fill_what_stays_on_average(sample: Sample) -> None:
    where = target(sample)
    assert (mask_target(sample, fill="grey", rng=rng()).image[where] == 127).all()
    mean = mask_target(sample, fill="mean", rng=rng()).image[where]
    wanted = 127 if where.all() else sample.image[~where].mean(axis=0)
    assert np.abs(mean - wanted).max() <= 0.5 + 1e-9


@given(located(), st.sampled_from(["grey", "blur"]))
def test_mask_rest_and_mask_target_share_the_picture_between_them(
    sample: Sample, fill: Any
) -> None:
    of_target = mask_target(sample, fill=fill, rng=rng()).image
    of_rest = mask_rest(sample, fill=fill, rng=rng()).image
    where = target(sample)[..., None]
    assert np.array_equal(np.where(where, of_rest, of_target), sample.image)
    if fill == "grey":
        assert (np.where(where, of_target, of_rest) == 127).all()


@given(located(), st.data())
def test_mask_rest_shows_the_target_and_nothing_else(sample: Sample, data: st.DataObject) -> None:
    noise = data.draw(pixels(st.just(sample.image.shape[:2])))
    other = np.where(target(sample)[..., None], sample.image, noise)
    hidden = [
        mask_rest(each, rng=rng()).image for each in (sample, replace(sample, images=(other,)))
    ]
    assert np.array_equal(hidden[0], hidden[1])


@given(located(high=8), seeds)
def test_mask_random_hides_an_equal_box_that_overlaps_as_little_as_any(
    sample: Sample, seed: int
) -> None:
    # Hidden in grey, on a picture without that grey, the box can be read off.
    image = np.where(sample.image == 127, 128, sample.image).astype(np.uint8)
    hidden = mask_random(replace(sample, images=(image,)), rng=rng(seed)).image
    rows, columns = np.nonzero((hidden == 127).all(axis=2))
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    own = sample.regions["target"]
    places = every_place(own, *image.shape[:2])
    assert tuple(map(int, box)) in places
    assert len(rows) == (own[2] - own[0]) * (own[3] - own[1])
    assert overlap(own, box) == min(overlap(own, place) for place in places)
    away = ~inside(tuple(map(int, box)), image.shape[:2])  # type: ignore[arg-type]
    assert np.array_equal(hidden[away], image[away])


@given(st.data(), seeds)
def test_a_random_box_does_not_overlap_where_it_can(data: st.DataObject, seed: int) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    own = data.draw(boxes(height, width))
    drawn = random_box(own, (height, width), rng(seed))
    least = min(overlap(own, place) for place in every_place(own, height, width))
    assert drawn in every_place(own, height, width)
    assert overlap(own, drawn) == least


@pytest.mark.parametrize("own", [(0, 0, 2, 2), (1, 1, 3, 2), (2, 0, 5, 3), (0, 0, 4, 4)])
def test_a_random_box_is_drawn_evenly(own: tuple[int, int, int, int]) -> None:
    places = every_place(own, 5, 6)
    least = min(overlap(own, place) for place in places)
    free = [place for place in places if overlap(own, place) == least]
    generator = rng()
    drawn = [random_box(own, (5, 6), generator) for _ in range(200 * len(free))]
    counts = [drawn.count(place) for place in free]
    assert sum(counts) == len(drawn)
    # The seed is fixed; a draw that preferred rows or columns would have p below 1e-6.
    assert len(free) == 1 or chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("mask", MASKS)
def test_only_the_first_of_several_images_is_masked(mask: Any) -> None:
    scene = Digits().samples(1)[0]
    two = replace(scene, images=(scene.image, scene.image))
    first, second = mask(two, rng=rng()).images
    assert second is two.images[1]
    assert not np.array_equal(first, scene.image)


@pytest.mark.parametrize("mask", MASKS)
def test_another_region_can_be_named(mask: Any) -> None:
    scene = Digits().samples(1)[0]
    named = replace(scene, regions={"digit": scene.regions["target"]})
    changed = mask(named, at="digit", rng=rng()).image
    assert np.array_equal(changed, mask(scene, rng=rng()).image)


@pytest.mark.parametrize("mask", MASKS)
def test_a_sample_without_region_is_refused(mask: Any) -> None:
    bare = replace(Digits().samples(1)[0], regions={})
    with pytest.raises(SampleError, match=r"has no region 'target'; its regions: none\. Name one"):
        mask(bare, rng=rng())
    with pytest.raises(SampleError, match=r"has no region 'dog'; its regions: 'target'\."):
        mask(Digits().samples(1)[0], at="dog", rng=rng())


@pytest.mark.parametrize(
    "box",
    [(0, 0, 65, 5), (0, 0, 5, 65), (-1, 0, 5, 5), (5, 5, 5, 9), (9, 5, 5, 9), (70, 70, 80, 80)],
)
@pytest.mark.parametrize("mask", MASKS)
def test_a_region_outside_the_picture_is_refused(mask: Any, box: Any) -> None:
    outside = replace(Digits().samples(1)[0], regions={"target": box})
    with pytest.raises(SampleError, match=r"Region 'target' of .* in its picture of 64x64"):
        mask(outside, rng=rng())


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("box", [(0, 0, 5.5, 5), (0, 0, 5), "0505"])
def test_a_region_that_is_no_box_is_refused(box: Any) -> None:
    sample = replace(Digits().samples(1)[0], regions={"target": box})
    with pytest.raises(SampleError, match="left, top, right, bottom in whole pixels"):
        region(sample)


def test_a_sample_with_a_region_but_no_image_is_refused() -> None:
    with pytest.raises(SampleError, match="'bare' has no image"):
        mask_target(Sample((), "?", "!", regions={"target": (0, 0, 1, 1)}, id="bare"), rng=rng())


def test_an_unknown_fill_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EditError, match="fill='pink'; expected one of grey, mean, blur"):
        mask_target(Digits().samples(1)[0], fill="pink", rng=rng())


@given(st.data())
def test_a_box_covers_as_many_pixels_as_its_sides_say(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    left, top, right, bottom = box = data.draw(boxes(height, width))
    where: Pixels = inside(box, (height, width))
    assert where.sum() == (right - left) * (bottom - top)
    assert where[top, left]
    assert where[bottom - 1, right - 1]
