"""A blank Qwen2.5-VL on disk, recipes small enough for it, and digits to train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mindseye.imagination.training.data import open_rows
from mindseye.imagination.training.encoding import TextCollator, end_of_turn
from mindseye.imagination.training.recipe import LatentPlan, Recipe
from mindseye.organisms.blank import blank_model, blank_processor
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits


@pytest.fixture(scope="session")
def processor() -> Any:
    return blank_processor()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, processor: Any) -> Path:
    """The folder that every run of these tests starts from."""
    folder = tmp_path_factory.mktemp("blank")
    processor.save_pretrained(folder)
    blank_model(processor, seed=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small(base: Path) -> Recipe:
    """Six steps of four items on the CPU, evaluated every two."""
    return Recipe(
        model=str(base),
        global_batch=4,
        micro_batch=2,
        max_steps=6,
        learning_rate=1e-3,
        warm_up_steps=1,
        precision="fp32",
        gradient_checkpointing=False,
        max_pixels=None,
        held_out=3,
        evaluate_every=2,
        max_new_tokens=4,
        keep_checkpoints=8,
        lora_rank=4,
        latent=LatentPlan(n_slots=4, copy_share=0.5),
    )


@pytest.fixture(scope="session")
def items() -> list[Sample]:
    """Zooms, whose words are short, and turns, whose words are long."""
    return Digits().samples(15, split="train")


@pytest.fixture(scope="session")
def collate(small: Recipe, processor: Any) -> Callable[..., dict[str, Any]]:
    """Make one batch of samples, as the trainer would."""

    def batch(samples: list[Sample], **changes: Any) -> dict[str, Any]:
        recipe = dataclasses.replace(small, **changes)
        rows = open_rows(samples, recipe)
        return TextCollator(processor, recipe, end_of_turn(processor))(list(rows))

    return batch
