"""The ladder of mediators: what of a donor run is put into another, at each level.

`embedding` pins the fed-back vectors and lets the slots recompute; `residual:3` pins what the slots
hold as they enter layer 3; `kv` pins all that later positions can read from the slots; `span` pins
the same of the two markers as well, and `suffix` that of everything generated before the position
at which the outcome is read. A level is a set of edits over an open-loop run, so all levels go
through one code path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from jaxtyping import Int
from torch import Tensor

from mindseye.engine.exact import Snapshot
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
    "tail_start",
    "transplant",
]

LEVELS = ("embedding", "kv", "span")
"""Those reported by default; there are `residual:LAYER` and `suffix` besides."""

_RESIDUAL = re.compile(r"residual:(\d+)")


def check_level(reasoner: Reasoner, level: str) -> None:
    """Refuse a level that does not exist.

    Raises:
        EditError: No such level, or no such layer.
    """
    n_layers = len(reasoner.architecture.blocks(reasoner.model))
    match = _RESIDUAL.fullmatch(level)
    if level in (*LEVELS, "suffix") or (match and int(match[1]) < n_layers):
        return
    raise EditError(
        f"No level {level!r}; there are {', '.join(LEVELS)}, suffix, and residual:0 to "
        f"residual:{n_layers - 1}. Pass one of these."
    )


def mediator_hooks(reasoner: Reasoner, level: str) -> list[str]:
    """Return the hook names that hold the mediator of a level.

    Raises:
        EditError: No such level.
    """
    check_level(reasoner, level)
    if level == "embedding":
        return ["hook_embed"]
    match = _RESIDUAL.fullmatch(level)
    if match:
        return [f"blocks.{match[1]}.hook_resid_pre"]
    n_layers = len(reasoner.architecture.blocks(reasoner.model))
    return [f"blocks.{i}.attn.hook_{what}" for i in range(n_layers) for what in ("k", "v")]


def level_positions(trace: Trace, level: str) -> Int[Tensor, " found"]:
    """Return the positions that hold the mediator of a level, in a run cut where it is read."""
    if level == "suffix":
        n_seq = len(trace.labels)
        return torch.arange(trace.n_prompt, n_seq - 1, device=trace.labels.device)
    return positions(trace.labels, "segment" if level == "span" else "latents")


def tail_start(trace: Trace, levels: Iterable[str]) -> int:
    """Return where a snapshot must begin for these levels, or for a whole segment."""
    return min(int(level_positions(trace, level).min()) for level in ("span", *levels))


def transplant(level: str, donor: Snapshot, recipient: Trace) -> list[Edit]:
    """Return the edits that give `recipient` the mediator of `donor`.

    Args:
        level: What is taken, as above.
        donor: Of the run the mediator is taken from, with the level's hooks recorded.
        recipient: The run it is put into.

    Raises:
        EditError: The two mediators do not stand at the same positions.
    """
    check_aligned(donor.trace, recipient)
    where, there = (level_positions(trace, level) for trace in (recipient, donor.trace))
    if where.tolist() != there.tolist():
        raise EditError(
            f"Runs {donor.trace.sample.id!r} and {recipient.sample.id!r} have {len(there)} and "
            f"{len(where)} positions at level {level!r}; a transplant needs equal ones. Leave the "
            "level out, or pair samples whose runs say equally much."
        )
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
