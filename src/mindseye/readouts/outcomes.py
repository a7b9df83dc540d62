"""Outcomes: one number per edited run, most of them from the logits where two answers part."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine import Contrast
from mindseye.engine.contrast import outcome
from mindseye.errors import EditError
from mindseye.reasoners import Trace
from mindseye.samples import Pair

__all__ = [
    "answer_log_probability",
    "flip",
    "kl_divergence",
    "log_probability",
    "logit_difference",
    "parsed_answer",
    "probability",
]


@outcome("logit_difference", unit="nats")
def logit_difference(
    logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return the clean answer's logit less the other one's, in nats.

    The softmax' normaliser cancels, so this is the log-odds between the two answers.

    Source: recommended over probability by Zhang & Nanda 2023, arXiv 2309.16042.
    """
    return logits[..., parting.clean] - logits[..., parting.reference]


@outcome("log_probability", unit="nats")
def log_probability(
    logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return the log-probability of the clean answer's token, in nats."""
    return logits.log_softmax(dim=-1)[..., parting.clean]


@outcome("probability", unit="share")
def probability(
    logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return the probability of the clean answer's token.

    It can hide negative components (Zhang & Nanda 2023, arXiv 2309.16042); report it beside the
    logit difference.
    """
    return logits.softmax(dim=-1)[..., parting.clean]


@outcome("kl_divergence", unit="nats")
def kl_divergence(
    logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return KL(cell || clean run) over the next token, in nats; 0 for the clean run itself.

    It is unsigned, so rounding and idiosyncrasies push it up; TE is negative on this scale.
    """
    own = _said(parting).log_softmax(dim=-1)
    cell = logits.log_softmax(dim=-1)
    return (cell.exp() * (cell - own)).sum(dim=-1)


@outcome("flip", unit="share")
def flip(logits: Float[Tensor, "*rows vocab"], parting: Contrast, /) -> Float[Tensor, "*rows"]:
    """Return 1 where another token is most likely than in the clean run, else 0."""
    return (logits.argmax(dim=-1) != _said(parting).argmax(dim=-1)).to(logits.dtype)


@outcome("answer_log_probability", unit="nats", reads="answer")
def answer_log_probability(
    logits: Float[Tensor, "*rows tokens vocab"], parting: Contrast, /
) -> Float[Tensor, "*rows"]:
    """Return the clean answer's log-probability per token, end-of-turn included, in nats."""
    ids = torch.tensor(parting.answer, device=logits.device)
    each = logits.log_softmax(dim=-1).gather(-1, ids.expand(logits.shape[:-1])[..., None])
    return each[..., 0].mean(dim=-1)


@outcome("parsed_answer", unit="share", reads="run")
def parsed_answer(trace: Trace, pair: Pair, /) -> float:
    """Return 1 if the answer parsed from a run that decoded on is the clean one, else 0."""
    return float(trace.parsed and trace.answer == pair.clean.answer)


def _said(parting: Contrast) -> Float[Tensor, " vocab"]:
    if parting.said is None:
        raise EditError(
            "This outcome compares with the unedited clean run, which only mediate knows. Use "
            "logit_difference or log_probability here."
        )
    return parting.said
