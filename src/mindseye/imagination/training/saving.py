"""The output folder: stock weights, processor, recipe and manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mindseye.imagination.training.loading import load_base
from mindseye.imagination.training.recipe import Recipe
from mindseye.reasoners.loading import locate
from mindseye.reasoners.manifest import Manifest

__all__ = ["save_result"]

_ADAPTER = "adapter"


def save_result(trainer: Any, recipe: Recipe, out: Path) -> None:
    """Write the trained model as a folder that `mindseye.load` opens; all processes call this.

    Weights gathered from shards go through the trainer. An adapter is merged on one process, into
    a base loaded anew, so that the base which was trained on stays as it is.

    Args:
        trainer: The trainer, at its best checkpoint.
        recipe: What was trained.
        out: Where to.
    """
    weights = out / _ADAPTER if recipe.tuning == "lora" else out
    trainer.save_model(str(weights))
    if not trainer.is_world_process_zero():
        return
    (weights / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nobody should open
    if recipe.tuning == "lora":
        _save_tuned(trainer, recipe, weights, out)
    trainer.processing_class.save_pretrained(out)
    _keep_video_part(Path(locate(recipe.model)[0]), out)
    Manifest(recipe.protocol).save(out)
    recipe.save(out / "recipe.json")


def _save_tuned(trainer: Any, recipe: Recipe, adapter: Path, out: Path) -> None:
    """Merge an adapter into its base, or lay it beside the base, as one folder."""
    from peft import PeftModel

    base, _ = load_base(recipe)
    if recipe.keep == "adapter":
        base.save_pretrained(out)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.move(adapter / name, out / name)
    else:
        PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(out)
    shutil.rmtree(adapter)


def _keep_video_part(base: Path, out: Path) -> None:
    """Carry over the base's description of video, which is not read where torchvision is missing.

    The stock processor refuses to load without one.
    """
    given, written = (folder / "processor_config.json" for folder in (base, out))
    if not given.is_file() or not written.is_file():
        return
    part = json.loads(given.read_text()).get("video_processor")
    config = json.loads(written.read_text())
    if part is not None and "video_processor" not in config:
        written.write_text(json.dumps(config | {"video_processor": part}, indent=2) + "\n")
