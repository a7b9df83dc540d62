"""Latents without a subspace: one that tells the answer, a leading one, or any of equal rank."""

from __future__ import annotations

import functools
import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.interventions.asking import check_range
from mindseye.interventions.replacements.given import Given, Pool
from mindseye.interventions.replacements.noises import gaussian
from mindseye.interventions.replacements.replacing import replacement

__all__ = ["erase", "without_leading", "without_random"]


@replacement("erase", carries="own", in_distribution="partly", needs=("pool",))
def erase(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"]:
    """Erase what a linear probe could read of the answer, slot by slot, and nothing else.

    Hold it against `without_random` of equal rank, which is one less than there are answers.

    Args:
        given: The run.
        rng: Not used.

    Raises:
        SampleError: The pool has one answer only, or fewer than two runs with as many slots.

    Source: LEACE, Belrose et al. 2023, arXiv 2306.03819, through `concept-erasure`.
    """
    own = given.latents
    erased = [
        _eraser(given.known, slot)(vector[None].double().cpu())[0]
        for slot, vector in enumerate(own)
    ]
    return torch.stack(erased).to(own)


@replacement("without_leading", carries="own", in_distribution="partly", needs=("pool",))
def without_leading(
    given: Given, *, rank: int = 1, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Set the pool's leading principal components to their mean.

    Args:
        given: The run.
        rank: How many.
        rng: Not used.

    Raises:
        EditError: A rank beyond the number of components.
    """
    mean, directions = _components(given.known)
    check_range("without_leading got rank", rank, 0, len(directions), "The pool has no more.")
    return _without(given.latents, mean, directions[:rank])


@replacement("without_random", carries="own", in_distribution="partly", needs=("pool",))
def without_random(
    given: Given, *, rank: int = 1, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Set a random subspace to its mean over the pool: the control of the others.

    Args:
        given: The run.
        rank: Its dimension.
        rng: Draws the subspace, evenly.

    Raises:
        EditError: A rank beyond the number of dimensions.
    """
    own = given.latents
    check_range("without_random got rank", rank, 0, own.shape[1], "There are no more dimensions.")
    drawn = gaussian(own.new_empty(rank, own.shape[1]), rng).double()
    basis = torch.linalg.qr(drawn.T.cpu()).Q.T
    return _without(own, given.known.mean.double().cpu(), basis)


def _without(
    own: Float[Tensor, "slots d_model"],
    mean: Float[Tensor, " d_model"],
    basis: Float[Tensor, "rank d_model"],
) -> Float[Tensor, "slots d_model"]:
    centred = own.double().cpu() - mean
    return (mean + centred - centred @ basis.T @ basis).to(own)


# A pool is one object for a whole experiment; what is fitted on it is fitted once.
@functools.lru_cache(maxsize=64)
def _eraser(pool: Pool, slot: int):
    """Fit an eraser of the answer on one slot of the pool.

    Raises:
        SampleError: One answer only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it scripts a function on import
        from concept_erasure import LeaceEraser

    runs = [run for run in pool.runs if slot < len(run.fed)]
    answers = sorted({run.answer for run in runs})
    if len(answers) < 2:
        raise SampleError(
            f"erase got a pool of {len(runs)} runs with {len(answers)} different answers at slot "
            f"{slot}; to erase the answer there must be two at least. Give a larger pool."
        )
    labels = torch.tensor([answers.index(run.answer) for run in runs])
    vectors = torch.stack([run.fed[slot] for run in runs]).double().cpu()
    concept = torch.nn.functional.one_hot(labels, len(answers)).double()
    return LeaceEraser.fit(vectors, concept, shrinkage=False, svd_tol=1e-6)


@functools.lru_cache(maxsize=8)
def _components(
    pool: Pool,
) -> tuple[Float[Tensor, " d_model"], Float[Tensor, "components d_model"]]:
    """Return the mean of a pool's vectors and their principal directions, strongest first."""
    vectors = pool.vectors.double().cpu()
    mean = vectors.mean(dim=0)
    return mean, torch.linalg.svd(vectors - mean, full_matrices=False).Vh
