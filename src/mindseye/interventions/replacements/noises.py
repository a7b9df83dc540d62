"""Noise in the place of latents, or on top of them.

What a standard deviation means depends on how long latents are: at 3,584 dimensions 1 leaves a
vector of norm 300 as it is and drowns one of norm 1.5. So `noise` is measured in the vector's own
norm, and every vector's distance from the model's own stands beside its effect.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.interventions.asking import check_range
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.oracles import Of, oracle_vectors
from mindseye.interventions.replacements.replacing import replacement

__all__ = ["gaussian", "matched_noise", "moment_noise", "noise", "target_noise", "unit_noise"]


@replacement("noise", carries="own", in_distribution="partly")
def noise(
    given: Given, *, scale: float = 1.0, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Add Gaussian noise to every latent; a dose grid is a loop over `scale`.

    Args:
        given: The run.
        scale: Norm of the noise over the norm of its latent, about: 1 leaves a cosine of 0.7, and
            0 leaves all.
        rng: Draws the noise. Equal states give the same noise, only louder.

    Raises:
        EditError: A negative scale.
    """
    check_range("noise got scale", scale, 0, float("inf"), "0.3 is a small dose, 3 a large one.")
    own = given.latents
    drawn = gaussian(own, rng) * own.norm(dim=-1, keepdim=True) / own.shape[1] ** 0.5
    return own + scale * drawn


@replacement("unit_noise", carries="nothing", in_distribution="no")
def unit_noise(
    given: Given, *, scale: float = 1.0, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Feed independent Gaussian numbers, whatever the norm of latents is.

    Args:
        given: The run.
        scale: Their standard deviation.
        rng: Draws them.

    Raises:
        EditError: A negative scale.

    Source: the `random` arm of arXiv 2605.18445 and others, which do not match norms.
    """
    check_range("unit_noise got scale", scale, 0, float("inf"), "1 is what others use.")
    return scale * gaussian(given.latents, rng)


@replacement("matched_noise", carries="own", in_distribution="no", keeps=("norms",))
def matched_noise(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"]:
    """Feed Gaussian noise, every vector of the norm of the one it replaces: only that is kept.

    Args:
        given: The run.
        rng: Draws the directions.
    """
    own, drawn = given.latents, gaussian(given.latents, rng)
    return drawn * own.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)


@replacement("moment_noise", carries="nothing", in_distribution="partly", needs=("pool",))
def moment_noise(
    given: Given, *, per: Literal["slot", "all"] = "slot", rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Feed Gaussian noise with the mean and variance of the pool, dimension by dimension.

    Args:
        given: The run.
        per: Moments of each slot by itself, or of all slots together.
        rng: Draws the noise.

    Raises:
        SampleError: No run of the pool has as many slots.
    """
    pool, own = given.known, given.latents
    groups = [pool.at(slot) if per == "slot" else pool.vectors for slot in range(len(own))]
    mean = torch.stack([group.mean(dim=0) for group in groups]).to(own)
    deviation = torch.stack([group.std(dim=0, correction=0) for group in groups]).to(own)
    return mean + deviation * gaussian(own, rng)


@replacement("target_noise", carries="truth", in_distribution="no", needs=("region",))
def target_noise(
    given: Given, *, of: Of = "region", at: str = "target", rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Feed Gaussian noise with the mean and variance of the oracle's vectors.

    Args:
        given: The run.
        of: Where the oracle looks, as in `oracle`.
        at: The name of the region.
        rng: Draws the noise.

    Raises:
        SampleError: The sample has no such region or helper image.
    """
    target, own = oracle_vectors(given, of, at), given.latents
    return target.mean(dim=0) + target.std(dim=0, correction=0) * gaussian(own, rng)


def gaussian(
    like: Float[Tensor, "slots d_model"], rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Draw unit Gaussian numbers on the CPU, so that every device gets the same ones."""
    return torch.randn(like.shape, generator=rng).to(like)
