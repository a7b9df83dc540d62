"""Attention patterns of a run's slots, layer by layer, from one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.reasoners import Trace
from mindseye.reasoners.hooks import hooked

__all__ = ["Patterns", "slot_patterns"]


@dataclass(frozen=True, slots=True, eq=False)
class Patterns:
    """Where the slots of a run attend.

    Attributes:
        weights: Of every layer, head and slot, over all positions of the run; they sum to 1.
        n_keys: How many positions a slot can read in a layer: itself and what stands before it,
            less what lies outside a sliding window or is cut by the model's wiring.
    """

    weights: Float[Tensor, "layers heads slots seq"]
    n_keys: Int[Tensor, "layers slots"]


@torch.no_grad()
def slot_patterns(trace: Trace) -> Patterns:
    """Recompute a run once and keep the attention of its slots.

    `trace.cache` has the same numbers, but a replay keeps the patterns of all positions and layers
    it is asked for at once; here a layer's pattern is cut to the slots as it passes.

    Args:
        trace: A run with latents.
    """
    reasoner, slots = trace.reasoner, trace.latent_positions
    model, row = reasoner.model, reasoner.architecture
    fed, n_seq = trace.prefill(), len(trace.labels)
    bias = row.bias(
        model, trace.labels[None], fed.image_mask, n_seq, reasoner.wiring, trace.embeds.dtype
    )
    kept: list[Tensor] = [torch.empty(0)] * len(bias)

    def keep(layer: int) -> Callable[[Tensor], None]:
        def visit(pattern: Tensor) -> None:
            kept[layer] = pattern[0][:, slots].cpu()

        return visit

    visits = {f"blocks.{i}.attn.hook_pattern": keep(i) for i in range(len(bias))}
    with hooked(model, row, visits):
        row.decode(model, fed, bias)
    open_keys = [(each[0, 0, slots] == 0).sum(dim=-1).cpu() for each in bias]
    return Patterns(torch.stack(kept), torch.stack(open_keys))
