"""How an organism's parts are connected: which attention edges it lacks, and what slots are fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mindseye.reasoners.wiring import Knockout

__all__ = [
    "BYPASSED",
    "FED_BACK",
    "MARKERS_ONLY",
    "THROUGH_SLOTS",
    "UNWIRED",
    "Circuit",
    "Feed",
    "Feeds",
]

Feeds = Literal["state", "offset", "pad"]

_OFFSET = 10.0
"""Of every coordinate; a post-norm state has entries of about one."""

THROUGH_SLOTS = (Knockout("post", "prefix"), Knockout("post", "start"))
"""What follows the latents reads only them and itself; slots read what they like."""

FED_BACK = (*THROUGH_SLOTS, Knockout("latents", "prefix"), Knockout("latents", "start"))
"""The same, and slots read slots only: all they know is what they were fed."""

BYPASSED = (Knockout("post", "segment"),)
"""What follows the latents reads neither them nor their markers."""

MARKERS_ONLY = (Knockout("post", "prefix"), Knockout("post", "latents"))
"""What follows the latents reads the start marker and itself."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """A wiring, and what stands in the place of the state that is fed back.

    Attributes:
        wiring: Attention edges that do not exist.
        feeds: `state`, the model's own; `offset`, the same plus a large constant vector; or `pad`,
            the pad's embedding whatever the state is.
    """

    wiring: tuple[Knockout, ...] = ()
    feeds: Feeds = "state"


UNWIRED = Circuit()
"""The stock model as it is."""


class Feed(nn.Module):
    """The map from a state to what a slot is fed.

    Attributes:
        feeds: As in `Circuit`.
        pad: The pad's embedding.
    """

    def __init__(self, feeds: Feeds, pad: Float[Tensor, " d_model"]) -> None:
        super().__init__()
        self.feeds = feeds
        self.pad = nn.Buffer(pad)

    @property
    def constant(self) -> Float[Tensor, " d_model"]:
        """What all that is fed has in common."""
        if self.feeds == "pad":
            return self.pad
        signs = torch.ones_like(self.pad)
        signs[1::2] = -1
        return _OFFSET * signs

    def forward(self, state: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        if self.feeds == "state":
            return state
        if self.feeds == "offset":
            return state + self.constant
        return self.constant.expand_as(state)
