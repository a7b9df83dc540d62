"""A training run, written down: every choice a field, and where each choice comes from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from mindseye.errors import ModelError, UnknownNameError
from mindseye.reasoners.presets import protocol as preset
from mindseye.reasoners.prompt import PromptStyle
from mindseye.reasoners.protocols import LatentProtocol

__all__ = ["ANSWER_FORMATS", "ORIGINS", "PAPER", "AnswerFormat", "LatentPlan", "Recipe"]


class AnswerFormat(NamedTuple):
    """How an answer is written.

    Attributes:
        opening: What stands before it; also the mark that ends imagination in words.
        ending: What stands after it.
        parser: The `answer` plug-in that reads it.
    """

    opening: str
    ending: str
    parser: str


ANSWER_FORMATS = {
    "boxed": AnswerFormat("\\boxed{", "}", "boxed"),
    "answer_tag": AnswerFormat("<answer>", "</answer>", "answer_tag"),
    "hash": AnswerFormat("#", "", "after_hash"),
    "plain": AnswerFormat("", "", "whole"),
}

_MARKERS = ("<|latent_start|>", "<|latent_pad|>", "<|latent_end|>")


@dataclass(frozen=True, slots=True)
class LatentPlan:
    """How latents are taught instead of words.

    `mirage` (arXiv 2506.17218) has two stages: slots are given the helper image's features, and the
    states that precede them are pulled there; then latents are the model's own states and only
    tokens are asked. `monet`, after arXiv 2511.21395, has one: at every layer, latents are pulled
    to those of the same model where it is shown the helper image. Monet itself takes them from a
    frozen earlier stage and cuts gradients between slots; here the teacher learns along, and
    gradients flow through the chain.

    Attributes:
        method: `mirage` or `monet`.
        n_slots: Latents per answer.
        trigger: Whether the model learns to emit the start marker, or it is forced. LoRA leaves
            embeddings alone, so that it takes `forced`.
        copy_share: Share of all steps spent on Mirage's first stage.
        copy_token_weight: Weight of the cross-entropy in that stage.
        alignment_weight: Weight of the alignment: 1 in Mirage, 2 in Monet's scripts.
        alignment_axis: What its cosine runs over: `features`, as the papers say, or `slots`, as
            Monet's published code does (`cosine_similarity` without `dim`).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    method: Literal["mirage", "monet"] = "mirage"
    n_slots: int = 8
    trigger: Literal["sampled", "forced"] = "sampled"
    copy_share: float = 0.4
    copy_token_weight: float = 0.1
    alignment_weight: float = 1.0
    alignment_axis: Literal["features", "slots"] = "features"

    @property
    def needs_helper(self) -> bool:
        """Whether items need a helper image."""
        return self.method == "monet" or self.copy_share > 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """All it takes to repeat a training run, given the data. `ORIGINS` says whose choice each is.

    Attributes:
        model: Hub id or folder of the model to start from, or a name such as `organism:base`.
        revision: Its revision on the hub; none is the newest.
        imagination: Whether the model learns to imagine in words, in latents, or not at all: to
            answer at once, the control that has seen the same data.
        imagination_column: Column that holds the words. The paper's ablation without rewriting is
            another column, such as the one with a bare `<think_image>`.
        answers_from: Whether the answer follows the words with the `picture` in sight; or is given
            from the `words` alone, by a second pass without the picture: caption, then answer.
            Both passes are trained together, and of one model.
        keep_column: Boolean column that says which items to train on. The ablation without
            filtering is none (or another folder); a latent run on the same subset names the same.
        system: System turn; none leaves it to the chat template.
        instruction: Text after every question.
        answer_format: What stands around the answer: `boxed`, `answer_tag`, `hash` (`#7`), or
            nothing (`plain`, which says not where words end).
        imagination_weight: Weight of each imagination token's cross-entropy.
        answer_weight: Weight of each answer token's, from the mark to the end of turn.
        tuning: All weights, or a LoRA adapter.
        lora_rank: Rank of the adapter.
        lora_alpha: Its scale, times the rank.
        lora_dropout: Dropout before it.
        train_vision: Whether the vision tower and its projector are trained, too.
        keep: With LoRA, whether the output folder holds merged weights or base and adapter apart.
        global_batch: Items per optimiser step, over all GPUs and accumulation.
        micro_batch: Items per GPU and forward pass.
        epochs: Passes over the training items.
        max_steps: Optimiser steps; overrides `epochs`.
        learning_rate: AdamW's peak.
        schedule: Of the learning rate, after warm-up.
        warm_up_steps: Linear warm-up.
        weight_decay: AdamW's.
        max_grad_norm: Where gradients are clipped.
        precision: `bf16` computes in bfloat16 over fp32 trained weights; `fp32` is for tests.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        min_pixels: Fewest pixels per image; none leaves the processor's.
        max_pixels: Most pixels per image; none leaves the processor's.
        held_out: Items set aside, on which checkpoints are compared; 0 keeps the last one.
        evaluate_every: Steps between checkpoints, each evaluated.
        max_new_tokens: Most tokens generated per held-out item.
        evaluation_batch: Held-out items per forward pass.
        keep_checkpoints: Checkpoints kept on disk; the best and the last are always among them.
        latent: How latents are taught, if imagination is latent.
        seed: Of data order, split, adapter and dropout.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    revision: str | None = None
    imagination: Literal["text", "latent", "none"] = "text"
    imagination_column: str = "imagination"
    answers_from: Literal["picture", "words"] = "picture"
    keep_column: str | None = None
    system: str | None = None
    instruction: str = ""
    answer_format: Literal["boxed", "answer_tag", "hash", "plain"] = "boxed"
    imagination_weight: float = 1.0
    answer_weight: float = 1.0
    tuning: Literal["full", "lora"] = "full"
    lora_rank: int = 64
    lora_alpha: int = 128
    lora_dropout: float = 0.05
    train_vision: bool = False
    keep: Literal["merged", "adapter"] = "merged"
    global_batch: int = 128
    micro_batch: int = 1
    epochs: float = 3.0
    max_steps: int | None = None
    learning_rate: float = 1e-5
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warm_up_steps: int = 10
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    min_pixels: int | None = None
    max_pixels: int | None = 1280 * 28 * 28
    held_out: int = 256
    evaluate_every: int = 25
    max_new_tokens: int = 1024
    evaluation_batch: int = 8
    keep_checkpoints: int = 2
    latent: LatentPlan = field(default_factory=LatentPlan)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a recipe that no run could follow.

        Raises:
            ModelError: A count, rate or share out of range, or choices that exclude each other.
        """
        for wrong, advice in self._contradictions():
            if wrong:
                raise ModelError(f"Recipe for {self.model!r}: {advice}")

    @property
    def prompt(self) -> PromptStyle:
        """How every question is put, in training as at run time."""
        return PromptStyle(system=self.system, instruction=self.instruction)

    @property
    def protocol(self) -> LatentProtocol:
        """How the trained model imagines; its folder's manifest."""
        written = ANSWER_FORMATS[self.answer_format]
        said: dict[str, Any] = {"prompt": self.prompt, "answers": (written.parser,)}
        if self.imagination == "text":
            said |= {"answer_marks": (written.opening,), "answers_from": self.answers_from}
            return preset("text", **said)
        said["answer_opening"] = written.opening
        if self.imagination == "none":
            return LatentProtocol(
                name="direct", source="token_embedding", visible="sampled", **said
            )
        start, pad, end = _MARKERS
        return LatentProtocol(
            start, pad, end, n_slots=self.latent.n_slots, trigger=self.latent.trigger, **said
        )

    def steps(self, n_items: int) -> int:
        """Return how many optimiser steps training on so many items takes."""
        if self.max_steps is not None:
            return self.max_steps
        return math.ceil(self.epochs * math.ceil(n_items / self.global_batch))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, every field written out."""
        return dataclasses.asdict(self)

    def save(self, path: Path) -> None:
        """Write the recipe as JSON."""
        path.write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def from_dict(cls, data: object) -> Recipe:
        """Read what `to_dict` wrote; fields left out take their defaults.

        Raises:
            UnknownNameError: A key that no recipe has.
            ModelError: A value of another kind, or choices that exclude each other.
        """
        if not isinstance(data, Mapping):
            raise ModelError(
                f"A recipe was given as {type(data).__name__}; expected a JSON object such as "
                '{"model": "...", "tuning": "lora"}.'
            )
        try:
            return TypeAdapter(cls).validate_python(dict(data))
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(map(str, first["loc"]))
            if first["type"] == "unexpected_keyword_argument":
                raise UnknownNameError(
                    f"A recipe was given with {where!r}; it has the fields "
                    f"{', '.join(field.name for field in dataclasses.fields(cls))}. Remove it, or "
                    "correct its spelling."
                ) from fault
            said = first.get("ctx", {}).get("error")
            if isinstance(said, ModelError):
                raise said from fault
            raise ModelError(
                f"A recipe was given with {where} = {first['input']!r}: {first['msg']}."
            ) from fault

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe file.

        Raises:
            ModelError: It cannot be read, is no JSON, or holds a value that no recipe takes.
            UnknownNameError: A key that no recipe has.
        """
        try:
            data = json.loads(Path(path).read_text())
        except (OSError, ValueError) as fault:
            raise ModelError(
                f"{str(path)!r} is no recipe file ({fault}); expected JSON as Recipe.save writes "
                "it. Mend the file, or check the path."
            ) from fault
        return cls.from_dict(data)

    def _contradictions(self) -> list[tuple[bool, str]]:
        counts = ("lora_rank", "global_batch", "micro_batch", "evaluate_every", "max_new_tokens",
                  "evaluation_batch", "keep_checkpoints")  # fmt: skip
        low = [name for name in counts if getattr(self, name) < 1]
        weights = (self.imagination_weight, self.answer_weight)
        latent = self.imagination == "latent"
        return [
            (bool(low), f"{', '.join(low)} must be at least 1."),
            (min(weights) < 0 or sum(weights) == 0, f"loss weights are {weights}; expected two "
             "numbers from 0 up, not both 0."),
            (not self.learning_rate > 0, f"learning_rate={self.learning_rate}; expected above 0."),
            (not self.epochs > 0, f"epochs={self.epochs}; expected above 0."),
            (self.max_steps is not None and self.max_steps < 1, "max_steps must be at least 1."),
            (self.imagination != "text" and self.answers_from == "words", "answers are given from "
             "words, but it imagines in none. Set imagination to 'text'."),
            (self.imagination == "text" and not ANSWER_FORMATS[self.answer_format].opening,
             f"answer_format={self.answer_format!r} leaves nothing to end the words by. Choose "
             "boxed, answer_tag or hash."),
            (self.held_out < 0, f"held_out={self.held_out}; expected 0 or more items."),
            (not self.max_grad_norm > 0, "max_grad_norm must be above 0."),
            (not 0 <= self.latent.copy_share <= 1, "latent.copy_share is a share, from 0 to 1."),
            (not self.latent.alignment_weight >= 0, "latent.alignment_weight must be 0 or more."),
            (self.latent.n_slots < 1, "latent.n_slots must be at least 1."),
            (
                latent and self.gradient_checkpointing,
                "latents are fed back through a cache, which gradient checkpointing throws away. "
                "Set gradient_checkpointing to false.",
            ),
            (
                latent and self.tuning == "lora" and self.latent.trigger == "sampled",
                "LoRA leaves the embeddings of new markers untrained, so the model could not learn "
                "to emit one. Set latent.trigger to 'forced', or tuning to 'full'.",
            ),
        ]  # fmt: skip


