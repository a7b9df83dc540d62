"""Attention of many branches over one shared prefix.

While `intercepted`, the stock model's attention layers hand their queries, keys and values to a
*reading*: an object that knows what each query may read. A reading attends to the shared prefix
once for all branches, to each branch's own tail, and merges the two by their log-sum-exps, so that
the prefix is never copied and cost is linear in branches. It travels through the stock forward as a
keyword of the decoder, so nothing is patched and nothing global holds state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface

__all__ = ["Extra", "Packed", "Partial", "Rectangle", "Rows", "attend", "intercepted", "merge"]

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
    if fused:
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


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Which positions of which branches one layer computes, packed branch by branch.

    Attributes:
        branch: The branch of each row.
        column: Its place in the tail.
        place: Its place among the rows of its branch.
        n_branches: How many branches there are.
        width: Most rows of a branch.
    """

    branch: Int[Tensor, " rows"]
    column: Int[Tensor, " rows"]
    place: Int[Tensor, " rows"]
    n_branches: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Extra:
    """Keys and values that only some queries read, in the place of a branch's own.

    Attributes:
        branch: The branch of each.
        slot: Its place among the extra columns of its branch.
        key: After rotation.
        value: The value.
        width: Most extra columns of a branch.
    """

    branch: Int[Tensor, " extra"]
    slot: Int[Tensor, " extra"]
    key: Float[Tensor, "extra kv_heads d_head"]
    value: Float[Tensor, "extra kv_heads d_head"]
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Rows of many branches, each over the prefix and over its own tail.

    A branch's tail is the snapshot's, with the rows it has computed itself written over it.

    Attributes:
        rows: What is computed.
        prefix: The layer's keys and values of the shared prefix, with a batch axis of one.
        tail: The snapshot's own after it.
        shared_bias: Of each row for the prefix; none if everything there is open.
        own_bias: Of each place of a branch for its tail, then for its extra columns.
        extra: Edges that read something else.
    """

    rows: Rows
    prefix: tuple[Tensor, Tensor]
    tail: tuple[Float[Tensor, "kv_heads columns d_head"], Float[Tensor, "kv_heads columns d_head"]]
    shared_bias: Float[Tensor, "rows prefix"] | None
    own_bias: Float[Tensor, "branches width columns"]
    extra: Extra | None = None

    def __call__(
        self,
        layer: int,
        query: Float[Tensor, "1 heads rows d_head"],
        key: Float[Tensor, "1 kv_heads rows d_head"],
        value: Float[Tensor, "1 kv_heads rows d_head"],
        bias: Tensor | None,
        scale: float,
        softcap: float | None,
    ) -> Float[Tensor, "1 rows heads d_head"]:
        """Attend for every row; the arguments are those of an attention layer."""
        del layer, bias
        _, n_heads, n_rows, d_head = query.shape
        kv_heads = key.shape[1]
        group = n_heads // kv_heads
        found = self._own(query, key[0], value[0], scale, softcap)
        if self.prefix[0].shape[2]:
            every = self.shared_bias
            if every is not None:
                every = every.repeat(group, 1)[None, None]
            shared = attend(
                query.reshape(1, kv_heads, group * n_rows, d_head),
                *self.prefix,
                every,
                scale,
                softcap,
            )
            there = Partial(
                shared.out.reshape(1, n_heads, n_rows, d_head),
                shared.lse.reshape(1, n_heads, n_rows),
            )
            merged = merge(there, found)
        else:
            merged = found.out
        return merged.transpose(1, 2).to(query.dtype)

    def _own(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float, softcap: float | None
    ) -> Partial:
        """Attend to the branches' own tails, as a rectangle of branches by places."""
        rows = self.rows
        _, n_heads, n_rows, d_head = query.shape
        kv_heads = key.shape[0]
        group = n_heads // kv_heads
        asked = query.new_zeros(rows.n_branches, rows.width, n_heads, d_head)
        asked[rows.branch, rows.place] = query[0].transpose(0, 1)
        grouped = asked.transpose(1, 2).reshape(rows.n_branches, kv_heads, -1, d_head)
        own = attend(
            grouped,
            self._tail(0, key),
            self._tail(1, value),
            self.own_bias[:, None].repeat(1, 1, group, 1),
            scale,
            softcap,
        )
        square = (rows.n_branches, n_heads, rows.width)
        out = own.out.reshape(*square, d_head)[rows.branch, :, rows.place]
        lse = own.lse.reshape(square)[rows.branch, :, rows.place]
        return Partial(out.transpose(0, 1)[None], lse.transpose(0, 1)[None])

    def _tail(
        self, which: int, new: Float[Tensor, "kv_heads rows d_head"]
    ) -> Float[Tensor, "branches kv_heads columns d_head"]:
        """Return every branch's keys or values: the snapshot's, its own, and the extra ones."""
        rows, tail = self.rows, self.tail[which].transpose(0, 1)
        n_columns = len(tail)
        width = n_columns + (self.extra.width if self.extra else 0)
        every = new.new_zeros(rows.n_branches, width, *tail.shape[1:])
        every[:, :n_columns] = tail
        every[rows.branch, rows.column] = new.transpose(0, 1)
        if self.extra:
            columns = n_columns + self.extra.slot
            every[self.extra.branch, columns] = (self.extra.key, self.extra.value)[which].to(every)
        return every.transpose(1, 2)


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
