"""One stock block, called on variants of a few positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.engine.exact.snapshots import Snapshot, check_exact
from mindseye.reasoners.attention import intercepted
from mindseye.reasoners.hooks import Visit, hooked

__all__ = ["through_block"]


@torch.no_grad()
def through_block(
    held: Snapshot,
    layer: int,
    where: Int[Tensor, " found"],
    *,
    stream: Float[Tensor, "variants found d_model"] | None = None,
    edits: Mapping[str, Float[Tensor, "variants found ..."]],
    record: Sequence[str],
) -> dict[str, Float[Tensor, "variants found ..."]]:
    """Return what parts of a block make of variants of its input, attention patterns aside.

    Nothing is attended to: what is recorded must not hang on the attention's result, unless that
    is edited.

    Args:
        held: Whose positions, and so rotary angles, these are.
        layer: The block.
        where: Positions of the run.
        stream: What the block receives; what it did receive if left out.
        edits: What to set within the block, by hook name without the block.
        record: What to keep, likewise.

    Returns:
        What was recorded, and under `keys` and `values` what would be attended to, rotated.

    Raises:
        EngineError: The model's attention cannot be intercepted.
    """
    check_exact(held)
    reasoner = held.trace.reasoner
    model, architecture = reasoner.model, reasoner.architecture
    columns = held.columns(where)
    n_variants = len(stream) if stream is not None else len(next(iter(edits.values())))
    if stream is None:
        stream = held.residuals[layer][columns].expand(n_variants, -1, -1)
    shape = (n_variants, len(columns))
    kept: dict[str, Tensor] = {}

    def visit(name: str) -> Visit:
        def keep(activation: Tensor) -> Tensor | None:
            new = edits[name].flatten(0, 1)[None].to(activation) if name in edits else None
            kept[name] = (activation if new is None else new)[0].clone()
            return new

        return keep

    def reading(
        _layer: int, query: Tensor, key: Tensor, value: Tensor, *_rest: object
    ) -> Float[Tensor, "1 rows heads d_head"]:
        kept["keys"], kept["values"] = key[0].transpose(0, 1), value[0].transpose(0, 1)
        return torch.zeros_like(query).transpose(1, 2)

    visits = {f"blocks.{layer}.{name}": visit(name) for name in {*edits, *record}}
    with intercepted(model), hooked(model, architecture, visits):
        architecture.blocks(model)[layer](
            stream.flatten(0, 1)[None],
            attention_mask=None,
            reading=reading,
            **held.options(layer, columns.repeat(n_variants)),
        )
    return {name: each.unflatten(0, shape) for name, each in kept.items()}
