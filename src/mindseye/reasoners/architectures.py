"""What we need to know of an architecture: where its parts are. One row per `model_type`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindseye.errors import ModelError
from mindseye.reasoners.prompt import Prompt

__all__ = ["ARCHITECTURES", "Architecture", "architecture_of"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Paths of a stock model's parts, and the names of its stages within a block.

    Attributes:
        auto_class: The stock class that loads it.
        decoder: Path of the text decoder, which takes `inputs_embeds`.
        layers: Path of the decoder's blocks.
        attention: The attention module within a block.
        mlp: The MLP within a block.
        middle: The norm within a block whose input is the residual between the two.
    """

    auto_class: str
    decoder: str
    layers: str
    attention: str = "self_attn"
    mlp: str = "mlp"
    middle: str = "post_attention_layernorm"

    def text_decoder(self, model: nn.Module) -> Any:
        """Return the text decoder of a loaded model."""
        return model.get_submodule(self.decoder)

    def blocks(self, model: nn.Module) -> Any:
        """Return the decoder's blocks."""
        return model.get_submodule(self.layers)

    def embed(self, model: Any, prompt: Prompt) -> Float[Tensor, "batch seq d_model"]:
        """Return a prompt's input embeddings, image features written over the placeholders."""
        tokens = model.get_input_embeddings()(prompt.input_ids)
        features = model.model.get_image_features(prompt.pixel_values, prompt.image_grid_thw)
        images = torch.cat(tuple(features.pooler_output)).to(tokens)
        return tokens.masked_scatter((prompt.mm_token_type_ids == 1)[..., None], images)

    def positions(self, model: Any, prompt: Prompt) -> Int[Tensor, "3 batch seq"]:
        """Return the rotary positions of a prompt: time, height and width of every token."""
        positions, _ = model.model.get_rope_index(
            prompt.input_ids,
            prompt.mm_token_type_ids,
            image_grid_thw=prompt.image_grid_thw,
            attention_mask=prompt.attention_mask,
        )
        return positions


ARCHITECTURES = {
    "qwen2_5_vl": Architecture(
        auto_class="Qwen2_5_VLForConditionalGeneration",
        decoder="model.language_model",
        layers="model.language_model.layers",
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
