"""Which token shows which part of the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mindseye as me
from mindseye.errors import SampleError
from mindseye.reasoners.grids import coverage, first_stretch, nearest_grid, token_grid
from tests.engine.branches_strategy import said

sides = st.integers(1, 40)


@pytest.mark.parametrize(
    ("n_tokens", "shape", "wanted"),
    [(16, (64, 64), (4, 4)), (12, (30, 40), (3, 4)), (12, (90, 31), (6, 2)), (7, (10, 80), (1, 7))],
)
def test_the_nearest_grid_follows_the_images_aspect(n_tokens, shape, wanted):
    assert nearest_grid(n_tokens, shape) == wanted


def test_only_the_first_images_tokens_are_taken():
    assert first_stretch(torch.tensor([3, 4, 5, 9, 10])).tolist() == [3, 4, 5]
    assert first_stretch(torch.tensor([3, 4, 5])).tolist() == [3, 4, 5]


@pytest.mark.model
@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("n_images", [1, 2])
def test_qwens_processor_tells_the_grid(model_type, n_images):
    trace = said(model_type, n_images=n_images)  # pictures of 4 x 6 patches, merged 2 x 2
    grid = token_grid(trace)
    assert (grid.rows, grid.columns, grid.told) == (2, 3, True)
    first = int(trace.spans["image"][0])
    assert grid.positions.tolist() == list(range(first, first + 6))


@pytest.mark.model
@pytest.mark.parametrize("model_type", ["internvl", "smolvlm", "gemma3"])
def test_one_square_tile_is_a_square_grid(model_type):
    grid = token_grid(said(model_type))
    assert (grid.rows, grid.columns, grid.told) == (2, 2, True)


@pytest.mark.model
@pytest.mark.parametrize("model_type", ["internvl", "llava_onevision"])
def test_several_tiles_are_no_known_grid(model_type):
    # Two pictures may as well be two tiles of one.
    n_images = 2 if model_type == "internvl" else 1
    assert not token_grid(said(model_type, n_images=n_images)).told


@pytest.mark.model
def test_a_run_without_a_picture_has_no_grid():
    with pytest.raises(SampleError, match="no image tokens"):
        token_grid(said("qwen2"))


@pytest.mark.model
def test_a_grid_larger_than_its_tokens_is_refused():
    trace = said("qwen2_5_vl")
    features = {**trace.prompt.features, "image_grid_thw": torch.tensor([[1, 8, 8]])}
    odd = replace(trace, prompt=replace(trace.prompt, features=features))
    with pytest.raises(SampleError, match="fewer than the 4x4"):
        token_grid(odd)


@pytest.mark.model
def test_the_shipped_world_has_a_token_per_quarter_cell(organism):
    sample = me.task("digits").samples(1)[0]
    grid = token_grid(organism("mediator").run(sample))
    assert (grid.rows, grid.columns) == (4, 4)
    covered = coverage(sample.regions["target"], sample.image.shape[:2], 4, 4)
    assert sorted(set(covered.tolist())) == [0, 1]
    assert covered.sum() == 4


@given(height=sides, width=sides, rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_the_whole_picture_covers_every_token(height, width, rows, columns):
    covered = coverage((0, 0, width, height), (height, width), rows, columns)
    np.testing.assert_allclose(covered, 1)


@given(data=st.data(), height=sides, width=sides)
def test_coverage_keeps_a_boxs_area(data, height, width):
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    covered = coverage((left, top, right, bottom), (height, width), rows, columns)
    area = (right - left) * (bottom - top) / (height * width)
    assert covered.mean() == pytest.approx(area)
    assert covered.min() >= 0
    assert covered.max() <= 1 + 1e-12


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((0, 0, 10, 10), [1, 0, 0, 0]),  # ends where the next token begins: exclusive
        ((0, 0, 11, 10), [1, 0.1, 0, 0]),
        ((10, 10, 20, 20), [0, 0, 0, 1]),
        ((5, 5, 15, 15), [0.25] * 4),
        ((19, 0, 20, 1), [0, 0.01, 0, 0]),
    ],
)
def test_edges_of_a_region_fall_into_the_right_tokens(box, wanted):
    np.testing.assert_allclose(coverage(box, (20, 20), 2, 2), wanted)
