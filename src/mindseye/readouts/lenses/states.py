"""What a lens is pointed at: latents, and what each block makes of them at their slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindseye.errors import EditError
from mindseye.reasoners import Reasoner, Trace
from mindseye.reasoners.spans import SPANS

__all__ = ["LATENT", "States", "checked_layers", "gather", "n_layers", "permuted"]

LATENT = -1
"""The layer under which a latent itself is listed, before any block has read it."""


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Vectors of one layer, a row for every run and slot.

    Attributes:
        layer: The block whose output they are, or `LATENT`.
        vectors: On the CPU, as the model produced them.
        fed: What the decoder received at the slots, after any map; only of `LATENT`.
        runs: Which run each row is of.
        slots: Which slot, counted over all segments of the run.
        normed: Whether the final norm is already in them.
        at_slots: Which rows stand at a slot themselves. A latent is the state of the position
            before its slot, which for the first one is a marker or a word.
    """

    layer: int
    vectors: Float[Tensor, "rows d_model"]
    fed: Float[Tensor, "rows d_model"]
    runs: Int[np.ndarray, " rows"]
    slots: Int[np.ndarray, " rows"]
    normed: bool
    at_slots: Bool[Tensor, " rows"]


def n_layers(reasoner: Reasoner) -> int:
    """Return how many blocks the decoder has."""
    return len(reasoner.architecture.blocks(reasoner.model))


def checked_layers(reasoner: Reasoner, layers: Sequence[int], least: int = LATENT) -> list[int]:
    """Return layers, sorted, each once.

    Raises:
        EditError: The model lacks one of them, or there is none.
    """
    wanted, most = sorted(set(layers)), n_layers(reasoner) - 1
    if not wanted or wanted[0] < least or wanted[-1] > most:
        latents = f", and {LATENT} for the latents themselves" if least == LATENT else ""
        raise EditError(
            f"Layers {list(layers)} were given; this model has {max(least, 0)} to {most}{latents}. "
            "Pass some of these."
        )
    return wanted


@torch.no_grad()
def gather(reasoner: Reasoner, traces: Sequence[Trace], layers: Sequence[int]) -> list[States]:
    """Collect latents and what the blocks make of them; one replay per run, none for latents alone.

    Where latents are ordinary tokens, the latent is the post-norm state its token was read from.

    Args:
        reasoner: What ran.
        traces: Runs with latents.
        layers: As `checked_layers` returns them.
    """
    source = reasoner.protocol.source
    hooks = {layer: f"blocks.{layer}.hook_resid_post" for layer in layers if layer != LATENT}
    tokens = LATENT in layers and source == "token_embedding"
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for trace in traces:
        slots = trace.latent_positions
        if hooks or tokens:
            replay = reasoner.replay(trace, record=list(hooks.values()))
            for layer, hook in hooks.items():
                found[layer].append(replay.activations[hook][0][slots].cpu())
            if tokens:
                found[LATENT].append(replay.states[0][_sources(trace)].cpu())
        if LATENT in layers and not tokens:
            found[LATENT].append(trace.latents.cpu())
    counts = [len(trace.latent_positions) for trace in traces]
    fed = torch.cat([trace.fed_latents.cpu() for trace in traces])
    after = torch.cat([(t.labels[_sources(t)] == SPANS.index("latents")).cpu() for t in traces])
    return [
        States(
            layer=layer,
            vectors=torch.cat(found[layer]),
            fed=fed,
            runs=np.repeat(np.arange(len(traces)), counts),
            slots=np.concatenate([np.arange(n) for n in counts]),
            normed=layer == LATENT and source in ("post_norm", "token_embedding"),
            at_slots=after if layer == LATENT else torch.ones_like(after),
        )
        for layer in layers
    ]


def permuted(
    vectors: Float[Tensor, "rows d_model"], generator: torch.Generator
) -> Float[Tensor, "rows d_model"]:
    """Return vectors of the same entries in random order, a draw of its own for every row."""
    order = torch.rand(vectors.shape, generator=generator).argsort(dim=-1)
    return vectors.gather(-1, order)


def _sources(trace: Trace) -> Int[Tensor, " slots"]:
    """Return the positions whose states the latents are."""
    return trace.latent_positions - 1
