"""The mediator pinned to what it would hold if the slots were fed something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mindseye.engine.exact import DEFAULT_BUDGET, Branch, compute, snapshot
from mindseye.engine.levels import level_positions, mediator_hooks
from mindseye.engine.twins import Twins
from mindseye.reasoners import Edit

__all__ = ["Pins", "pinned"]


@dataclass(frozen=True, slots=True, eq=False)
class Pins:
    """What pins a pair's mediator.

    Attributes:
        edits: By level and by what was fed; they go into either run of the pair.
        fired: By name, the largest change of what slots show in the first layer, in the run that
            was fed.
    """

    edits: dict[tuple[str, str], list[Edit]]
    fired: dict[str, float]


def pinned(
    twins: Twins,
    fed: Mapping[str, Float[Tensor, "slots d_model"]],
    levels: Sequence[str],
    start: int,
    budget: int = DEFAULT_BUDGET,
) -> Pins:
    """Return what pins the mediator at every level, by what is fed.

    At `embedding` these are the vectors themselves. Deeper levels hold what the slots hold in the
    *reference* run when it is fed them, so that nothing of the clean image remains.

    Args:
        twins: The pair's runs.
        fed: What is fed, by name.
        levels: What counts as the mediator.
        start: Where the levels' positions begin.
        budget: Most bytes of activations at a time.
    """
    reference, first = twins.reference, "blocks.0.attn.hook_v"
    slots = twins.clean.latent_positions
    hooks = {level: mediator_hooks(reference.reasoner, level) for level in levels}
    deeper = sorted({first, *(h for each in hooks.values() for h in each)} - {"hook_embed"})
    held = snapshot(reference, start, record=[first])
    feeding = [Branch([Edit("hook_embed", slots, vectors)]) for vectors in fed.values()]
    left = compute(held, feeding, record=deeper, budget=budget).activations
    shown = left[first][:, held.columns(slots)] - held.at(first, slots)
    edits = {}
    for level in levels:
        where = level_positions(reference, level)
        columns = held.columns(where)
        for index, (name, vectors) in enumerate(fed.items()):
            edits[level, name] = (
                [Edit("hook_embed", slots, vectors)]
                if level == "embedding"
                else [Edit(hook, where, left[hook][index, columns]) for hook in hooks[level]]
            )
    fired = shown.abs().flatten(1).amax(dim=1).tolist()
    return Pins(edits, dict(zip(fed, fired, strict=True)))
