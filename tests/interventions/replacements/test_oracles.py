"""Oracles are what the model's own eyes make of a region, a helper, or as much elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mindseye.errors import SampleError
from mindseye.interventions.replacements import find_replacement
from mindseye.interventions.replacements.oracles import _as_many

pytestmark = pytest.mark.model


def seen(given, picture):
    """The embeddings of a picture by a plain run."""
    ours, sample = given.trace.reasoner, given.trace.sample
    run = ours.run(replace(sample, images=(picture,), regions={}), max_new_tokens=1, imagine=False)
    return run.embeds[: run.n_prompt][shown(run)]


def shown(run):
    """Where the picture's own tokens stand, without the markers around them."""
    return run.prompt_ids == run.reasoner.model.config.image_token_id


def test_oracle_of_the_region_is_its_crop_encoded(given):
    left, top, right, bottom = given.trace.sample.regions["target"]
    crop = np.ascontiguousarray(given.trace.sample.image[top:bottom, left:right])
    torch.testing.assert_close(
        find_replacement("oracle")(given), _as_many(seen(given, crop), len(given.latents))
    )


def test_oracle_of_the_helper_is_the_helper_encoded(given):
    wanted = _as_many(seen(given, given.trace.sample.helper), len(given.latents))
    torch.testing.assert_close(find_replacement("oracle:of=helper")(given), wanted)


def test_oracle_of_patches_is_the_pictures_own_embeddings_inside_the_region(given):
    trace = given.trace
    image = trace.embeds[: trace.n_prompt][shown(trace)]
    _, rows, columns = (int(n) for n in trace.prompt.features["image_grid_thw"][0])
    merge = int((rows * columns / len(image)) ** 0.5)
    grid = image.reshape(rows // merge, columns // merge, -1)
    height, width = trace.sample.image.shape[:2]
    left, top, right, bottom = trace.sample.regions["target"]
    inside = [
        grid[i, j]
        for i in range(grid.shape[0])
        for j in range(grid.shape[1])
        if top <= (i + 0.5) * height / grid.shape[0] < bottom
        and left <= (j + 0.5) * width / grid.shape[1] < right
    ]
    wanted = _as_many(torch.stack(inside), len(given.latents))
    torch.testing.assert_close(find_replacement("oracle:of=patches")(given), wanted)


@pytest.mark.parametrize("of", ["region", "patches"])
def test_oracle_of_another_place_is_another_one(given, of):
    true, elsewhere = (
        find_replacement(f"oracle:of={of},place={place}")(given) for place in ("true", "random")
    )
    assert not torch.allclose(true, elsewhere)


def test_oracle_shuffled_is_the_same_in_another_order(given):
    kept, shuffled = (
        find_replacement(f"oracle:order={order}")(given) for order in ("kept", "shuffled")
    )
    torch.testing.assert_close(kept.sum(dim=0), shuffled.sum(dim=0), rtol=1e-4, atol=1e-5)


def test_oracle_of_matched_norms_has_the_latents_norms(given):
    made = find_replacement("oracle:norms=matched")(given)
    torch.testing.assert_close(made.norm(dim=1), given.latents.norm(dim=1))


@pytest.mark.parametrize("n", [1, 3, 4, 6, 12, 30])
def test_as_many_keeps_the_mean_and_the_order(n):
    vectors = torch.arange(12.0)[:, None].expand(12, 5)
    made = _as_many(vectors, n)
    assert made.shape == (n, 5)
    assert (made[:, 0].diff() >= 0).all()
    assert made.mean() == pytest.approx(5.5, abs=0.05)


def test_oracle_of_a_sample_without_region_or_helper_is_refused(given):
    bare = replace(given.trace.sample, regions={}, helper=None)
    poor = replace(given, trace=replace(given.trace, sample=bare))
    with pytest.raises(SampleError, match="has no region 'target'"):
        find_replacement("oracle")(poor)
    with pytest.raises(SampleError, match="has no helper image"):
        find_replacement("oracle:of=helper")(poor)


def test_a_region_outside_the_picture_is_refused(given):
    outside = replace(given.trace.sample, regions={"target": (0, 0, 999, 5)})
    with pytest.raises(SampleError, match="in its picture of"):
        find_replacement("oracle")(replace(given, trace=replace(given.trace, sample=outside)))
