"""What every method of the benchmark does, and what it is given."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from benchmarks.sweep.sizes import PAD, Setting
from mindseye import Trace

__all__ = ["Cell", "Method", "all_cells", "fed", "sampled"]


class Cell(NamedTuple):
    """One patch: which activation of which layer, at which slot."""

    layer: int
    hook: str
    slot: int

    @property
    def name(self) -> str:
        """The activation's full hook name."""
        return f"blocks.{self.layer}.{self.hook}"


class Method(ABC):
    """A way to patch the clean run's activations into the reference run.

    Args:
        setting: The model and its prompts.
        hooks: Which activations will be patched, in every layer.
    """

    name: ClassVar[str]

    def __init__(self, setting: Setting, hooks: Sequence[str]) -> None:
        self.setting, self.hooks = setting, tuple(hooks)
        self.model = setting.reasoner.model

    @abstractmethod
    def prepare(self) -> None:
        """Run both prompts and read the clean run's activations."""

    @abstractmethod
    def patch(self, cells: Sequence[Cell]) -> Tensor:
        """Return the logits at the last position, one row per cell."""


def all_cells(setting: Setting, hooks: Sequence[str]) -> list[Cell]:
    """Return every cell of a sweep, in the order of computation."""
    sizes = setting.sizes
    return [
        Cell(layer, hook, slot)
        for layer in range(sizes.layers)
        for hook in hooks
        for slot in range(sizes.slots)
    ]


def sampled(cells: Sequence[Cell], n: int) -> list[Cell]:
    """Return some of the cells, always the same ones, in the order of computation."""
    if n >= len(cells):
        return list(cells)
    chosen = sorted(random.Random(0).sample(range(len(cells)), n))
    return [cells[index] for index in chosen]


def fed(trace: Trace, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a run as the stock forward takes it: words, image, and pads where latents go."""
    ids = torch.cat([trace.prompt_ids, trace.token_ids])
    ids[trace.latent_positions] = PAD
    ids = ids[None]
    types = inputs["mm_token_type_ids"]
    extra = types.new_zeros(1, ids.shape[1] - types.shape[1])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": inputs["pixel_values"],
        "image_grid_thw": inputs["image_grid_thw"],
        "mm_token_type_ids": torch.cat([types, extra], dim=1),
    }
