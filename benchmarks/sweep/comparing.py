"""Our sweep and its peers, on the same cells."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.sweep.bound import bound, decoder
from benchmarks.sweep.lens import Lens
from benchmarks.sweep.measuring import in_turns, median_seconds, peak
from benchmarks.sweep.methods import Method, all_cells, sampled
from benchmarks.sweep.ours import Ours
from benchmarks.sweep.raw import DecoderHooks, RawHooks
from benchmarks.sweep.sizes import Setting
from benchmarks.sweep.with_nnsight import NnsightCells, NnsightRows

__all__ = ["METHODS", "compare", "decoder_rate"]

METHODS: tuple[type[Method], ...] = (
    Ours,
    RawHooks,
    DecoderHooks,
    NnsightCells,
    NnsightRows,
    Lens,
)


def compare(
    setting: Setting,
    hooks: Sequence[str],
    methods: Sequence[type[Method]] = METHODS,
    *,
    n_sampled: int,
    times: int,
    rate: float,
) -> list[dict[str, Any]]:
    """Time every method on one sweep.

    A peer computes every cell in the same way, so it is timed on a fixed sample of them and its
    time is scaled to all; ours computes all of them.

    Args:
        setting: The model and its prompts.
        hooks: What is patched, in every layer and at every slot.
        methods: What is compared; the first is ours, the second what all are held against.
        n_sampled: Most cells that a peer computes.
        times: How often each is timed.
        rate: Floating-point operations per second of the plain decoder.
    """
    cells = all_cells(setting, hooks)
    chosen = sampled(cells, n_sampled)
    rows = [cells.index(cell) for cell in chosen]
    ready = [method(setting, hooks) for method in methods]
    ours, raw = ready[0], ready[1]
    assert isinstance(ours, Ours)
    assert isinstance(raw, RawHooks)
    asked = {each.name: cells if each is ours else chosen for each in ready}
    logits = {}
    for each in ready:
        each.prepare()
        found = each.patch(asked[each.name])
        logits[each.name] = found[rows] if each is ours else found
    works = {}
    for each in ready:
        works[each.name, "prepare"] = each.prepare
        works[each.name, "patch"] = lambda each=each: each.patch(asked[each.name])
    times_of = in_turns(works, times)
    unpatched = raw.unpatched()
    effect = (logits[raw.name] - unpatched).abs().max()
    rounding = (ours.unpatched() - unpatched).abs().max()
    table = []
    for each in ready:
        n_cells = len(asked[each.name])
        before = statistics.median(times_of[each.name, "prepare"])
        patching = statistics.median(times_of[each.name, "patch"]) * len(cells) / n_cells
        table.append(
            {
                "method": each.name,
                "sites": len(cells),
                "cells_run": n_cells,
                "seconds": before + patching,
                "seconds_runs": before,
                "seconds_cells": patching,
                "difference": float((logits[each.name] - logits[raw.name]).abs().max()),
                "largest_effect": float(effect),
                "rounding": float(rounding),
                "peak_bytes": _peak(each, asked[each.name][:8] if each is not ours else cells),
            }
        )
    first = table[0]
    for row in table:
        row["ratio"] = row["seconds"] / first["seconds"]
    start, length = int(ours.slots[0]), len(ours.held.trace.labels)
    first["bound_seconds"] = bound(setting.sizes, cells, start, length) / rate
    first["cells_to_bound"] = first["seconds_cells"] / first["bound_seconds"]
    return table


@torch.no_grad()
def decoder_rate(setting: Setting, times: int) -> float:
    """Return how many floating-point operations per second a plain decoder forward does."""
    trace = setting.run(setting.reference)
    taken = median_seconds(
        lambda: setting.reasoner.model.model.language_model(
            inputs_embeds=trace.embeds[None],
            position_ids=trace.position_ids[:, None],
            use_cache=False,
        ),
        times,
    )
    return decoder(setting.sizes, len(trace.labels)) / taken


def _peak(method: Method, cells: Sequence[Any]) -> int | None:
    def work() -> None:
        method.prepare()
        method.patch(cells)

    return peak(work)
