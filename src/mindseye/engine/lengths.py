"""The number of latents as a mediator of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mindseye.engine.cells import Cells
from mindseye.engine.exact import Branch, compute, snapshot
from mindseye.engine.twins import Twins
from mindseye.errors import EditError
from mindseye.reasoners import Reasoner, Trace
from mindseye.reasoners.trace import Settings
from mindseye.samples import Sample

__all__ = ["LENGTH", "length_cells", "of_length"]

LENGTH = "length"
"""The level at which only the number of slots is exchanged; each run fills them itself."""


def of_length(reasoner: Reasoner, n_slots: int) -> Reasoner:
    """Return a reasoner whose every segment has so many latents, whatever would have ended it."""
    marked = reasoner.tokens.end is not None
    protocol = replace(
        reasoner.protocol,
        n_slots=n_slots,
        end_by_token=False,
        end_by_vector=None,
        n_repeat=None,
        at_stop="force_end" if marked else reasoner.protocol.at_stop,
    )
    return replace(reasoner, protocol=protocol)


def length_cells(
    reasoner: Reasoner, twins: Twins, fed: Sequence[int], *, read: Sequence[int] = (-1,)
) -> tuple[Cells, list[list[Trace]]]:
    """Compute Y(x_i, K(x_j)): each input run again with either run's number of slots.

    Args:
        reasoner: What runs.
        twins: The pair's runs.
        fed: Ids fed after the last segment before the outcome is read.
        read: Positions whose logits are wanted, counted from the end.

    Returns:
        The cells, and the runs behind them, by input, then by whose length it is.

    Raises:
        EditError: A run has several segments, whose lengths one number does not give.
    """
    if any(len(trace.segments) != 1 for trace in twins.said):
        raise EditError(
            f"Pair {twins.pair.id!r} has runs of {[len(t.segments) for t in twins.said]} segments; "
            "length is exchanged between runs of one segment each. Leave the level out."
        )
    samples = (twins.pair.reference, twins.pair.clean)
    said = twins.said[::-1]
    lengths = [len(trace.latent_positions) for trace in said]
    runs = [
        [_run(of_length(reasoner, n), sample, trace.settings) for n in lengths]
        for sample, trace in zip(samples, said, strict=True)
    ]
    logits = [[_read(run.until_answer(fed), read) for run in row] for row in runs]
    own = [_read(trace.until_answer(fed), read) for trace in said]
    cells = Cells(
        crossed=torch.stack([torch.stack(row) for row in logits]),
        unedited=torch.stack(own),
        edits=([], []),
        moved=float(abs(lengths[0] - lengths[1])),
        missed=float(
            max(abs(len(runs[i][j].latent_positions) - lengths[j]) for i in (0, 1) for j in (0, 1))
        ),
    )
    return cells, runs


def _run(reasoner: Reasoner, sample: Sample, settings: Settings) -> Trace:
    return reasoner.run(
        sample,
        max_new_tokens=settings.max_new_tokens,
        force_start=settings.force_start,
        past_key_values=True,
    )


def _read(trace: Trace, read: Sequence[int]) -> torch.Tensor:
    held = snapshot(trace, min(trace.n_prompt, len(trace.labels) + min(read)))
    return compute(held, [Branch()], read=read).logits[0]
