"""What we need to know of an architecture: where its parts are. One row per `model_type`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mindseye.errors import ModelError
from mindseye.reasoners.prompt import Prompt
from mindseye.reasoners.spans import PAD
from mindseye.reasoners.wiring import Cut, attention_bias

__all__ = ["ARCHITECTURES", "Architecture", "Prefill", "architecture_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Prefill:
    """What the stock model makes of a batch of prompts before its text decoder sees them.

    Attributes:
        embeds: Input embeddings, image features in place.
        position_ids: One axis for text positions, three for time, height and width.
        image_mask: Which positions hold image features.
        deepstack: Features that the first blocks add at image positions (Qwen3-VL), a tensor per
            block, all rows' images one after another.
    """

    embeds: Float[Tensor, "batch seq d_model"]
    position_ids: Int[Tensor, "axes batch seq"]
    image_mask: Bool[Tensor, "batch seq"]
    deepstack: tuple[Float[Tensor, "features d_model"], ...] = ()

    def repeat(self, n_rows: int) -> Prefill:
        """Return a batch of one as `n_rows` equal rows."""
        return Prefill(
            self.embeds.expand(n_rows, -1, -1),
            self.position_ids.expand(-1, n_rows, -1),
            self.image_mask.expand(n_rows, -1),
            tuple(layer.repeat(n_rows, 1) for layer in self.deepstack),
        )

    def part(self, begin: int, end: int) -> Prefill:
        """Return a stretch of a batch of one, with the features of the images that lie in it."""
        before, within = (int(self.image_mask[0, :place].sum()) for place in (begin, end))
        deepstack = tuple(layer[before:within] for layer in self.deepstack)
        return Prefill(
            self.embeds[:, begin:end],
            self.position_ids[:, :, begin:end],
            self.image_mask[:, begin:end],
            deepstack if within > before else (),
        )


@dataclass(frozen=True, slots=True)
class Architecture:
    """Paths of a stock model's parts, and the names of its stages within a block.

    Attributes:
        auto_class: The stock class that loads it.
        decoder: Path of the text decoder, which takes `inputs_embeds`.
        layers: Its blocks, within the decoder.
        norm: Its final norm, within the decoder.
        attention: The attention module within a block.
        qkv: Projections within the attention; one name where they are fused.
        out: The attention's output projection.
        mlp: The MLP within a block.
        middle: The norm within a block whose input is the residual between the two.
        attention_out: The module whose output is added to the residual, if it is not `attention`.
        mlp_out: The same for the MLP.
        grid_positions: Whether positions have three axes, told from image grids.
        mutual_images: Whether the tokens of an image read each other in both directions.
    """

    auto_class: str
    decoder: str
    layers: str = "layers"
    norm: str = "norm"
    attention: str = "self_attn"
    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    out: str = "o_proj"
    mlp: str = "mlp"
    middle: str = "post_attention_layernorm"
    attention_out: str | None = None
    mlp_out: str | None = None
    grid_positions: bool = False
    mutual_images: bool = False

    def text_decoder(self, model: nn.Module) -> Any:
        """Return the text decoder of a loaded model."""
        return model.get_submodule(self.decoder)

    def blocks(self, model: nn.Module) -> Any:
        """Return the decoder's blocks."""
        return model.get_submodule(f"{self.decoder}.{self.layers}")

    def prefill(self, model: Any, prompt: Prompt) -> Prefill:
        """Return what the stock forward would hand to the text decoder.

        The stock forward itself is run up to the decoder's door, so that image features, their
        places and their scale are the library's own business in every architecture.
        """
        position_ids = self._positions(model, prompt)
        taken: dict[str, Any] = {}

        def take(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
            taken.update(kwargs)
            raise _AtTheDoor

        handle = self.text_decoder(model).register_forward_pre_hook(take, with_kwargs=True)
        try:
            model(
                input_ids=prompt.input_ids,
                attention_mask=prompt.attention_mask,
                position_ids=position_ids if self.grid_positions else position_ids[0],
                use_cache=False,
                **self._features(prompt),
            )
        except _AtTheDoor:
            pass
        finally:
            handle.remove()
        embeds = taken.get("inputs_embeds")
        if embeds is None:  # a text model embeds within its decoder
            embeds = model.get_input_embeddings()(prompt.input_ids)
        return Prefill(
            embeds,
            position_ids,
            self.image_mask(model, prompt.input_ids),
            tuple(taken.get("deepstack_visual_embeds") or ()),
        )

    def image_mask(self, model: Any, ids: Int[Tensor, "*dims"]) -> Bool[Tensor, "*dims"]:
        """Return which ids of a prompt are image placeholders."""
        return ids == getattr(model.config, "image_token_id", -1)

    def bias(
        self,
        model: Any,
        labels: Int[Tensor, "batch keys"],
        image_mask: Bool[Tensor, "batch keys"],
        n_queries: int,
        knockouts: tuple[Cut, ...],
        dtype: torch.dtype,
    ) -> list[Float[Tensor, "batch 1 queries keys"]]:
        """Return the attention bias for the last `n_queries` positions, layer by layer.

        Layers that read alike share one tensor. Args are those of `attention_bias`; `image_mask`
        says which positions hold image features.
        """
        images = None
        if self.mutual_images:
            begins = image_mask & ~torch.nn.functional.pad(image_mask, (1, 0))[:, :-1]
            images = begins.cumsum(dim=1) * image_mask  # 0 for text, else which image
        made: dict[Any, Tensor] = {}
        biases = []
        for layer in range(len(self.blocks(model))):
            here = tuple(cut for cut in knockouts if cut.layers is None or layer in cut.layers)
            reach = self.window(model, layer)
            kind = (reach, tuple(map(id, here)))
            if kind not in made:
                made[kind] = attention_bias(
                    labels, n_queries, here, dtype, images=images, window=reach
                )
            biases.append(made[kind])
        return biases

    def window(self, model: Any, layer: int) -> int | None:
        """Return how many positions back a layer reads, itself included; none is all of them."""
        text = model.config.get_text_config()
        kinds = getattr(text, "layer_types", None)
        return text.sliding_window if kinds and kinds[layer] == "sliding_attention" else None

    def mask(
        self,
        model: Any,
        labels: Int[Tensor, "batch keys"],
        image_mask: Bool[Tensor, "batch keys"],
        n_queries: int,
        knockouts: tuple[Cut, ...],
        dtype: torch.dtype,
    ) -> list[Float[Tensor, "batch 1 queries keys"]] | None:
        """Return what `bias` does, or none where the stock model would mask alike by itself.

        Its kernels are faster without a bias.
        """
        windows = (self.window(model, layer) for layer in range(len(self.blocks(model))))
        if (
            not knockouts
            and not self.mutual_images
            and n_queries in (1, labels.shape[1])
            and all(reach is None for reach in windows)
            and not bool((labels == PAD).any())
        ):
            return None
        return self.bias(model, labels, image_mask, n_queries, knockouts, dtype)

    def decode(
        self,
        model: Any,
        new: Prefill,
        bias: list[Float[Tensor, "batch 1 new keys"]] | None,
        cache: Any = None,
        **options: Any,
    ) -> Float[Tensor, "batch new d_model"]:
        """Run the text decoder on embeddings and return its post-norm states.

        Args:
            model: The stock model.
            new: Embeddings, positions and deepstack features of the new positions.
            bias: The additive attention bias of every layer; none leaves masks to the stock model.
            cache: Keys and values so far, which grow; none computes without.
            options: Passed on to every attention.
        """
        if new.deepstack:
            options |= {
                "visual_pos_masks": new.image_mask,
                "deepstack_visual_embeds": list(new.deepstack),
            }
        with self._masked(model, bias):
            return self.text_decoder(model)(
                inputs_embeds=new.embeds,
                attention_mask=None if bias is None else bias[0],
                position_ids=new.position_ids if self.grid_positions else new.position_ids[0],
                past_key_values=cache,
                use_cache=cache is not None,
                **options,
            ).last_hidden_state

    @contextlib.contextmanager
    def _masked(self, model: Any, bias: list[Tensor] | None) -> Iterator[None]:
        """Give every layer its own bias; the stock decoder takes one for all, or two kinds."""
        with contextlib.ExitStack() as stack:
            if bias is not None and any(each is not bias[0] for each in bias):
                for block, own in zip(self.blocks(model), bias, strict=True):
                    attention = block.get_submodule(self.attention)
                    hook = attention.register_forward_pre_hook(_mask_with(own), with_kwargs=True)
                    stack.callback(hook.remove)
            yield

    def _positions(self, model: Any, prompt: Prompt) -> Int[Tensor, "axes batch seq"]:
        """Number the prompt's positions, padding left out."""
        if not self.grid_positions:
            return (prompt.attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)[None]
        # Asked for by name: the stock forward would fall back to text positions in silence.
        position_ids, _ = model.model.get_rope_index(
            prompt.input_ids,
            prompt.features.get("mm_token_type_ids", torch.zeros_like(prompt.input_ids)),
            image_grid_thw=prompt.features.get("image_grid_thw"),
            attention_mask=prompt.attention_mask,
        )
        return position_ids.masked_fill(prompt.attention_mask == 0, 0)

    def _features(self, prompt: Prompt) -> dict[str, Tensor]:
        """Return what the stock forward takes besides ids."""
        keep = dict(prompt.features)
        if not self.grid_positions:
            keep.pop("mm_token_type_ids", None)
        return keep


def _mask_with(bias: Tensor) -> Any:
    """Return a hook that replaces the mask an attention is called with."""

    def hook(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "attention_mask": bias}

    return hook


class _AtTheDoor(Exception):
    """Leaves the stock forward where its text decoder begins."""


def _qwen(auto_class: str) -> Architecture:
    return Architecture(auto_class, decoder="model.language_model", grid_positions=True)


def _text(auto_class: str) -> Architecture:
    return Architecture(auto_class, decoder="model")


def _seeing(auto_class: str, decoder: str = "model.language_model") -> Architecture:
    return Architecture(auto_class, decoder)


ARCHITECTURES = {
    "qwen2_vl": _qwen("Qwen2VLForConditionalGeneration"),
    "qwen2_5_vl": _qwen("Qwen2_5_VLForConditionalGeneration"),
    "qwen3_vl": _qwen("Qwen3VLForConditionalGeneration"),
    "llava_onevision": _seeing("LlavaOnevisionForConditionalGeneration"),
    "internvl": _seeing("InternVLForConditionalGeneration"),
    "smolvlm": _seeing("SmolVLMForConditionalGeneration", "model.text_model"),
    "gemma3": Architecture(
        "Gemma3ForConditionalGeneration",
        "model.language_model",
        middle="pre_feedforward_layernorm",
        attention_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
        mutual_images=True,
    ),
    "llama": _text("LlamaForCausalLM"),
    "qwen2": _text("Qwen2ForCausalLM"),
    "gpt2": Architecture(
        "GPT2LMHeadModel",
        "transformer",
        layers="h",
        norm="ln_f",
        attention="attn",
        qkv=("c_attn",),
        out="c_proj",
        middle="ln_2",
    ),
}


def architecture_of(model_type: str) -> Architecture:
    """Return the row of a `model_type`.

    Raises:
        ModelError: No row has it.
    """
    if model_type not in ARCHITECTURES:
        raise ModelError(
            f"model_type {model_type!r} is not one mindseye knows; it knows "
            f"{', '.join(ARCHITECTURES)}. Add a row to reasoners/architectures.py."
        )
    return ARCHITECTURES[model_type]
