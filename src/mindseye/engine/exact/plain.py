"""The plain way: every branch as a whole run. Slow, and right on any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mindseye.engine.exact.branches import Branch, Computed, Reduce, after_removal
from mindseye.errors import EngineError
from mindseye.reasoners import Edit, Trace
from mindseye.reasoners.spans import SPANS

__all__ = ["compute_plainly"]


@torch.no_grad()
def compute_plainly(
    trace: Trace,
    branches: Sequence[Branch],
    *,
    read: Sequence[int],
    reduce: Reduce | None = None,
    record: Sequence[str] = (),
    since: int = 0,
) -> Computed:
    """Compute branches one at a time, each in one forward pass of hooks; as `compute` otherwise.

    Args:
        trace: The run.
        branches: What to change.
        read: Positions whose logits are wanted.
        reduce: What to make of them.
        record: Hook names to keep, from position `since` on.
        since: Where the tail begins.

    Raises:
        EngineError: A branch patches edges, which takes a model whose attention is intercepted.
    """
    from mindseye.engine.exact import Computed

    outs: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {name: [] for name in record}
    for branch in branches:
        if branch.patches:
            raise EngineError(
                f"{trace.reasoner.name!r} has an attention that cannot be intercepted, so edges "
                "cannot be patched in it. Cut them with a Knockout, or patch whole activations."
            )
        run, moved = _removed(trace, branch)
        replay = trace.reasoner.replay(
            run,
            [[_moved(edit, moved) for edit in branch.edits]],
            knockouts=[after_removal(cut, moved) for cut in branch.knockouts],
            record=record,
        )
        places = [int(moved[place]) for place in read]
        states, slots = replay.states[:, places], run.labels[places]
        logits = trace.reasoner.unembed(
            trace.reasoner.feedback().settle(
                states, (slots == SPANS.index("latents")).expand(1, -1)
            )
        )
        outs.append(logits if reduce is None else reduce(logits))
        for name in record:
            kept[name].append(replay.activations[name][:, since:])
    return Computed(torch.cat(outs), {name: torch.cat(parts) for name, parts in kept.items()})


def _removed(trace: Trace, branch: Branch) -> tuple[Trace, Tensor]:
    """Return the run without what a branch removes, and where each position has gone; -1 is out."""
    kept = torch.ones_like(trace.labels, dtype=torch.bool)
    if branch.removed is None:
        return trace, torch.arange(len(kept), device=kept.device)
    kept[branch.removed] = False
    moved = (kept.cumsum(dim=0) - 1).masked_fill(~kept, -1)
    return trace.without(branch.removed), moved


def _moved(edit: Edit, moved: Tensor) -> Edit:
    return replace(edit, positions=moved[edit.positions])
