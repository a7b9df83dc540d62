"""How strange vectors are, against plain formulas."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from mindseye.interventions.replacements import Familiarity, Pool, Run


def pool(n=40, width=6, seed=0, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    skew = torch.linspace(0.2, 3, width, dtype=torch.float64)
    return Pool(
        tuple(
            Run(
                f"run {i}", "1", scale * (2 + skew * torch.randn(2, width, generator=draw).double())
            )
            for i in range(n)
        )
    )


@pytest.mark.parametrize(("n", "width"), [(40, 6), (8, 30)])
def test_the_distance_is_that_of_the_shrunk_covariance_written_out(n, width):
    """Also with fewer latents than dimensions, where it is never written out."""
    known = pool(n, width)
    fitted = LedoitWolf().fit(known.vectors.numpy())
    others = torch.randn(5, width, generator=torch.Generator().manual_seed(3)).double() * 4
    found = Familiarity(known).of(others).mahalanobis
    np.testing.assert_allclose(found**2 * width, fitted.mahalanobis(others.numpy()), rtol=1e-6)


def test_own_vectors_are_about_one_deviation_away_and_others_farther():
    known = pool(400)
    familiar = Familiarity(known)
    own = familiar.of(known.vectors)
    assert np.sqrt((own.mahalanobis**2).mean()) == pytest.approx(1, abs=0.06)  # shrinkage
    assert familiar.of(10 * known.vectors[:3]).mahalanobis.min() > 3


def test_norm_percentiles_are_shares_of_smaller_norms():
    known = pool()
    norms = known.vectors.norm(dim=1)
    found = Familiarity(known).of(torch.cat([known.vectors, torch.zeros(1, 6).double()]))
    wanted = [
        ((norms < each).sum() + 0.5 * (norms == each).sum()).item() / len(norms) for each in norms
    ]
    np.testing.assert_allclose(found.norm_percentile, [*wanted, 0.0], atol=1 / len(norms))
    assert Familiarity(known).of(99 * known.vectors[:1]).norm_percentile == 1


def test_the_nearest_is_of_another_sample_and_by_angle():
    known = pool()
    familiar = Familiarity(known)
    mine = known.runs[3]
    np.testing.assert_allclose(familiar.of(mine.fed).nearest, 0, atol=1e-12)
    apart = familiar.of(mine.fed, id=mine.id).nearest
    others = torch.cat([run.fed for run in known.runs if run is not mine])
    wanted = 1 - torch.nn.functional.cosine_similarity(mine.fed[:, None], others[None], dim=2)
    np.testing.assert_allclose(apart, 1 - (1 - wanted).max(dim=1).values.numpy(), atol=1e-12)
    np.testing.assert_allclose(familiar.of(5 * mine.fed, id=mine.id).nearest, apart)


def test_zeros_are_at_a_right_angle_to_everything():
    assert Familiarity(pool()).of(torch.zeros(1, 6)).nearest == 1


def test_latents_that_never_vary_are_infinitely_far_from_all_else():
    same = Pool(tuple(Run(str(i), "1", torch.ones(2, 4)) for i in range(3)))
    found = Familiarity(same).of(torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 2]]))
    assert found.mahalanobis[0] == 0
    assert np.isinf(found.mahalanobis[1])


def test_nobody_else_leaves_no_neighbour():
    alone = Pool((Run("a", "1", torch.ones(2, 4)),))
    assert np.isnan(Familiarity(alone).of(torch.ones(1, 4), id="a").nearest)


def test_means_are_those_of_the_vectors():
    found = Familiarity(pool()).of(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)))
    assert found.means() == {
        "norm_percentile": found.norm_percentile.mean(),
        "mahalanobis": found.mahalanobis.mean(),
        "nearest": found.nearest.mean(),
    }
