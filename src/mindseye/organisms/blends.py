"""Second routes that make a truth: what each composite organism answers from its two routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mindseye.reasoners import Blend, Route

if TYPE_CHECKING:
    from mindseye.reasoners import Trace

__all__ = ["all_or_none", "dial", "either", "guarded", "only_valid", "rank", "signed"]

Signature = Float[Tensor, "kv_heads d_head"]
"""What can be read in the first layer from a slot that was fed its circuit's constant."""

_SAME = 1e-3
_NEAR = 0.5
"""Of the norm of what it is compared with."""


def dial(alpha: float, gamma: float = 0.0) -> Blend:
    """Mix the routes: (1 - alpha) own + alpha given + gamma own x given.

    Then PIE = (alpha + gamma own(x0)) DZ, PDE = (1 - alpha + gamma given(Z0)) DX and
    INT = gamma DX DZ, coordinate by coordinate of the logits.
    """

    def combine(own: Route, given: Route, _run: Trace) -> Float[Tensor, "branches vocab"]:
        mixed = (1 - alpha) * own.logits + alpha * given.logits
        return mixed + gamma * own.logits * given.logits

    return Blend(combine)


def either(*, higher: bool) -> Blend:
    """Say what the one route says whose answer ranks higher, or lower, among token ids.

    On pairs whose clean run ranks higher, taking the higher one makes the routes redundant: either
    is enough. Taking the lower one makes them necessary only jointly.

    Args:
        higher: Which of them is taken.
    """

    def combine(own: Route, given: Route, _run: Trace) -> Float[Tensor, "branches vocab"]:
        above = rank(given.logits) > rank(own.logits)
        return torch.where(above[:, None] == higher, given.logits, own.logits)

    return Blend(combine)


def rank(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """Return the mean token id that logits expect."""
    ids = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return logits.softmax(dim=-1) @ ids


def signed(share: float) -> Blend:
    """Let the given route count for or against an answer, by the kind of item.

    An item's kind is the parity of its prompt's ids, which the two runs of a pair share.

    Args:
        share: Of the own route's weight; below one, so that the answer stays.
    """

    def combine(own: Route, given: Route, run: Trace) -> Float[Tensor, "branches vocab"]:
        sign = 1 if int(run.prompt_ids.sum()) % 2 else -1
        return own.logits + sign * share * given.logits

    return Blend(combine)


def all_or_none() -> Blend:
    """Follow the given route only if no slot holds what the run's own would; else the own one."""

    def combine(own: Route, given: Route, _run: Trace) -> Float[Tensor, "branches vocab"]:
        taken = ~_alike(given, own.values, _SAME).any(dim=-1)
        return torch.where(taken[:, None], given.logits, own.logits)

    return Blend(combine, reads_slots=True)


def only_valid(signature: Signature) -> Blend:
    """Follow the given route if every slot carries a signature, else fall back on the own one."""

    def combine(own: Route, given: Route, _run: Trace) -> Float[Tensor, "branches vocab"]:
        valid = _alike(given, signature, _NEAR).all(dim=-1)
        return torch.where(valid[:, None], given.logits, own.logits)

    return Blend(combine, reads_slots=True)


def guarded(signature: Signature) -> Blend:
    """Say what the given route says if every slot carries a signature, else nothing at all."""

    def combine(_own: Route, given: Route, _run: Trace) -> Float[Tensor, "branches vocab"]:
        valid = _alike(given, signature, _NEAR).all(dim=-1)
        return torch.where(valid[:, None], given.logits, 0.0)

    return Blend(combine, reads_slots=True)


def _alike(
    route: Route, wanted: Float[Tensor, "*dims kv_heads d_head"] | None, within: float
) -> Bool[Tensor, "branches slots"]:
    """Return which slots hold something, up to a share of its norm."""
    assert route.values is not None
    assert wanted is not None
    away = (route.values - wanted).flatten(2).norm(dim=-1)
    return away <= within * wanted.flatten(-2).norm(dim=-1)
