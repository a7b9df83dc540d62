"""Outcomes of edited runs with their gradients: the tail decoded once, differentiably."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.engine.contrast import Outcome
from mindseye.engine.exact import Snapshot, check_exact, snapshot
from mindseye.engine.twins import Twins
from mindseye.reasoners.attention import Rectangle, intercepted
from mindseye.reasoners.hooks import Visit, hooked
from mindseye.reasoners.spans import SPANS

__all__ = ["differentiable", "tail_logits"]


def tail_logits(
    held: Snapshot, n_rows: int, visits: Mapping[str, Visit]
) -> Float[Tensor, "rows vocab"]:
    """Return the logits that end a run, its tail decoded again with functions on hook points.

    Gradients flow from them to whatever the functions brought in.

    Args:
        held: The run, whose prefix stays as it was.
        n_rows: Rows of the tail.
        visits: By hook name.

    Raises:
        EngineError: The model's attention cannot be intercepted, or it answers from two routes.
    """
    check_exact(held)
    trace = held.trace
    reasoner = trace.reasoner
    model, architecture = reasoner.model, reasoner.architecture
    tail = trace.prefill().part(held.start, len(trace.labels)).repeat(n_rows)
    bias = architecture.bias(
        model,
        trace.labels[None],
        trace.prefill().image_mask,
        held.n_tail,
        reasoner.wiring,
        tail.embeds.dtype,
    )
    with torch.enable_grad(), intercepted(model), hooked(model, architecture, dict(visits)):
        every = [each.expand(n_rows, -1, -1, -1) for each in bias]
        states = architecture.decode(model, tail, every, reading=Rectangle(held.prefix))[:, -1]
        at_slot = (trace.labels[-1:] == SPANS.index("latents")).expand(n_rows)
        return reasoner.unembed(reasoner.feedback().settle(states, at_slot))


def differentiable(
    twins: Twins, outcome: Outcome
) -> Callable[[Float[Tensor, "rows slots d_model"]], Float[Tensor, " rows"]]:
    """Return what the clean run's outcome would be if its slots were fed other vectors.

    Args:
        twins: The pair's runs.
        outcome: One that reads logits where the answers part.
    """
    clean = twins.clean
    slots = clean.latent_positions
    held = snapshot(clean, int(slots.min()))
    columns = held.columns(slots)

    def value(vectors: Float[Tensor, "rows slots d_model"]) -> Float[Tensor, " rows"]:
        def feed(activation: Tensor) -> Tensor:
            return activation.index_copy(1, columns, vectors.to(activation))

        return outcome(tail_logits(held, len(vectors), {"hook_embed": feed}), twins.parting)

    return value
