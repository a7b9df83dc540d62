"""Oracles: what a perfect imagination would have seen, encoded by the model's own eyes.

Families are trained towards different targets (`docs/families`): LVR towards the picture's own
embeddings inside the region, Mirage towards pooled embeddings of a helper image, Monet towards
states that had seen one. What all can be fed is what their projector makes of region or helper.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.interventions.boxes import random_box, region
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.replacing import replacement
from mindseye.reasoners.grids import coverage, token_grid
from mindseye.samples import Pixels

__all__ = ["Of", "oracle", "oracle_vectors"]

Of = Literal["region", "patches", "helper"]
"""The region's crop as a picture of its own; the picture's embeddings inside it; the helper."""


@replacement("oracle", carries="truth", in_distribution="partly")
def oracle(
    given: Given,
    *,
    of: Of = "region",
    at: str = "target",
    place: Literal["true", "random"] = "true",
    order: Literal["kept", "shuffled"] = "kept",
    norms: Literal["kept", "matched"] = "kept",
    rng: torch.Generator,
) -> Float[Tensor, "slots d_model"]:
    """Feed the embeddings of what the question is about, as many as there are slots.

    Neighbouring embeddings are averaged where there are more of them than slots, and repeated where
    there are fewer.

    Args:
        given: The run.
        of: The region cut out and encoded by itself, the picture's own embeddings inside it (as
            LVR's targets), or the helper image (as Mirage's).
        at: The name of the region.
        place: The region itself, or a box of its size elsewhere: the oracle's control.
        order: Whether the embeddings are in reading order.
        norms: Whether they keep their norms, or take those of the latents they replace.
        rng: Draws the other place, and the order.

    Raises:
        SampleError: The sample has no such region or helper image, or nobody knows which
            embeddings lie inside the region.

    Source: arms gt and random_bbox of arXiv 2605.18445.
    """
    found = oracle_vectors(given, of, at, rng if place == "random" else None)
    if order == "shuffled":
        found = found[torch.randperm(len(found), generator=rng).to(found.device)]
    if norms == "matched":
        own = given.latents
        found = found * own.norm(dim=-1, keepdim=True) / found.norm(dim=-1, keepdim=True)
    return found


def oracle_vectors(
    given: Given, of: Of, at: str, elsewhere: torch.Generator | None = None
) -> Float[Tensor, "slots d_model"]:
    """Return the oracle's vectors, one per slot.

    Args:
        given: The run.
        of: Where to look.
        at: The name of the region.
        elsewhere: Draws a box of the region's size elsewhere, instead of the region.

    Raises:
        SampleError: There is no such region or helper image.
    """
    found = (
        _patches(given, at, elsewhere) if of == "patches" else _encoded(given, of, at, elsewhere)
    )
    return _as_many(found, len(given.latents)).to(given.latents)


def _encoded(
    given: Given, of: Of, at: str, elsewhere: torch.Generator | None
) -> Float[Tensor, "tokens d_model"]:
    """Return the embeddings of a picture cut out of the sample's, or of its helper."""
    sample = given.trace.sample
    if of == "region":
        left, top, right, bottom = _box(given, at, elsewhere)
        picture: Pixels = np.ascontiguousarray(sample.image[top:bottom, left:right])
    elif sample.helper is not None:
        picture = sample.helper
    else:
        raise SampleError(
            f"Sample {sample.id!r} has no helper image to look at. Use oracle:of=region, or choose "
            "samples whose task knows one."
        )
    alone = replace(sample, images=(picture,), regions={})
    seen = given.trace.reasoner.run(alone, max_new_tokens=1, imagine=False)
    return seen.embeds[seen.prefill().image_mask[0]]


def _patches(
    given: Given, at: str, elsewhere: torch.Generator | None
) -> Float[Tensor, "tokens d_model"]:
    """Return the picture's own embeddings inside the region."""
    grid, sample = token_grid(given.trace), given.trace.sample
    if not grid.told:
        raise SampleError(
            f"Where the tokens of sample {sample.id!r} lie in its picture is not known, since its "
            "processor cuts several tiles. Use oracle:of=region."
        )
    height, width = sample.image.shape[:2]
    covered = coverage(_box(given, at, elsewhere), (height, width), grid.rows, grid.columns)
    # Tokens that lie in it by half or more; of a box within one token, that one.
    chosen = torch.from_numpy(covered >= min(0.5, float(covered.max())))
    return given.trace.embeds[grid.positions[chosen.to(grid.positions.device)]]


def _box(given: Given, at: str, elsewhere: torch.Generator | None) -> tuple[int, int, int, int]:
    sample = given.trace.sample
    box = region(sample, at)
    if elsewhere is None:
        return box
    seed = int(torch.randint(2**31, (), generator=elsewhere))
    return random_box(box, sample.image.shape[:2], np.random.default_rng(seed))


def _as_many(vectors: Float[Tensor, "tokens d_model"], n: int) -> Float[Tensor, "slots d_model"]:
    """Return so many vectors: means of neighbours, or neighbours repeated."""
    # Adaptive pooling is both: its windows tile the tokens, and overlap where these are too few.
    return torch.nn.functional.adaptive_avg_pool1d(vectors.float().T[None], n)[0].T
