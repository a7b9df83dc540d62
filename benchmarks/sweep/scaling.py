"""How the edited part of our sweep grows, against its bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from benchmarks.sweep.bound import bound
from benchmarks.sweep.comparing import decoder_rate
from benchmarks.sweep.measuring import median_seconds
from benchmarks.sweep.methods import Cell, all_cells
from benchmarks.sweep.ours import Ours
from benchmarks.sweep.sizes import Setting, Sizes, build

__all__ = ["by_depth", "by_layer", "by_prefix", "by_sites"]

RESID = ("hook_resid_pre",)
SIX = (
    *RESID,
    "hook_attn_out",
    "hook_mlp_out",
    "hook_resid_mid",
    "hook_resid_post",
    "attn.hook_z",
)


def by_prefix(sizes: Sizes, prompts: Sequence[int], times: int) -> list[dict[str, Any]]:
    """Time 96 sites after prompts of several lengths."""
    return [
        _one(dataclasses.replace(sizes, prompt=prompt, grid=None), "prompt", prompt, times)
        for prompt in prompts
    ]


def by_depth(sizes: Sizes, depths: Sequence[int], times: int) -> list[dict[str, Any]]:
    """Time all slots of all layers in models of several depths."""
    return [
        _one(dataclasses.replace(sizes, layers=depth), "layers", depth, times) for depth in depths
    ]


def by_sites(setting: Setting, times: int) -> list[dict[str, Any]]:
    """Time more and more sites of one model: half its layers, all, then two to six hooks."""
    half = [cell for cell in all_cells(setting, RESID) if cell.layer % 2]
    wider = [all_cells(setting, SIX[:n]) for n in (1, 2, 3, 6)]
    ours, rate = _ready(setting, SIX), decoder_rate(setting, times)
    return [_point(ours, cells, rate, "sites", len(cells), times) for cells in [half, *wider]]


def by_layer(setting: Setting, times: int) -> list[dict[str, Any]]:
    """Time the slots of each layer alone."""
    ours, rate = _ready(setting, RESID), decoder_rate(setting, times)
    cells = all_cells(setting, RESID)
    return [
        _point(ours, [cell for cell in cells if cell.layer == layer], rate, "layer", layer, times)
        for layer in range(setting.sizes.layers)
    ]


def _one(sizes: Sizes, name: str, value: int, times: int) -> dict[str, Any]:
    setting = build(sizes)
    rate = decoder_rate(setting, times)
    return _point(_ready(setting, RESID), all_cells(setting, RESID), rate, name, value, times)


def _ready(setting: Setting, hooks: Sequence[str]) -> Ours:
    ours = Ours(setting, hooks)
    ours.prepare()
    return ours


def _point(
    ours: Ours, cells: Sequence[Cell], rate: float, name: str, value: int, times: int
) -> dict[str, Any]:
    taken = median_seconds(lambda: ours.patch(cells), times)
    length = len(ours.held.trace.labels)
    least = bound(ours.setting.sizes, cells, int(ours.slots[0]), length) / rate
    return {name: value, "cells": len(cells), "seconds": taken, "bound_seconds": least}
