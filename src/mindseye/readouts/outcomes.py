"""Outcomes: one number from the logits where a pair's answers part."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mindseye.engine import Contrast
from mindseye.plugins import register

__all__ = ["log_probability", "logit_difference", "probability"]


@register("outcome", "logit_difference")
def logit_difference(
    logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return the clean answer's logit less the other one's, in nats.

    The softmax' normaliser cancels, so this is the log-odds between the two answers.

    Source: recommended over probability by Zhang & Nanda 2023, arXiv 2309.16042.
    """
    return logits[..., parting.clean] - logits[..., parting.reference]


@register("outcome", "log_probability")
def log_probability(
    logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return the log-probability of the clean answer's token, in nats."""
    return logits.log_softmax(dim=-1)[..., parting.clean]


@register("outcome", "probability")
def probability(
    logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return the probability of the clean answer's token.

    It can hide negative components (Zhang & Nanda 2023, arXiv 2309.16042); report it beside the
    logit difference.
    """
    return logits.softmax(dim=-1)[..., parting.clean]
