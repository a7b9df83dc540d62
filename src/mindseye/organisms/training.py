"""Training an organism from its recipe: deterministic, resumable, the same code on CPU and GPU."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from mindseye.errors import ModelError
from mindseye.organisms.blank import N_SLOTS, PROTOCOL, WIDTH, blank_model, blank_processor
from mindseye.organisms.losses import Pupil
from mindseye.organisms.recipes import Phase, Recipe, recipe
from mindseye.reasoners.architectures import ARCHITECTURES
from mindseye.reasoners.manifest import Manifest
from mindseye.reasoners.processor import load_processor
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits

__all__ = ["train"]

_WARM_UP = 100
_FLOOR = 0.03
_SAVE_EVERY = 100


def train(name: str, out: Path, base: Path | None, *, until: int | None = None) -> None:
    """Train the organism `name` into the folder `out`, going on from a checkpoint if there is one.

    Args:
        name: A name of `RECIPES`.
        out: Folder to write; checkpoints lie in `out/checkpoint` until the end.
        base: Folder of the organism the recipe starts from, if it names one.
        until: Stop after this many steps, leaving a checkpoint; none trains to the end.

    Raises:
        UnknownNameError: There is no such organism.
        ModelError: The checkpoint in `out` belongs to another recipe.
    """
    plan = recipe(name)
    pupil = _pupil(plan, base)
    trained = _trained_parameters(pupil, frozen_vision=plan.base is not None)
    optimiser = torch.optim.AdamW(trained.values(), lr=plan.learning_rate)
    checkpoint = out / "checkpoint"
    first = _resume(checkpoint, plan, trained, optimiser)
    last = plan.steps if until is None else min(until, plan.steps)
    columns = (
        TextColumn("{task.description}"), *Progress.get_default_columns()[1:2],
        MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]}"),
    )  # fmt: skip
    with Progress(*columns) as progress:
        bar = progress.add_task(name, total=plan.steps, completed=first, loss="…")
        for step, (phase, samples) in itertools.islice(enumerate(_lessons(plan)), first, last):
            for group in optimiser.param_groups:
                group["lr"] = plan.learning_rate * _schedule(step, plan.steps)
            lesson = pupil.lesson(samples())
            circuit = plan.circuits[step % len(plan.circuits)]
            loss = getattr(dataclasses.replace(pupil, circuit=circuit), phase.lesson)(lesson)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimiser.step()
            if step % 10 == 9:
                progress.update(bar, completed=step + 1, loss=f"{loss.item():.3f}")
            if (step + 1) % _SAVE_EVERY == 0 or step + 1 == last:
                _save_checkpoint(checkpoint, plan, step + 1, trained, optimiser)
    if last == plan.steps:
        _save_organism(out, plan, pupil)
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()


def _pupil(plan: Recipe, base: Path | None) -> Pupil:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if plan.base is None:
        processor = blank_processor()
        model: Any = blank_model(processor, plan.seed)
    else:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
        processor = load_processor(base or "", model.config)
    torch.manual_seed(plan.seed)
    vocab_size = model.get_input_embeddings().num_embeddings
    reader = nn.Linear(N_SLOTS * WIDTH, vocab_size) if plan.reads_latents else None
    return Pupil(
        model=model.to(device).train(),
        processor=processor,
        architecture=ARCHITECTURES["qwen2_5_vl"],
        tokens=PROTOCOL.tokens(processor.tokenizer, vocab_size),
        reader=reader.to(device) if reader is not None else None,
    )


def _trained_parameters(pupil: Pupil, *, frozen_vision: bool) -> dict[str, nn.Parameter]:
    """Name what is trained; as in Mirage, the vision tower of a grown model stays as it is."""
    pupil.model.model.visual.requires_grad_(not frozen_vision)
    named = [("model", pupil.model)]
    if pupil.reader is not None:
        named.append(("reader", pupil.reader))
    return {
        f"{part}.{name}": parameter
        for part, module in named
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _lessons(plan: Recipe) -> Iterator[tuple[Phase, Any]]:
    """Yield each step's phase, and how to draw its samples, which depend on the step alone."""
    step = 0
    for phase in plan.phases:
        world = Digits(phase.size, phase.kinds, plan.distortions)
        for _ in range(phase.steps):
            yield phase, _Draw(world, plan, step)
            step += 1


@dataclasses.dataclass(frozen=True, slots=True)
class _Draw:
    world: Digits
    plan: Recipe
    step: int

    def __call__(self) -> list[Sample]:
        seed = self.plan.seed * 1_000_000 + self.step
        return self.world.samples(self.plan.batch, split="train", seed=seed)


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: linear warm-up, then cosine to a floor."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    return warm * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _save_checkpoint(
    folder: Path,
    plan: Recipe,
    step: int,
    trained: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write weights and moments as safetensors, the step in the name, replacing the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, parameter in trained.items():
        tensors[f"weight.{name}"] = parameter.detach().contiguous()
        # What no lesson has trained yet has no state.
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    metadata = {"step": str(step), "recipe": _identity(plan)}
    partial = folder / "partial"
    save_file(tensors, partial, metadata)
    os.replace(partial, folder / "training.safetensors")


def _resume(
    folder: Path,
    plan: Recipe,
    trained: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> int:
    """Load the checkpoint in `folder`, if any, and return the step to go on from.

    Raises:
        ModelError: It was written under another recipe.
    """
    path = folder / "training.safetensors"
    if not path.is_file():
        return 0
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if metadata.get("recipe") != _identity(plan):
        raise ModelError(
            f"{str(path)!r} is a checkpoint of another recipe; it cannot be resumed. "
            "Remove it, or choose another folder."
        )
    step = int(metadata["step"])
    tensors = load_file(path)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[f"weight.{name}"])
            if f"step.{name}" in tensors:
                optimiser.state[parameter] = {
                    "step": tensors[f"step.{name}"],
                    "exp_avg": tensors[f"exp_avg.{name}"].to(parameter.device),
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(parameter.device),
                }
    return step


def _identity(plan: Recipe) -> str:
    return json.dumps(dataclasses.asdict(plan), sort_keys=True)


def _save_organism(out: Path, plan: Recipe, pupil: Pupil) -> None:
    """Write an ordinary Hugging Face folder in half precision, plus manifest and recipe."""
    pupil.processor.save_pretrained(out)
    _describe_video(out / "processor_config.json")
    pupil.model.eval().half().save_pretrained(out)
    Manifest(PROTOCOL if plan.base is not None else None, plan.circuits[0].wiring).save(out)
    (out / "recipe.json").write_text(json.dumps(dataclasses.asdict(plan), indent=2) + "\n")


def _describe_video(path: Path) -> None:
    """Add a video part to a saved processor, without which the stock class refuses to load it.

    Building one takes torchvision; writing down that it treats frames as images does not.
    """
    config = json.loads(path.read_text())
    shared = ("patch_size", "merge_size", "temporal_patch_size", "size", "image_mean", "image_std")
    frames = {key: config["image_processor"][key] for key in shared}
    config["video_processor"] = {"video_processor_type": "Qwen2VLVideoProcessor", **frames}
    path.write_text(json.dumps(config, indent=2) + "\n")
