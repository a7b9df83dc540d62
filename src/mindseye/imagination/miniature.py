"""The comparison in miniature: one base, the same items, the same steps, other ways to imagine.

What is compared on real models was trained by different people on different data. Here a model
that imagines in latents, one that imagines in words and one that answers at once differ in nothing
else: recipe, items, their order and the number of steps are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindseye.errors import UnknownNameError
from mindseye.imagination.training import LatentPlan, Recipe, Trained, train
from mindseye.samples import Sample
from mindseye.tasks.digits import TASK_KINDS, Digits

__all__ = ["KINDS", "MINIATURES", "SEEDS", "items", "miniature", "train_miniature"]

SEEDS = (0, 1, 2)

_STEPS, _BATCH, _EPOCHS, _HELD_OUT = 900, 64, 2, 256
_DISTORTIONS = 4
"""Of each train glyph, as for the base."""

KINDS = (*TASK_KINDS, "sort")
"""The base answers the first two at once; the third takes several steps and is new to it."""

MINIATURES: Mapping[str, Mapping[str, Any]] = {
    "natural": {
        "imagination": "latent",
        "answer_format": "plain",
        "latent": LatentPlan(method="mirage", n_slots=4),
    },
    "capimagine": {"imagination": "text", "answer_format": "hash"},
    "captioner": {"imagination": "text", "answer_format": "hash", "answers_from": "words"},
    "direct": {"imagination": "none", "answer_format": "plain"},
}
"""What each arm has of its own; words need a mark to end by, and `#` is the shortest."""


def miniature(arm: str, seed: int = 0) -> Recipe:
    """Return the recipe of one arm.

    Args:
        arm: One of `MINIATURES`.
        seed: Of the items, their order and the split.

    Raises:
        UnknownNameError: There is no such arm.
    """
    if arm not in MINIATURES:
        raise UnknownNameError(
            f"No miniature {arm!r}; there are {', '.join(MINIATURES)}. Choose one of these."
        )
    return Recipe(
        model="organism:base",
        global_batch=_BATCH,
        micro_batch=_BATCH,
        max_steps=_STEPS,
        learning_rate=1e-3,
        warm_up_steps=50,
        precision="fp32",
        gradient_checkpointing=False,
        max_pixels=None,
        held_out=_HELD_OUT,
        evaluate_every=300,
        max_new_tokens=64,
        evaluation_batch=64,
        seed=seed,
        **MINIATURES[arm],
    )


def items(seed: int = 0) -> list[Sample]:
    """Return what every arm is trained on: training handwriting, each item seen twice."""
    n = _STEPS * _BATCH // _EPOCHS + _HELD_OUT
    return Digits(kinds=KINDS, distortions=_DISTORTIONS).samples(n, split="train", seed=seed)


def train_miniature(arm: str, out: Path, *, seed: int = 0, until: int | None = None) -> Trained:
    """Train one arm into a folder, going on from its checkpoints if there are any.

    Args:
        arm: One of `MINIATURES`.
        out: Folder to write, weights in half precision once training is finished.
        seed: Of the items, their order and the split.
        until: Stop after this many steps; none trains to the end.

    Raises:
        UnknownNameError: There is no such arm.
        ModelError: `out` holds checkpoints of another recipe.
    """
    recipe = miniature(arm, seed)
    found = train(recipe, items(seed), out, until=until)
    if found.steps == _STEPS:
        _halve(out)
    return found


def _halve(folder: Path) -> None:
    """Store the weights in half precision, as those of the other organisms are."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype="float16")
    model.save_pretrained(folder)
