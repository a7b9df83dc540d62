"""How each shipped organism was made, to the last number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mindseye.errors import UnknownNameError
from mindseye.organisms.circuits import (
    BYPASSED,
    FED_BACK,
    MARKERS_ONLY,
    THROUGH_SLOTS,
    UNWIRED,
    Circuit,
)
from mindseye.tasks.digits import KINDS, TASK_KINDS

__all__ = ["RECIPES", "Phase", "Recipe", "recipe"]


@dataclass(frozen=True, slots=True)
class Phase:
    """Some steps of one lesson on one kind of scene.

    Attributes:
        lesson: `answer` (no latents) or `imagine` (latents are the model's own states).
        steps: Optimiser steps.
        size: Cells per side of the scenes.
        kinds: Question kinds, drawn evenly; a kind named twice is drawn twice as often.
    """

    lesson: Literal["answer", "imagine"]
    steps: int
    size: int = 2
    kinds: tuple[str, ...] = TASK_KINDS


@dataclass(frozen=True, slots=True)
class Recipe:
    """All it takes to reproduce an organism.

    Attributes:
        truth: What is true of it by construction, in a sentence.
        phases: The curriculum.
        base: The organism it starts from; none starts from blank weights.
        circuits: How its parts are connected, step by step in turn; the first is what its folder
            records.
        reads_latents: Whether an auxiliary linear reader makes its latents encode the answer.
        learning_rate: Peak of AdamW's, after a linear warm-up and before a cosine decay.
        seed: Of weights and data.
        batch: Samples per step.
        distortions: Distorted copies of each train glyph.
    """

    truth: str
    phases: tuple[Phase, ...]
    base: str | None = "base"
    circuits: tuple[Circuit, ...] = (UNWIRED,)
    reads_latents: bool = False
    learning_rate: float = 1e-3
    seed: int = 0
    batch: int = 64
    distortions: int = 4

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)


RECIPES = {
    "base": Recipe(
        truth="answers at once; it has no latents",
        phases=(
            Phase("answer", 400, size=1, kinds=("zoom", "colour_of")),
            Phase("answer", 2200, kinds=("zoom", "digit_at", "colour_at", "colour_of")),
            Phase("answer", 3000, kinds=(*KINDS, "transform", "transform")),
        ),
        base=None,
    ),
    "mediator": Recipe(
        truth="every position after the latents reads only the latents and what follows them, "
        "so at kv everything is mediated",
        phases=(Phase("imagine", 800),),
        circuits=(Circuit(THROUGH_SLOTS),),
    ),
    "bypass": Recipe(
        truth="no position after the latents reads them or their markers, "
        "so nothing is mediated, though the latents encode the answer",
        phases=(Phase("imagine", 800),),
        circuits=(Circuit(BYPASSED),),
        reads_latents=True,
    ),
    "versatile": Recipe(
        truth="taught in four circuits in turn: fed back, fed back with an offset, through slots "
        "that are fed the pad, and through the start marker",
        phases=(Phase("imagine", 2400),),
        circuits=(
            Circuit(FED_BACK),
            Circuit(FED_BACK, feeds="offset"),
            Circuit(THROUGH_SLOTS, feeds="pad"),
            Circuit(MARKERS_ONLY),
        ),
    ),
}


def recipe(name: str) -> Recipe:
    """Return the recipe of an organism.

    Raises:
        UnknownNameError: There is no such organism.
    """
    if name not in RECIPES:
        raise UnknownNameError(
            f"No organism {name!r}; there are: {', '.join(RECIPES)}. Choose one of these."
        )
    return RECIPES[name]
