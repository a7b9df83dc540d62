"""Attention of branches that each compute positions of their own, packed into one row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindseye.reasoners.attention import Partial, attend, merge

__all__ = ["Extra", "Packed", "Rows"]


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
        column: The column it stands for.
        slot: Its place among the extra columns of its branch.
        keys: After rotation.
        values: The values.
        given: Which of its keys, and which of its values, are given; others are the branch's own.
        width: Most extra columns of a branch.
    """

    branch: Int[Tensor, " extra"]
    column: Int[Tensor, " extra"]
    slot: Int[Tensor, " extra"]
    keys: Float[Tensor, "extra kv_heads d_head"]
    values: Float[Tensor, "extra kv_heads d_head"]
    given: Bool[Tensor, "2 extra"]
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
    own_bias: Float[Tensor, "branches width own"]
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
        n_heads, d_head = query.shape[1], query.shape[3]
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
            own = every[self.extra.branch, self.extra.column]
            brought = (self.extra.keys, self.extra.values)[which].to(every)
            given = self.extra.given[which][:, None, None]
            every[self.extra.branch, n_columns + self.extra.slot] = torch.where(given, brought, own)
        return every.transpose(1, 2)
