"""Latents moved: at a right angle to themselves, or on the way to another run's."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.interventions.asking import check_range
from mindseye.interventions.replacements.donors import draw_donor
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.noises import gaussian
from mindseye.interventions.replacements.replacing import replacement

__all__ = ["slerp", "steer"]


@replacement("steer", carries="own", in_distribution="partly", needs=("pool",))
def steer(
    given: Given,
    *,
    scale: float = 1.0,
    toward: Literal["random", "donor", "twin"] = "random",
    rng: torch.Generator,
) -> Float[Tensor, "slots d_model"]:
    """Add a vector at a right angle to every latent.

    Args:
        given: The run.
        scale: Its norm over that of the latent; 1 leaves a cosine of 0.7.
        toward: A random direction, or what is orthogonal of another run's latent.
        rng: Draws the direction, or the donor.

    Raises:
        EditError: A negative scale.
        SampleError: No donor, or no twin.

    Source: orthogonal steering, arXiv 2512.21711.
    """
    check_range("steer got scale", scale, 0, float("inf"), "1 doubles the energy.")
    own = given.latents
    other = gaussian(own, rng) if toward == "random" else _other(given, toward, rng)
    unit = own / own.norm(dim=-1, keepdim=True)
    across = other - (other * unit).sum(dim=-1, keepdim=True) * unit
    length = across.norm(dim=-1, keepdim=True)
    # A donor that points the same way has nothing orthogonal to add.
    across = torch.where(length > 1e-6 * other.norm(dim=-1, keepdim=True), across / length, 0)
    return own + scale * own.norm(dim=-1, keepdim=True) * across


@replacement("slerp", carries="own", in_distribution="partly", needs=("pool",))
def slerp(
    given: Given,
    *,
    share: float = 0.5,
    toward: Literal["donor", "twin"] = "donor",
    rng: torch.Generator,
) -> Float[Tensor, "slots d_model"]:
    """Turn every latent towards another run's, along the sphere.

    Args:
        given: The run.
        share: How far: 0 is the latent itself, 1 the other one.
        toward: The other one.
        rng: Draws the donor.

    Raises:
        EditError: A share outside 0 to 1.
        SampleError: No donor, or no twin.

    Source: spherical interpolation, Shoemake 1985; norms are interpolated geometrically.
    """
    check_range("slerp got share", share, 0, 1, "It is a part of the way.")
    own = given.latents.double()
    other = _other(given, toward, rng).double()
    norms = [each.norm(dim=-1, keepdim=True) for each in (own, other)]
    here, there = own / norms[0], other / norms[1]
    angle = (here * there).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - share) * angle).sin() * here + (share * angle).sin() * there) / sine
    straight = (1 - share) * here + share * there
    unit = torch.where(sine > 1e-6, turned, straight)
    return (unit * norms[0] ** (1 - share) * norms[1] ** share).to(given.latents)


def _other(
    given: Given, toward: Literal["donor", "twin"], rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    own = given.latents
    if toward == "donor":
        return draw_donor(given, "any", rng).fed[: len(own)].to(own)
    if given.twin is None or given.twin.fed_latents.shape != own.shape:
        raise SampleError(
            f"Sample {given.id!r} has no twin of {len(own)} latents to move to. Give it pairs, or "
            "move towards a donor."
        )
    return given.twin.fed_latents.to(own)
