"""Memory: how many branches are computed at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mindseye.engine.exact.branches import Branch, Reach
from mindseye.engine.exact.snapshots import Snapshot
from mindseye.errors import EngineError

__all__ = ["DEFAULT_BUDGET", "in_chunks"]

DEFAULT_BUDGET = 2**30
"""Bytes."""


def in_chunks(
    held: Snapshot,
    branches: Sequence[Branch],
    reached: Reach,
    n_read: int,
    budget: int,
    work: Callable[[int, int], None],
) -> None:
    """Call `work` on stretches of branches that each fit the budget.

    A stretch that runs out of GPU memory all the same is halved and tried again.

    Args:
        held: What the branches start from.
        branches: All of them.
        reached: What they compute.
        n_read: Positions read of each.
        budget: Most bytes at a time.
        work: Computes branches from one index up to another.

    Raises:
        EngineError: One branch alone is over the budget, or over what the device has.
    """
    shared, sizes = _bytes(held, branches, reached, n_read)
    least = shared + max(sizes)
    if least > budget:
        raise EngineError(
            f"One branch takes about {least:,} bytes and the budget is {budget:,}. Pass "
            f"budget={least:,} at least."
        )
    begin = 0
    while begin < len(sizes):
        end, used = begin, shared
        while end < len(sizes) and used + sizes[end] <= budget:
            used += sizes[end]
            end += 1
        _halving(begin, end, work)
        begin = end


def _halving(begin: int, end: int, work: Callable[[int, int], None]) -> None:
    try:
        work(begin, end)
        return
    except torch.OutOfMemoryError as fault:
        if end - begin == 1:
            raise EngineError(
                "One branch alone does not fit into the device's memory. Free some, or load the "
                "model in a smaller dtype or on more devices."
            ) from fault
    torch.cuda.empty_cache()
    middle = (begin + end) // 2
    _halving(begin, middle, work)
    _halving(middle, end, work)


def _bytes(
    held: Snapshot, branches: Sequence[Branch], reached: Reach, n_read: int
) -> tuple[int, list[int]]:
    """Estimate what all branches share, and what each takes at its widest."""
    reasoner = held.trace.reasoner
    text = reasoner.model.config.get_text_config()
    item = held.states.element_size()
    wide = max(item, 4)  # attention sums up in float32 at least
    d_model = held.states.shape[-1]
    kv_heads, _, d_head = held.tail[0][0].shape
    n_heads = text.num_attention_heads
    given = (getattr(text, name, None) for name in ("intermediate_size", "n_inner"))
    inner = next((size for size in given if size), 4 * d_model)
    # Per row: residuals and their copies, queries and outputs of both parts, the MLP's inside.
    row = item * (8 * d_model + 3 * inner) + 5 * wide * n_heads * d_head
    if held.states.device.type != "cpu":  # there the scores of the prefix are laid out
        row += 4 * wide * n_heads * held.start
    n_rows = reached.computed(reached.first.shape[1] - 1).sum(dim=1)
    widest = int(n_rows.max())
    tail = held.n_tail * (4 * item * kv_heads * d_head + 4 * wide * n_heads * widest)
    vocab = reasoner.model.get_output_embeddings().weight.shape[0]
    read = n_read * (d_model + 2 * vocab) * item
    # A mask as it was, as it is cut, and stacked up; then the booleans it is made from.
    masks = held.n_tail * len(held.trace.labels) * (3 * item + 4)
    masked = [bool(each.knockouts) or each.removed is not None for each in branches]
    sizes = [
        int(n) * row + tail + read + own * masks
        for n, own in zip(n_rows.tolist(), masked, strict=True)
    ]
    return masks, sizes
