"""The run itself: load, train, keep the best, and leave a folder that `mindseye.load` opens."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accelerate
import pandas as pd
import torch

from mindseye.errors import EngineError, MindseyeError, ModelError
from mindseye.imagination.training.data import Data, fingerprint, open_rows, split
from mindseye.imagination.training.encoding import LatentCollator, TextCollator, end_of_turn
from mindseye.imagination.training.latents import add_latent_pass
from mindseye.imagination.training.loading import adapter_config, freeze_vision, load_base
from mindseye.imagination.training.recipe import Recipe
from mindseye.imagination.training.saving import save_result
from mindseye.imagination.training.scoring import HeldOut

__all__ = ["Trained", "build_trainer", "dry_run", "train"]

_RESULT = "training.json"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run left.

    Attributes:
        folder: The trained model, once the run is finished.
        steps: Optimiser steps taken so far.
        best_step: The step whose weights were kept; the last one where nothing was held out.
        accuracy: Held-out accuracy at that step, if any.
        log: What was logged, an entry per log.
    """

    folder: Path
    steps: int
    best_step: int
    accuracy: float | None
    log: tuple[dict[str, float], ...]

    def to_frame(self) -> pd.DataFrame:
        """Return the log, one row per logged value: step, name, value."""
        rows = [
            {"step": entry["step"], "name": name, "value": value}
            for entry in self.log
            for name, value in entry.items()
            if name != "step"
        ]
        return pd.DataFrame(rows, columns=["step", "name", "value"])


def train(
    recipe: Recipe,
    data: Data,
    out: str | Path,
    *,
    held_out: Data | None = None,
    resume: bool = True,
    until: int | None = None,
) -> Trained:
    """Fine-tune a model as a recipe says, going on from the last checkpoint if there is one.

    The same call runs on one CPU and, under `accelerate launch`, on many GPUs. Checkpoints lie in
    `out/checkpoints`; the output folder is an ordinary Hugging Face folder with processor and
    `mindseye.json`.

    Args:
        recipe: Every choice.
        data: A folder of the data builder, a `datasets.Dataset`, or samples with imagination.
        out: Folder to write.
        held_out: What checkpoints are compared on; a part of `data` if left out.
        resume: Whether to go on from checkpoints in `out`; otherwise they are removed.
        until: Stop after this many steps, with a checkpoint; none trains to the end.

    Returns:
        Where the model is, and how training went.

    Raises:
        SampleError: The data lacks a column, an answer or what else is to be learned.
        ModelError: The model cannot be loaded, the batch cannot be divided over the GPUs, or the
            checkpoints in `out` belong to another recipe or other data.
        EngineError: The loss became NaN; what was saved before stays.
    """
    out = Path(out)
    rows = open_rows(data, recipe)
    if held_out is not None:
        trained_on, kept_back = rows, open_rows(held_out, recipe)
    else:
        trained_on, kept_back = split(rows, recipe)
    identity = {"recipe": recipe.to_dict(), "data": fingerprint(trained_on)}
    checkpoint = _last_checkpoint(out, identity, resume=resume)
    if (out / _RESULT).is_file():
        return _read_result(out)
    trainer = build_trainer(recipe, trained_on, kept_back, out, until)
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    result = _result(trainer, out)
    if trainer.state.global_step == trainer.state.max_steps:
        save_result(trainer, recipe, out)
        if trainer.is_world_process_zero():
            plain = dataclasses.asdict(result) | {"folder": str(out)}
            (out / _RESULT).write_text(json.dumps(plain, indent=2) + "\n")
    return result


