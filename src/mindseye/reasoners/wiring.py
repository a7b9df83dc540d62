"""Which positions may read which: one mask policy for wired models and for attention knockouts.

A policy is a tuple of knockouts between named spans. It becomes the additive attention bias that
every forward of ours passes to the stock model, so a wired organism and a knocked-out 7B model run
through the same few lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.errors import EditError
from mindseye.reasoners.spans import PAD, positions, span_ids

__all__ = ["Cut", "Edges", "Knockout", "asking", "attention_bias", "check_cuts"]


@dataclass(frozen=True, slots=True)
class Knockout:
    """Cut the attention edges along which `target` reads `source`.

    A position that is in both spans no longer reads itself either.

    Attributes:
        target: Span or group of the queries.
        source: Span or group of the keys.
        layers: Where they are cut; in every layer if left out.

    Source: Geva et al. 2023, arXiv 2304.14767 (attention knockout).
    """

    target: str
    source: str
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse unknown spans early.

        Raises:
            EditError: `target` or `source` names no span.
        """
        span_ids(self.target)
        span_ids(self.source)


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Cut single attention edges, such as a random set of the size of a knockout.

    Attributes:
        targets: Positions of the queries, edge by edge, counted from the first of the run.
        sources: Positions of the keys.
        layers: Where they are cut; in every layer if left out.
    """

    targets: Int[Tensor, " edges"]
    sources: Int[Tensor, " edges"]
    layers: tuple[int, ...] | None = None


Cut = Knockout | Edges
"""Attention edges that are cut, named by spans or one by one."""


def check_cuts(cuts: Iterable[Cut], n_seq: int, n_layers: int) -> None:
    """Refuse cuts that a run does not have.

    Args:
        cuts: The edges to cut.
        n_seq: Positions of the run.
        n_layers: Layers of the model.

    Raises:
        EditError: A layer or position that does not exist.
    """
    for cut in cuts:
        if not set(cut.layers or ()) <= set(range(n_layers)):
            raise EditError(
                f"A cut names layers {cut.layers}; the model has layers 0 to {n_layers - 1}. Pass "
                "these, or leave layers out."
            )
        if isinstance(cut, Knockout):
            continue
        places = torch.cat([cut.targets, cut.sources])
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < n_seq:
            raise EditError(
                f"Edges between positions {int(places.min())} and {int(places.max())} lie outside "
                f"this run of {n_seq} positions. Pass positions of it."
            )


def asking(labels: Int[Tensor, " seq"], cut: Cut) -> Int[Tensor, " found"]:
    """Return the positions of a run that may lose an edge to a cut."""
    if isinstance(cut, Edges):
        return cut.targets.unique()
    wanted = positions(labels, cut.target)
    return (
        wanted
        if bool(torch.isin(labels, torch.tensor(span_ids(cut.source)).to(labels)).any())
        else wanted[:0]
    )


def attention_bias(
    labels: Int[Tensor, "batch keys"],
    n_queries: int,
    knockouts: tuple[Cut, ...],
    dtype: torch.dtype,
    *,
    images: Int[Tensor, "batch keys"] | None = None,
    window: int | None = None,
) -> Float[Tensor, "batch 1 queries keys"]:
    """Return the bias for the last `n_queries` positions: 0 where they may read, else the minimum.

    Causality, padding and the knockouts all end up in this one tensor. The minimum of the dtype
    underflows to an exact zero after the softmax, so a cut edge carries nothing at all.

    Args:
        labels: The span of every position so far; `PAD` for padding.
        n_queries: How many of the last positions ask.
        knockouts: The edges to cut, whatever layers they name; single ones in every row alike.
        dtype: The model's dtype.
        images: Which image each position belongs to, 0 for none; positions of one image read each
            other in both directions. Without it attention is causal.
        window: How many positions back, itself included, a position reads at most.

    Raises:
        EditError: A position is left nothing to read.
    """
    cut = torch.zeros(PAD + 1, PAD + 1, dtype=torch.bool, device=labels.device)
    cut[:, PAD] = True
    for knockout in (each for each in knockouts if isinstance(each, Knockout)):
        for target in span_ids(knockout.target):
            cut[target, list(span_ids(knockout.source))] = True

    n_keys = labels.shape[1]
    order = torch.arange(n_keys, device=labels.device)
    asking = order[n_keys - n_queries :, None]
    closed = (order[None, :] > asking).expand(len(labels), -1, -1)
    if images is not None:
        same = images[:, n_keys - n_queries :, None] == images[:, None, :]
        closed = closed & ~(same & (images[:, None, :] > 0))
    if window is not None:
        closed = closed | (asking - order[None, :] >= window)
    hidden = cut[labels[:, n_keys - n_queries :, None], labels[:, None, :]] | closed
    for edges in (each for each in knockouts if isinstance(each, Edges)):
        here = (edges.targets >= n_keys - n_queries) & (edges.sources < n_keys)
        here &= edges.targets < n_keys
        hidden[:, edges.targets[here] - (n_keys - n_queries), edges.sources[here]] = True
    # Padding reads itself alone: a row of minima would be a uniform read of everything.
    alone = order[None, :] == order[n_keys - n_queries :, None]
    hidden &= ~(alone & (labels[:, n_keys - n_queries :, None] == PAD))
    if bool(hidden.all(dim=-1).any()):
        raise EditError(
            f"Knockouts {knockouts} leave some position nothing to read, not even itself; "
            "attention needs at least one edge. Cut fewer."
        )
    bias = torch.zeros(hidden.shape, dtype=dtype, device=labels.device)
    return bias.masked_fill_(hidden, torch.finfo(dtype).min)[:, None]
