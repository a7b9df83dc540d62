"""Memory: how many branches are computed at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch

from mindseye.engine.branches import Reach
from mindseye.engine.snapshots import Snapshot
from mindseye.errors import EngineError

__all__ = ["DEFAULT_BUDGET", "in_chunks"]

DEFAULT_BUDGET = 2**30
"""Bytes; a gibibyte holds several hundred branches of a 7B model."""


def in_chunks(
    held: Snapshot,
    reached: Reach,
    n_read: int,
    recording: bool,
    budget: int,
    work: Callable[[int, int], None],
) -> None:
    """Call `work` on stretches of branches that each fit the budget.

    A stretch that runs out of GPU memory all the same is halved and tried again.

    Args:
        held: What the branches start from.
        reached: What they compute.
        n_read: Positions read of each.
        recording: Whether activations of all rows are kept.
        budget: Most bytes at a time.
        work: Computes branches from one index up to another.

    Raises:
        EngineError: One branch alone is over the budget, or over what the device has.
    """
    sizes = _bytes(held, reached, n_read)
    largest = max(sizes, default=0)
    if largest > budget:
        raise EngineError(
            f"One branch takes about {largest:,} bytes and the budget is {budget:,}. Pass "
            f"budget={largest:,} at least."
        )
    begin = 0
    while begin < len(sizes):
        end, used = begin, 0
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


def _bytes(held: Snapshot, reached: Reach, n_read: int) -> list[int]:
    """Estimate what each branch takes at its widest."""
    reasoner = held.trace.reasoner
    text = reasoner.model.config.get_text_config()
    item = held.states.element_size()
    width = held.states.shape[-1]
    kv_heads, _, d_head = held.tail[0][0].shape
    n_heads = text.num_attention_heads
    inner = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * width
    # Per row: residuals and their copies, queries and outputs of both parts, the MLP's inside.
    row = item * (8 * width + 3 * inner) + 5 * max(item, 4) * n_heads * d_head
    plain = held.states.device.type != "cpu"  # there the scores of the prefix are laid out
    row += 3 * max(item, 4) * n_heads * held.start if plain else 0
    n_rows = reached.computed(reached.first.shape[1] - 1).sum(dim=1)
    widest = int(n_rows.max()) if len(n_rows) else 0
    tail = held.n_tail * (4 * item * kv_heads * d_head + 3 * max(item, 4) * n_heads * widest)
    vocab = reasoner.model.get_output_embeddings().weight.shape[0]
    read = n_read * (width + 2 * vocab) * item
    return [int(n) * row + tail + read for n in n_rows.tolist()]
