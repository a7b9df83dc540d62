"""What is minimised: weighted cross-entropy, and the distance of latents from what they copy."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mindseye.errors import ModelError

__all__ = ["alignment_loss", "pooled_slots", "token_weights"]


def token_weights(
    parts: Int[Tensor, "*dims"], imagination: float, answer: float
) -> Float[Tensor, "*dims"]:
    """Return each token's weight from its part: 0 is not taught, 1 imagination, 2 answer."""
    return torch.tensor([0.0, imagination, answer], device=parts.device)[parts]


def alignment_loss(
    student: Float[Tensor, "*layers slots d_model"],
    teacher: Float[Tensor, "*layers slots d_model"],
    axis: Literal["features", "slots"] = "features",
) -> Float[Tensor, "*layers"]:
    """Return one minus the cosine between latents and their targets, averaged.

    Over `features` it is (1 / slots) sum_k (1 - cos(s_k, t_k)), each slot held against its own
    target, which is what Mirage and Monet's paper describe. Over `slots` it is
    (1 / d) sum_j (1 - cos(s_:j, t_:j)): each feature's course along the slots. Monet's published
    code computes the latter, since `cosine_similarity` takes axis 1 of (layers, slots, features)
    unless told otherwise; it ignores how large a feature is beside the others.

    Args:
        student: The latents.
        teacher: What they should be; no gradient goes there.
        axis: What the cosine runs over.

    Returns:
        A number from 0 to 2 per layer (or row).

    Raises:
        ModelError: The two have different shapes.

    Source: arXiv 2506.17218 (stage 1); arXiv 2511.21395 and its `alignment_loss`.
    """
    if student.shape != teacher.shape:
        raise ModelError(
            f"alignment_loss got latents of shape {tuple(student.shape)} and targets of "
            f"{tuple(teacher.shape)}; expected the same. Give both the same slots and layers."
        )
    along = -1 if axis == "features" else -2
    return (1 - F.cosine_similarity(student, teacher.detach(), dim=along)).mean(dim=-1)


def pooled_slots(
    features: Shaped[Tensor, "patches d_model"], n_slots: int
) -> Shaped[Tensor, "{n_slots} d_model"]:
    """Average an image's features in contiguous groups, one per slot.

    Mirage drops what is left over when groups do not come out even; here groups differ by one.

    Raises:
        ModelError: The image has fewer features than there are slots.
    """
    if len(features) < n_slots:
        raise ModelError(
            f"A helper image gives {len(features)} features, fewer than {n_slots} slots. Raise "
            "min_pixels, or lower latent.n_slots."
        )
    return torch.stack([group.mean(dim=0) for group in features.tensor_split(n_slots)])
