"""Subspaces are taken out whole, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import Given, Pool, Run, find_replacement
from tests.interventions.replacements.scenes import rng, with_latents

pytestmark = pytest.mark.model

N = 240


@pytest.fixture(scope="module")
def decodable(given):
    """A large pool in which the first slot spells the answer loudly, in three directions of 32."""
    draw, width = rng(1), given.latents.shape[1]
    answers = [str(i % 3) for i in range(N)]
    names = torch.eye(width, dtype=torch.float64)[:3] * 6
    runs = []
    for i, answer in enumerate(answers):
        fed = torch.randn(2, width, generator=draw, dtype=torch.float64)
        fed[0] += names[int(answer)]
        runs.append(Run(f"run {i}", answer, fed))
    return Pool(tuple(runs))


def edited(given, pool, asked):
    """What every run of a pool becomes."""
    chosen = find_replacement(asked)
    return torch.stack([chosen(_given(given, pool, run)) for run in pool.runs])


def _given(given, pool, run):
    return Given(with_latents(given.trace, run.fed), pool)


def accuracy(vectors, pool):
    answers = np.array([run.answer for run in pool.runs])
    return (
        LogisticRegression(max_iter=500)
        .fit(vectors.numpy(), answers)
        .score(vectors.numpy(), answers)
    )


def test_erase_leaves_no_linear_probe_anything_to_read_and_moves_little(given, decodable):
    own = torch.stack([run.fed for run in decodable.runs])
    made = edited(given, decodable, "erase")
    assert accuracy(own[:, 0], decodable) > 0.99
    assert accuracy(made[:, 0], decodable) < 0.4  # a third by chance
    random = edited(given, decodable, "without_random:rank=2")
    assert accuracy(random[:, 0], decodable) > 0.95
    # Least squares: what is left is as near to what was as anything without the answer can be.
    assert torch.linalg.matrix_rank((made - own)[:, 0], atol=1e-6) == 2


def test_erase_needs_two_answers(given):
    same = Pool(tuple(replace(run, answer="7") for run in given.pool.runs))
    with pytest.raises(SampleError, match="8 runs with 1 different answers"):
        find_replacement("erase")(replace(given, pool=same))


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_without_leading_takes_out_principal_components(given, decodable, rank):
    every = decodable.vectors.numpy()
    pca = PCA(max(rank, 1)).fit(every)
    parts = pca.transform(every)[:, :rank] @ pca.components_[:rank]
    made = edited(given, decodable, f"without_leading:rank={rank}")
    np.testing.assert_allclose(made.flatten(0, 1).numpy(), every - parts, atol=1e-8)


@pytest.mark.parametrize("rank", [0, 2, 7])
def test_without_random_takes_out_as_many_dimensions_and_keeps_the_mean(given, decodable, rank):
    own = torch.stack([run.fed for run in decodable.runs])
    one = find_replacement(f"without_random:rank={rank}").replacement
    made = torch.stack(
        [one(_given(given, decodable, run), rng=rng(2), rank=rank) for run in decodable.runs]
    )
    centred = made.flatten(0, 1) - decodable.mean
    width = centred.shape[1]
    assert torch.linalg.matrix_rank(centred, rtol=1e-9) == width - rank
    assert torch.linalg.matrix_rank((made - own).flatten(0, 1), atol=1e-9) == rank


@pytest.mark.parametrize("asked", ["without_leading:rank=-1", "without_random:rank=1000"])
def test_a_rank_that_there_is_not_is_refused(given, asked):
    with pytest.raises(EditError, match="takes numbers from 0 to"):
        find_replacement(asked)(given)