_PAPER = "paper"
_MONET = "ours, after Monet's published stage-1 script; the paper says nothing"
_OURS = "ours"

ORIGINS: Mapping[str, str] = {
    "model": _PAPER,
    "revision": _OURS,
    "imagination": _PAPER,
    "imagination_column": _OURS,
    "answers_from": "ours: the paper's answers see the picture",
    "keep_column": _OURS,
    "system": "ours: the template's own, which is Monet's line for Qwen2.5-VL",
    "instruction": _OURS,
    "answer_format": "ours, after the evaluation prompt that the paper's protocol follows",
    "imagination_weight": "paper: plain cross-entropy over the chain",
    "answer_weight": "paper: plain cross-entropy over the chain",
    "tuning": "ours: the paper names Monet's code, which trains all weights",
    "lora_rank": _OURS,
    "lora_alpha": _OURS,
    "lora_dropout": _OURS,
    "train_vision": _MONET,
    "keep": _OURS,
    "global_batch": _PAPER,
    "micro_batch": _PAPER,
    "epochs": "ours: Monet's script says 4, its appendix 3",
    "max_steps": _OURS,
    "learning_rate": _MONET,
    "schedule": _OURS,
    "warm_up_steps": _MONET,
    "weight_decay": _MONET,
    "max_grad_norm": _OURS,
    "precision": _MONET,
    "gradient_checkpointing": _MONET,
    "min_pixels": _OURS,
    "max_pixels": "ours: the lower of Monet's two limits; its limit per sample is not kept",
    "held_out": "ours: the paper picks a best checkpoint and does not say on what",
    "evaluate_every": "ours: 17k items make 133 steps an epoch, too few for Monet's 250",
    "max_new_tokens": _OURS,
    "evaluation_batch": _OURS,
    "keep_checkpoints": _OURS,
    "latent": "ours, after Mirage's two stages and Monet's alignment",
    "seed": _OURS,
}
"""Whose choice each default of `Recipe` is: the paper's, or ours where it is silent."""

PAPER = Recipe()
"""Training as arXiv 2602.22766 describes it, on its 17k items; `ORIGINS` says what is ours."""
