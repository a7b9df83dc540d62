"""The ladder of mediators: what of a donor run is put into another, at each level.

`embedding` pins the fed-back vectors and lets the slots recompute; `kv` pins all that later
positions can read from the slots; `span` pins the same of the two markers as well. A level is a set
of edits over an open-loop run, so all levels go through one code path.
"""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from mindseye.engine.snapshots import Snapshot
from mindseye.errors import EditError
from mindseye.reasoners import Edit, Reasoner, Trace
from mindseye.reasoners.spans import positions

__all__ = [
    "LEVELS",
    "aligned",
    "check_aligned",
    "check_level",
    "level_positions",
    "mediator_hooks",
    "transplant",
]

LEVELS = ("embedding", "kv", "span")

_SPAN = {"embedding": "latents", "kv": "latents", "span": "segment"}


def check_level(level: str) -> None:
    """Refuse a level that does not exist.

    Raises:
        EditError: No such level.
    """
    if level not in LEVELS:
        raise EditError(f"No level {level!r}; there are {', '.join(LEVELS)}. Pass one of these.")


def mediator_hooks(reasoner: Reasoner, level: str) -> list[str]:
    """Return the hook names that hold the mediator of a level.

    Raises:
        EditError: No such level.
    """
    check_level(level)
    if level == "embedding":
        return ["hook_embed"]
    n_layers = len(reasoner.architecture.blocks(reasoner.model))
    return [f"blocks.{i}.attn.hook_{what}" for i in range(n_layers) for what in ("k", "v")]


def level_positions(labels: Int[Tensor, " seq"], level: str) -> Int[Tensor, " found"]:
    """Return the positions that hold the mediator of a level."""
    return positions(labels, _SPAN[level])


def transplant(level: str, donor: Snapshot, recipient: Trace) -> list[Edit]:
    """Return the edits that give `recipient` the mediator of `donor`.

    Args:
        level: A name of `LEVELS`.
        donor: Of the run the mediator is taken from, with the level's hooks recorded.
        recipient: The run it is put into.

    Raises:
        EditError: The two segments do not stand at the same positions.
    """
    check_aligned(donor.trace, recipient)
    where = level_positions(recipient.labels, level)
    return [
        Edit(hook, where, donor.at(hook, where))
        for hook in mediator_hooks(recipient.reasoner, level)
    ]


def aligned(one: Trace, other: Trace) -> bool:
    """Say whether two runs' segments stand at the same places, in slots and in position ids."""
    here, there = (positions(trace.labels, "segment") for trace in (one, other))
    if len(here) != len(there) or not bool((here == there).all()):
        return False
    return bool((one.position_ids[:, here] == other.position_ids[:, there]).all())


def check_aligned(donor: Trace, recipient: Trace) -> None:
    """Make sure that two runs' segments stand at the same places.

    Raises:
        EditError: They differ in slots or in position ids.
    """
    if not aligned(donor, recipient):
        one, other = (positions(trace.labels, "segment") for trace in (donor, recipient))
        raise EditError(
            f"Runs {donor.sample.id!r} and {recipient.sample.id!r} have segments at positions "
            f"{one.tolist()} and {other.tolist()} or other rotary positions there; a transplant "
            "needs equal ones. Pair samples of one image grid, question length and slot count."
        )
