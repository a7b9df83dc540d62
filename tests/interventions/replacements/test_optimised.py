"""The search finds what there is to find, and stays where it was told to."""

from dataclasses import replace

import pytest
import torch

from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import Pool, find_replacement
from tests.interventions.replacements.scenes import score

pytestmark = pytest.mark.model


def differences(given):
    own = given.latents.flatten().double()
    return torch.stack(
        [run.fed.flatten().double() - own for run in given.pool.runs if run.id != given.id]
    )


@pytest.mark.parametrize("way", ["down", "up"])
def test_worst_does_no_better_than_its_start_and_worse_with_more_steps(given, way):
    sign = -1 if way == "down" else 1
    values = [
        float(score(find_replacement(f"worst:way={way},steps={n}")(given)[None])) * sign
        for n in (1, 5, 40)
    ]
    assert float(score(given.latents[None])) * sign < values[0] <= values[1] <= values[2]


@pytest.mark.parametrize("bound", [0.0, 0.5, 1.0])
def test_worst_stays_in_the_span_of_differences_and_within_the_bound(given, bound):
    made = find_replacement(f"worst:bound={bound}")(given).flatten().double()
    moved = made - given.latents.flatten().double()
    away = differences(given)
    assert moved.norm() <= bound * away.norm(dim=1).max() * (1 + 1e-4)
    basis = torch.linalg.svd(away, full_matrices=False).Vh
    torch.testing.assert_close(moved, basis.T @ (basis @ moved), atol=1e-4, rtol=1e-3)


def test_worst_reaches_the_best_of_a_linear_outcome_on_the_border(given):
    """A linear outcome has a known optimum: the projected gradient, at full length."""
    away = differences(given)
    basis = torch.linalg.svd(away, full_matrices=False).Vh
    weights = torch.linspace(-1, 1, basis.shape[1], dtype=torch.float64)

    def linear(vectors):
        return vectors.flatten(1).double() @ weights

    radius = float(away.norm(dim=1).max())
    wanted = float(linear(given.latents[None])) - radius * float((basis @ weights).norm())
    made = find_replacement("worst:steps=10")(replace(given, outcome=linear))
    assert float(linear(made[None])) == pytest.approx(wanted, rel=1e-3)


def test_worst_needs_other_runs_and_steps(given):
    with pytest.raises(SampleError, match="without another run of 4 latents"):
        find_replacement("worst")(replace(given, pool=Pool(given.pool.runs[:1])))
    with pytest.raises(EditError, match="takes numbers from 1"):
        find_replacement("worst:steps=0")(given)