def dry_run(recipe: Recipe, steps: int = 3) -> Trained:
    """Take a few steps of a recipe with a small random Qwen2.5-VL on the CPU, on the digits world.

    Everything of the recipe is used but its size: the model, batches of two micro-batches of two,
    four held-out items, few generated tokens, fp32, images of 64 x 64 pixels and four slots.

    Args:
        recipe: What to validate.
        steps: How many steps to take.

    Returns:
        How it went; its folder is gone.

    Raises:
        MindseyeError: Whatever `train` would raise.
    """
    from mindseye.organisms.blank import blank_model, blank_processor
    from mindseye.tasks.digits import Digits

    small = dataclasses.replace(
        recipe,
        revision=None,
        keep_column=None,
        global_batch=4,
        micro_batch=2,
        max_steps=steps,
        precision="fp32",
        min_pixels=None,
        max_pixels=None,
        held_out=4,
        evaluate_every=steps,
        max_new_tokens=8,
        latent=dataclasses.replace(recipe.latent, n_slots=min(recipe.latent.n_slots, 4)),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        processor = blank_processor()
        processor.save_pretrained(folder / "blank")
        blank_model(processor, seed=recipe.seed).save_pretrained(folder / "blank")
        small = dataclasses.replace(small, model=str(folder / "blank"))
        samples = Digits().samples(4 * steps + small.held_out, split="train", seed=recipe.seed)
        return train(small, samples, folder / "out")


def build_trainer(recipe: Recipe, rows: Any, kept_back: Any, out: Path, until: int | None) -> Any:
    """Put model, data and trl's trainer together.

    Args:
        recipe: Every choice.
        rows: What is trained on.
        kept_back: What checkpoints are compared on, if anything.
        out: Folder of the run.
        until: Where to stop, if not at the end.

    Returns:
        An `ImaginationTrainer`.

    Raises:
        ModelError: The model cannot be loaded, or the batch cannot be divided.
        EngineError: Latents on sharded weights.
        MindseyeError: trl or peft is not installed.
    """
    try:
        from mindseye.imagination.training.trainer import ImaginationTrainer, StopAt
    except ImportError as fault:
        raise MindseyeError(
            f"Training needs the packages trl and peft ({fault}). Run: "
            "pip install 'mindseye[train]'"
        ) from fault
    model, processor = load_base(recipe)
    collator = TextCollator
    if recipe.imagination == "latent":
        collator = LatentCollator
        table = model.get_input_embeddings()
        tokens = recipe.protocol.tokens(processor.tokenizer, table.num_embeddings)
        add_latent_pass(model, tokens, recipe)
    if not recipe.train_vision:
        freeze_vision(model)
    scorer = None if kept_back is None else HeldOut(kept_back, recipe, processor).accuracy
    trainer = ImaginationTrainer(
        recipe,
        scorer,
        model=model,
        args=_arguments(recipe, out, evaluates=kept_back is not None),
        data_collator=collator(processor, recipe, end_of_turn(processor)),
        train_dataset=rows,
        eval_dataset=kept_back,
        processing_class=processor,
        peft_config=adapter_config(recipe),
        callbacks=[] if until is None else [StopAt(until)],
    )
    if recipe.imagination == "latent" and trainer.is_sharded():
        raise EngineError(
            "Latents were to be trained on sharded weights (FSDP or ZeRO-3), which are gathered "
            "once per forward pass; latents take one per slot within it. Launch with ddp.yaml or "
            "zero2.yaml."
        )
    if recipe.answers_from == "words" and kept_back is not None and trainer.is_sharded():
        raise EngineError(
            "Answers without the picture were to be scored on sharded weights (FSDP or ZeRO-3), "
            "which our decoding loop cannot gather. Launch with ddp.yaml or zero2.yaml, or set "
            "held_out to 0."
        )
    return trainer


def _arguments(recipe: Recipe, out: Path, *, evaluates: bool) -> Any:
    """Return the recipe in trl's words.

    Raises:
        ModelError: The global batch cannot be divided evenly.
    """
    from trl.trainer.sft_config import SFTConfig

    n_gpus = accelerate.PartialState().num_processes
    together = recipe.micro_batch * n_gpus
    if recipe.global_batch % together:
        raise ModelError(
            f"global_batch={recipe.global_batch} cannot be divided over {n_gpus} processes with "
            f"micro_batch={recipe.micro_batch}; expected a multiple of {together}. Change one."
        )
    selecting: dict[str, Any] = {}
    if evaluates:
        selecting = {
            "eval_strategy": "steps",
            "eval_steps": recipe.evaluate_every,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_accuracy",
            "greater_is_better": True,
        }
    return SFTConfig(
        output_dir=str(out / "checkpoints"),
        per_device_train_batch_size=recipe.micro_batch,
        per_device_eval_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.global_batch // together,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warm_up_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        bf16=recipe.precision == "bf16",
        gradient_checkpointing=recipe.gradient_checkpointing,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=recipe.evaluate_every,
        save_total_limit=recipe.keep_checkpoints,
        seed=recipe.seed,
        data_seed=recipe.seed,
        report_to="none",
        remove_unused_columns=False,
        packing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=not torch.cuda.is_available(),
        **selecting,
    )


def _last_checkpoint(out: Path, identity: dict[str, Any], *, resume: bool) -> Path | None:
    """Return the last whole checkpoint, if any, and note whose folder this is.

    Raises:
        ModelError: It belongs to another recipe, or to other data.
    """
    folder, claim = out / "checkpoints", out / "checkpoints" / "identity.json"
    if accelerate.PartialState().is_main_process:
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
            (out / _RESULT).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not claim.is_file():
            claim.write_text(json.dumps(identity))
    accelerate.PartialState().wait_for_everyone()
    held = json.loads(claim.read_text())
    changed = [
        *(
            name
            for name in identity["recipe"]
            if held["recipe"].get(name) != identity["recipe"][name]
        ),
        *(["data"] if held["data"] != identity["data"] else []),
    ]
    if changed:
        raise ModelError(
            f"{str(folder)!r} holds checkpoints of another run: {', '.join(changed)} differ. "
            "Expected the same recipe and data. Choose another folder, or pass resume=False to "
            "start anew."
        )
    # The trainer writes its state last, so that a checkpoint without one was cut off.
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _result(trainer: Any, out: Path) -> Trained:
    state = trainer.state
    return Trained(
        folder=out,
        steps=state.global_step,
        best_step=state.best_global_step or state.global_step,
        accuracy=state.best_metric,
        log=tuple(state.log_history),
    )


def _read_result(out: Path) -> Trained:
    plain = json.loads((out / _RESULT).read_text())
    return Trained(**plain | {"folder": out, "log": tuple(plain["log"])})
