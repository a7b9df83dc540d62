"""A second route to the answer, for models whose causal truth is made by construction.

A blend answers from what a run says with the latents it is given and from what the same run says
with its own, which no edit reaches. The second route is thus a direct path of known strength beside
a mediated one, whatever the weights; how the two are combined decides what is true of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from mindseye.reasoners.trace import Trace

__all__ = ["FIRST_VALUES", "Blend", "Route"]

FIRST_VALUES = "blocks.0.attn.hook_v"
"""What can be read from a slot in the first layer: nothing but what it was fed."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """What is said on one route.

    Attributes:
        logits: Where the outcome is read.
        values: What can be read from the slots in the first layer, if the blend looks at it.
    """

    logits: Float[Tensor, "branches vocab"]
    values: Float[Tensor, "branches slots kv_heads d_head"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """How two routes make one answer.

    Attributes:
        combine: Takes the run's own route (one branch), the edited one and the run; returns logits.
            A route combined with itself must keep its most likely token, since runs are generated
            without edits.
        reads_slots: Whether it looks at what the slots hold.
    """

    combine: Callable[[Route, Route, Trace], Float[Tensor, "branches vocab"]]
    reads_slots: bool = False
