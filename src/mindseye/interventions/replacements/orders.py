"""The run's own latents in another order, or only some of them."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mindseye.errors import EditError
from mindseye.interventions.asking import check_range
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.noises import gaussian
from mindseye.interventions.replacements.replacing import Structure, replacement
from mindseye.reasoners.spans import positions

__all__ = ["Fill", "keep_attended", "keep_half", "keep_one", "shuffle"]

Fill = Literal["noise", "zero", "mean"]
"""What slots hold that are not kept: noise of their own norm, zeros, or the pool's mean of each."""


@replacement("shuffle", carries="own", in_distribution="partly", keeps=("vectors", "mean"))
def shuffle(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"] | Structure:
    """Feed the run's own latents, or say its words, in another order; one alone stays as it is.

    Args:
        given: The run.
        rng: Draws the order, among those that are another.
    """
    own = given.latents
    order = torch.randperm(len(own), generator=rng)
    while len(own) > 1 and bool((order == torch.arange(len(own))).all()):
        order = torch.randperm(len(own), generator=rng)
    if given.in_words:
        return Structure(words=tuple(given.trace.words[place] for place in order.tolist()))
    return own[order.to(own.device)]


@replacement("keep_one", carries="own", in_distribution="no", needs=("pool",))
def keep_one(
    given: Given, *, slot: int = 0, fill: Fill = "noise", rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Keep one latent and fill all other slots.

    Args:
        given: The run.
        slot: Which one is kept, counted from 0.
        fill: What the others hold: noise of their norm, zeros, or the pool's mean of each slot.
        rng: Draws the noise.

    Raises:
        EditError: There is no such slot.
    """
    n_slots = len(given.latents)
    check_range("keep_one got slot", slot, 0, n_slots - 1, "Name a slot of the run.")
    return _filled(given, torch.arange(n_slots) == slot, fill, rng)


@replacement("keep_half", carries="own", in_distribution="no", needs=("pool",))
def keep_half(
    given: Given,
    *,
    half: Literal["first", "last"] = "first",
    fill: Fill = "noise",
    rng: torch.Generator,
) -> Float[Tensor, "slots d_model"]:
    """Keep the first or the last half of the latents; an odd one in the middle is kept.

    Args:
        given: The run.
        half: Which.
        fill: What the others hold, as in `keep_one`.
        rng: Draws the noise.

    """
    n_slots = len(given.latents)
    first = torch.arange(n_slots) < (n_slots + 1) // 2
    return _filled(given, first if half == "first" else first.flip(0), fill, rng)


@replacement("keep_attended", carries="own", in_distribution="no", needs=("pool",))
def keep_attended(
    given: Given,
    *,
    n: int = 1,
    rank: Literal["most", "least"] = "most",
    fill: Fill = "noise",
    rng: torch.Generator,
) -> Float[Tensor, "slots d_model"]:
    """Keep the latents that what follows them attends to most, or least.

    Args:
        given: The run.
        n: How many are kept.
        rank: Those with the largest attention, averaged over layers, heads and later positions,
            or those with the smallest.
        fill: What the others hold, as in `keep_one`.
        rng: Draws the noise.

    Raises:
        EditError: More than there are, or nothing follows the latents.
    """
    n_slots = len(given.latents)
    check_range("keep_attended got n", n, 0, n_slots, "It counts slots of the run.")
    order = _attention(given).argsort(descending=rank == "most")
    kept = torch.zeros(n_slots, dtype=torch.bool)
    kept[order[:n].cpu()] = True
    return _filled(given, kept, fill, rng)


def _attention(given: Given) -> Float[Tensor, " slots"]:
    """Return how much what follows the latents attends to each, on average."""
    trace = given.trace
    later = positions(trace.labels, "post")
    if not len(later):
        raise EditError(
            f"The run of sample {given.id!r} ends with its latents, so that nothing attends to "
            "them. Choose runs that answer."
        )
    n_layers = len(trace.reasoner.architecture.blocks(trace.reasoner.model))
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(n_layers)]
    patterns = trace.cache.fetch(*names)
    found = [patterns[name][0][:, later][:, :, trace.latent_positions] for name in names]
    return torch.stack([each.float().mean(dim=(0, 1)) for each in found]).mean(dim=0)


def _filled(
    given: Given, kept: Bool[Tensor, " slots"], fill: Fill, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    own = given.latents
    match fill:
        case "zero":
            other = torch.zeros_like(own)
        case "mean":
            means = [given.known.at(slot).mean(dim=0) for slot in range(len(own))]
            other = torch.stack(means).to(own)
        case "noise":
            drawn = gaussian(own, rng)
            other = drawn * own.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    return torch.where(kept.to(own.device)[:, None], own, other)
