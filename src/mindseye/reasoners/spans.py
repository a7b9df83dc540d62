"""Named spans: every position of a run belongs to exactly one.

A run is stored as one small integer per position. Attention knockouts, edits and plots all name
positions through these words.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from mindseye.errors import EditError

__all__ = ["GROUPS", "PAD", "SPANS", "positions", "span_ids"]

SPANS = ("system", "image", "question", "header", "text", "start", "latents", "end", "answer")
"""In the order they usually stand: `header` is the template between the question and the model's
own words, `text` what the model says before its latents, `start` and `end` the two markers, and
`answer` what it says after the first segment."""

GROUPS = {
    "prefix": ("system", "image", "question", "header", "text"),
    "segment": ("start", "latents", "end"),
    "markers": ("start", "end"),
    "post": ("end", "answer"),
}
"""Short names for several spans."""

PAD = len(SPANS)
"""The label of padding, which nothing reads."""


def span_ids(name: str) -> tuple[int, ...]:
    """Return the labels of a span or group.

    Raises:
        EditError: No such span.
    """
    if name not in SPANS and name not in GROUPS:
        raise EditError(f"No span {name!r}; there are {', '.join((*SPANS, *GROUPS))}.")
    return tuple(SPANS.index(span) for span in GROUPS.get(name, (name,)))


def positions(labels: Int[Tensor, " seq"], name: str) -> Int[Tensor, " found"]:
    """Return the positions of a span or group, in order.

    Raises:
        EditError: No such span.
    """
    wanted = torch.tensor(span_ids(name), device=labels.device)
    return torch.isin(labels, wanted).nonzero().squeeze(-1)
