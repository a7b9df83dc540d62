"""Noise has the size it says, against the plain statistics of many draws."""

from dataclasses import replace

import pytest
import torch

from mindseye.errors import EditError
from mindseye.interventions.replacements import find_replacement
from mindseye.interventions.replacements.oracles import oracle_vectors
from tests.interventions.replacements.scenes import with_latents

pytestmark = pytest.mark.model


def draws(asked, given, n=400):
    return torch.stack([find_replacement(asked, seed=seed)(given).double() for seed in range(n)])


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_noise_is_as_loud_as_it_says_beside_every_latent(given, scale):
    added = draws(f"noise:scale={scale}", given) - given.latents.double()
    loud = added.norm(dim=-1) / given.latents.double().norm(dim=-1)
    assert loud.mean() == pytest.approx(scale, rel=0.05)
    assert added.mean(dim=0).abs().max() < 0.25 * scale * given.latents.norm(dim=-1).max()


def test_noise_of_no_scale_changes_nothing_and_grows_along_one_line(given):
    assert torch.equal(find_replacement("noise:scale=0")(given), given.latents)
    rng = [torch.Generator().manual_seed(4) for _ in "12"]
    noise = find_replacement("noise").replacement
    one, two = (
        noise(given, rng=each, scale=scale) - given.latents
        for each, scale in zip(rng, (0.5, 1.0), strict=True)
    )
    torch.testing.assert_close(2 * one, two, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("asked", ["noise:scale=-1", "unit_noise:scale=-0.1", "noise:scale=nan"])
def test_a_dose_that_is_none_is_refused(given, asked):
    with pytest.raises(EditError, match="takes numbers from 0 up"):
        find_replacement(asked)(given)


def test_unit_noise_has_the_standard_deviation_it_was_told(given):
    assert draws("unit_noise:scale=2", given, 100).std() == pytest.approx(2, rel=0.02)


def test_matched_noise_keeps_norms_and_no_direction(given):
    made = draws("matched_noise", given, 100)
    own = given.latents.double()
    torch.testing.assert_close(
        made.norm(dim=-1), own.norm(dim=-1).expand(100, -1), rtol=1e-5, atol=0
    )
    assert torch.cosine_similarity(made, own.expand_as(made), dim=-1).mean().abs() < 0.05


@pytest.mark.parametrize("per", ["slot", "all"])
def test_moment_noise_has_the_pools_mean_and_variance(given, traces, per):
    made = draws(f"moment_noise:per={per}", given, 2000)[:, 0]
    runs = torch.stack([trace.fed_latents for trace in traces]).double()
    group = runs[:, 0] if per == "slot" else runs.flatten(0, 1)
    spread = group.std(dim=0, correction=0)
    error = (made.mean(dim=0) - group.mean(dim=0)) / spread
    assert error.abs().mean() < 0.05
    assert (made.std(dim=0) / spread).mean() == pytest.approx(1, rel=0.02)


def test_target_noise_has_the_oracles_mean(given):
    made = draws("target_noise", given, 1000)
    target = oracle_vectors(given, "region", "target").double()
    spread = target.std(dim=0, correction=0)
    error = (made.mean(dim=(0, 1)) - target.mean(dim=0))[spread > 0] / spread[spread > 0]
    assert error.abs().mean() < 0.05


def test_noise_is_the_same_on_every_dtype_up_to_rounding(given):
    wide = replace(given, trace=with_latents(given.trace, given.latents.double()))
    one, two = (find_replacement("unit_noise")(each) for each in (given, wide))
    torch.testing.assert_close(one.double(), two.double())
