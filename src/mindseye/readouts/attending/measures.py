"""What is said of an attention pattern: mass by segment, entropy, and how much a region gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.errors import EditError
from mindseye.reasoners.spans import positions

__all__ = ["OTHER", "TO", "enrichment", "entropy", "masses"]

TO = ("image", "question", "markers", "latents")
"""Segments that attention is summed over, unless others are asked for."""

OTHER = "other"
"""Whatever is in none of them: system prompt, template, the model's own words."""


def masses(
    weights: Float[Tensor, "*dims seq"], labels: Int[Tensor, " seq"], to: Sequence[str] = TO
) -> dict[str, Float[Tensor, "*dims"]]:
    """Return the attention that segments get, and `other`; together they are 1.

    Args:
        weights: Patterns.
        labels: The span of every position.
        to: Names of spans or of groups of spans; none may overlap.

    Raises:
        EditError: No such span, or two that share positions.
    """
    sums, taken = {}, torch.zeros(len(labels), dtype=torch.bool)
    for name in to:
        here = positions(labels, name).cpu()
        if bool(taken[here].any()) or name in sums:
            raise EditError(
                f"Segments {tuple(to)} share positions, so that their attention would count twice. "
                "Name spans that do not overlap."
            )
        taken[here] = True
        sums[name] = weights[..., here].sum(dim=-1)
    return {**sums, OTHER: weights[..., ~taken].sum(dim=-1)}


def entropy(weights: Float[Tensor, "*dims seq"]) -> Float[Tensor, "*dims"]:
    """Return the entropy of patterns, in nats."""
    return torch.special.entr(weights).sum(dim=-1)


def enrichment(
    weights: Float[Tensor, "*dims tokens"], covered: Float[np.ndarray, " tokens"]
) -> Float[Tensor, "*dims"]:
    """Return how much more attention a region gets than as much of the picture anywhere.

    (attention to tokens in the region / attention to the picture) / share of the picture in the
    region: 1 for a uniform pattern, at most the inverse of that share, and not a number where the
    picture gets no attention at all.

    Args:
        weights: Attention to the tokens of one picture.
        covered: Which share of each token lies in the region.
    """
    region = torch.from_numpy(covered).to(weights)
    return (weights @ region) / weights.sum(dim=-1) / region.mean()
