"""The latent side: one pass in which latents are fed back, or copied from a helper image."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.errors import ModelError
from mindseye.imagination.training.encoding import IGNORED
from mindseye.imagination.training.losses import alignment_loss, pooled_slots
from mindseye.imagination.training.recipe import Recipe
from mindseye.reasoners.architectures import Architecture, architecture_of
from mindseye.reasoners.prompt import Prompt
from mindseye.reasoners.protocols import LatentTokens
from mindseye.reasoners.stream import Stream

__all__ = ["LatentPass", "add_latent_pass", "add_markers"]

Stage = Literal["copy", "align", "imagine"]
"""Mirage's first stage; Monet's alignment; answers only."""

_HELPER = "helper_"


@dataclass(frozen=True, slots=True, eq=False)
class LatentPass:
    """Answers after latents, with gradients through the whole chain.

    Attributes:
        model: The stock model, without any wrapper around it.
        architecture: Where its parts are.
        tokens: The markers' ids.
        recipe: How many slots, and how they are aligned.
    """

    model: Any
    architecture: Architecture
    tokens: LatentTokens
    recipe: Recipe

    def run(self, batch: Mapping[str, Tensor], stage: Stage) -> dict[str, Tensor]:
        """Return log-probabilities of the start marker and of the answer, and the misalignment.

        Args:
            batch: What `LatentCollator` makes.
            stage: Where latents come from, and what they are held against.
        """
        axis = self.recipe.latent.alignment_axis
        stream = self._open(batch)
        start = self._marker(self.tokens.start, len(batch["labels"]))
        said = {"start": self._log_probs(stream.states[:, -1:], start)}
        if stage == "copy":
            taught = self._features(batch)
            states = self._copy(stream, start, taught)
            said["misaligned"] = alignment_loss(states, taught, axis)
        else:
            layers = self._imagine(stream, start)
            said["misaligned"] = layers.new_zeros(len(start))
            if stage == "align":
                with torch.no_grad():
                    teacher = self._imagine(self._open(batch, _HELPER), start)
                said["misaligned"] = alignment_loss(layers, teacher, axis).mean(dim=-1)
        state = stream.feed(self._embed(self._marker(self.tokens.end, len(start))), ["end"])
        answers = batch["labels"]
        given = self._embed(answers[:, :-1].clamp(min=0))
        states = stream.feed(given, ["answer"] * given.shape[1])
        said["answer"] = self._log_probs(torch.cat([state, states], dim=1), answers)
        return said

    def _open(self, batch: Mapping[str, Tensor], prefix: str = "") -> Stream:
        """Prefill the prompts of a batch, or those that show the helper images."""
        own = {
            name.removeprefix(prefix): value
            for name, value in batch.items()
            if name.startswith(_HELPER) == bool(prefix) and name != "labels"
        }
        ids, mask, spans = (own.pop(name) for name in ("input_ids", "attention_mask", "spans"))
        return Stream.open(self.model, self.architecture, Prompt(ids, mask, spans, own))

    def _copy(
        self,
        stream: Stream,
        start: Int[Tensor, "batch 1"],
        taught: Float[Tensor, "batch slots d_model"],
    ) -> Float[Tensor, "batch slots d_model"]:
        """Feed the helper's features; return the states from which each would have been fed."""
        spans = ["start"] + ["latents"] * taught.shape[1]
        return stream.feed(torch.cat([self._embed(start), taught], dim=1), spans)[:, :-1]

    def _imagine(
        self, stream: Stream, start: Int[Tensor, "batch 1"]
    ) -> Float[Tensor, "batch layers slots d_model"]:
        """Feed the model's own states; return what each layer made of each."""
        seen: list[Tensor] = []
        hooks = [f"blocks.{i}.hook_resid_post" for i in range(len(self._blocks()))]
        state = stream.feed(self._embed(start), ["start"])
        stream.visitor = lambda _begin, _end: dict.fromkeys(hooks, seen.append)
        for _ in range(self.recipe.latent.n_slots):
            state = stream.feed(state, ["latents"])
        stream.visitor = None
        return rearrange(
            torch.stack(seen),
            "(slots layers) batch 1 d_model -> batch layers slots d_model",
            layers=len(hooks),
        )

    def _blocks(self) -> Any:
        return self.architecture.blocks(self.model)

    def _marker(self, token: int | None, n_rows: int) -> Int[Tensor, "batch 1"]:
        assert token is not None
        return torch.full((n_rows, 1), token, device=self.model.device)

    def _embed(self, ids: Int[Tensor, "batch new"]) -> Float[Tensor, "batch new d_model"]:
        return self.model.get_input_embeddings()(ids)

    @torch.no_grad()
    def _features(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch slots d_model"]:
        images = self.model.model.get_image_features(
            batch["helper_pixel_values"], batch["helper_image_grid_thw"]
        ).pooler_output
        slots = [pooled_slots(image, self.recipe.latent.n_slots) for image in images]
        return torch.stack(slots).to(self.model.get_input_embeddings().weight.dtype)

    def _log_probs(
        self, states: Float[Tensor, "batch seq d_model"], ids: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq"]:
        """Return each id's log-probability, 0 where it is ignored."""
        logits = self.model.get_output_embeddings()(states).float()
        found = logits.log_softmax(dim=-1).gather(-1, ids.clamp(min=0)[..., None])[..., 0]
        return found.masked_fill(ids == IGNORED, 0.0)


def add_latent_pass(model: Any, tokens: LatentTokens, recipe: Recipe) -> None:
    """Let a stock model's forward take `latent_batch`, as trl lets it take `fused_lm_head`.

    Going through `forward` is what makes gradients meet across GPUs: DDP sees nothing else.

    Raises:
        ModelError: The architecture has no image features of Qwen's kind to copy.
    """
    if not architecture_of(model.config.model_type).grid_positions:
        raise ModelError(
            f"Latents were to be trained in a {model.config.model_type!r}; expected one of the "
            "Qwen-VL family, whose image features they copy. Use imagination='text'."
        )
    stock = model.forward
    latent = LatentPass(model, architecture_of(model.config.model_type), tokens, recipe)

    def forward(
        _self: Any,
        *args: Any,
        latent_batch: Mapping[str, Tensor] | None = None,
        stage: Stage = "imagine",
        **kwargs: Any,
    ) -> Any:
        if latent_batch is None:
            return stock(*args, **kwargs)
        return latent.run(latent_batch, stage)

    model.forward = types.MethodType(forward, model)


def add_markers(model: Any, processor: Any, recipe: Recipe) -> None:
    """Add the latent markers to the tokenizer, and rows for them to the model where it has none."""
    protocol = recipe.protocol
    markers = [m for m in (protocol.pad, protocol.start, protocol.end) if isinstance(m, str)]
    processor.tokenizer.add_special_tokens(
        {"extra_special_tokens": markers}, replace_extra_special_tokens=False
    )
    # Qwen's matrix has spare rows, which are used before it grows.
    if len(processor.tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(processor.tokenizer))
