"""Attention of several rows over one shared prefix.

While `intercepted`, the stock model's attention layers hand their queries, keys and values to a
*reading*: an object that knows what each query may read. A reading attends to the shared prefix
once for all rows, to each row's own positions, and merges the two by their log-sum-exps, so that
the prefix is never copied and cost is linear in rows. It travels through the stock forward as a
keyword of the decoder, so nothing is patched and nothing global holds state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface

__all__ = ["Partial", "Reading", "Rectangle", "attend", "intercepted", "merge", "tried"]

_KERNEL = "mindseye_branches"
_FEW_KEYS = 64
"""Up to so many keys the plain formula beats the fused kernel."""


class Partial(NamedTuple):
    """Attention over some of the keys.

    Attributes:
        out: The weighted mean of the values.
        lse: Log of the sum of the exponentiated scores.
    """

    out: Float[Tensor, "batch heads queries d_head"]
    lse: Float[Tensor, "batch heads queries"]


def attend(
    query: Float[Tensor, "batch heads queries d_head"],
    key: Float[Tensor, "batch heads keys d_head"],
    value: Float[Tensor, "batch heads keys d_head"],
    bias: Float[Tensor, "..."] | None,
    scale: float,
    softcap: float | None = None,
) -> Partial:
    """Attend to some of the keys and say how much weight they had.

    Args:
        query: Queries; those of one key-value head stand one after another.
        key: Keys.
        value: Values.
        bias: Added to the scores; broadcast over batch and heads.
        scale: What scores are multiplied with.
        softcap: Squashes scores into (-softcap, softcap), as some Gemmas do.
    """
    fused = query.device.type == "cpu" and softcap is None and key.shape[-2] > _FEW_KEYS
    if fused and not torch.is_grad_enabled():  # its log-sum-exp has no gradient
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=bias, scale=scale
        )
        return Partial(out, lse)
    exact = torch.promote_types(query.dtype, torch.float32)
    scores = (query @ key.transpose(-1, -2)).to(exact) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if bias is not None:
        scores = scores + bias
    top = scores.amax(dim=-1, keepdim=True)
    weights = (scores - top).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    out = (weights / total).to(value.dtype) @ value
    return Partial(out, (top + total.log()).squeeze(-1))


def merge(one: Partial, other: Partial) -> Float[Tensor, "batch heads queries d_head"]:
    """Return attention over the keys of both, in the precision of the log-sum-exps."""
    lse = torch.logaddexp(one.lse, other.lse)
    return (
        one.out * (one.lse - lse).exp()[..., None] + other.out * (other.lse - lse).exp()[..., None]
    )


@runtime_checkable
class Reading(Protocol):
    """What an intercepted attention layer calls, instead of its own kernel."""

    def __call__(
        self,
        layer: int,
        query: Float[Tensor, "batch heads seq d_head"],
        key: Float[Tensor, "batch kv_heads seq d_head"],
        value: Float[Tensor, "batch kv_heads seq d_head"],
        bias: Tensor | None,
        scale: float,
        softcap: float | None,
    ) -> Float[Tensor, "batch seq heads d_head"]: ...


@dataclass(slots=True, eq=False)
class Rectangle:
    """Equal stretches of new positions on several rows, over one prefix.

    Attributes:
        prefix: Keys and values of the shared prefix, by layer, with a batch axis of one.
        own: Keys and values of each row after the prefix, by layer; they grow.
    """

    prefix: list[tuple[Tensor, Tensor]]
    own: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(
        self,
        layer: int,
        query: Float[Tensor, "batch heads seq d_head"],
        key: Float[Tensor, "batch kv_heads seq d_head"],
        value: Float[Tensor, "batch kv_heads seq d_head"],
        bias: Tensor | None,
        scale: float,
        softcap: float | None,
    ) -> Float[Tensor, "batch seq heads d_head"]:
        """Attend for every row; the arguments are those of an attention layer."""
        assert bias is not None
        if layer in self.own:
            key, value = (
                torch.cat([old, new], dim=2)
                for old, new in zip(self.own[layer], (key, value), strict=True)
            )
        self.own[layer] = key, value
        n_rows, n_heads, n_new, d_head = query.shape
        kv_heads = key.shape[1]
        group = n_heads // kv_heads
        grouped = query.reshape(n_rows, kv_heads, group * n_new, d_head)
        prefix_key, prefix_value = self.prefix[layer]
        n_prefix = prefix_key.shape[2]
        every = bias.repeat(1, 1, group, 1)  # one row of it per query of a group
        found = attend(grouped, key, value, every[..., n_prefix:], scale, softcap)
        if not n_prefix:
            merged = found.out
        else:
            # All rows' queries in one row: the prefix is read once.
            flat = grouped.transpose(0, 1).reshape(1, kv_heads, -1, d_head)
            shared = attend(
                flat,
                prefix_key,
                prefix_value,
                _unless_open(every[..., :n_prefix].reshape(1, 1, -1, n_prefix)),
                scale,
                softcap,
            )
            lines = (kv_heads, n_rows, group * n_new)
            there = Partial(
                shared.out.reshape(*lines, d_head).transpose(0, 1),
                shared.lse.reshape(lines).transpose(0, 1),
            )
            merged = merge(there, found)
        out = merged.reshape(n_rows, n_heads, n_new, d_head)
        return out.transpose(1, 2).to(query.dtype)


@contextlib.contextmanager
def intercepted(model: Any) -> Iterator[None]:
    """Let the decoder's attention layers call the reading that travels with the forward."""
    text = model.config.get_text_config()
    usual = text._attn_implementation
    text._attn_implementation = _KERNEL
    try:
        yield
    finally:
        text._attn_implementation = usual


@contextlib.contextmanager
def tried(reading: Rectangle, n_layers: int) -> Iterator[None]:
    """Let a first pass fail where a layer's attention does not call the reading.

    Such a layer attends to its new positions only, under a bias for all, and so may raise.

    Args:
        reading: What the pass is given; afterwards its `own` lacks the layers that ignored it.
        n_layers: Of the model.
    """
    try:
        yield
    except RuntimeError as fault:
        if isinstance(fault, torch.OutOfMemoryError) or len(reading.own) == n_layers:
            raise


def _unless_open(bias: Float[Tensor, "..."]) -> Float[Tensor, "..."] | None:
    """Return a bias, or none if it closes nothing; kernels are faster without."""
    return bias if bool((bias != 0).any()) else None


def _hand_over(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    reading: Reading | None = None,
    **_rest: Any,
) -> tuple[Tensor, None]:
    """Stand in for an attention kernel of transformers."""
    if reading is None:
        raise RuntimeError("an attention layer was intercepted without a reading")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    return reading(layer, query, key, value, attention_mask, scale, softcap), None


AttentionInterface.register(_KERNEL, _hand_over)
