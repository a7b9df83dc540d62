"""What a run starts from: the stock model, its processor, and what of it is trained."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from mindseye.errors import ModelError, first_line
from mindseye.imagination.training.latents import add_markers
from mindseye.imagination.training.recipe import Recipe
from mindseye.reasoners.architectures import architecture_of
from mindseye.reasoners.loading import locate
from mindseye.reasoners.processor import load_processor

__all__ = ["adapter_config", "freeze_vision", "load_base"]

_VISION = ("visual", "vision_tower", "vision_model", "multi_modal_projector", "connector")
"""What stock models call the parts that make image features."""

_LINEAR = "(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|c_attn|c_proj|c_fc)"
_VISION_LINEAR = r"(qkv|proj|out_proj|fc1|fc2|linear_1|linear_2|mlp\.0|mlp\.2)"


def load_base(recipe: Recipe) -> tuple[Any, Any]:
    """Return the stock model and its processor, as the recipe wants them; always the same ones.

    Raises:
        ModelError: There is no such model, it does not see, or its processor cannot limit images.
    """
    transformers.set_seed(recipe.seed)  # rows of new markers are drawn
    model, processor = _load(recipe)
    if not hasattr(processor, "image_processor"):
        raise ModelError(
            f"{recipe.model!r} reads text only; expected a model that sees, since every question "
            "is about an image. Choose another model."
        )
    _limit_pixels(processor, recipe)
    if recipe.imagination == "latent":
        add_markers(model, processor, recipe)
    return model, processor


def freeze_vision(model: Any) -> None:
    """Leave the vision tower and its projector as they are."""
    for name, parameter in model.named_parameters():
        if set(name.split(".")) & set(_VISION):
            parameter.requires_grad_(False)


def _load(recipe: Recipe) -> tuple[Any, Any]:
    """Load the stock model and its processor.

    Raises:
        ModelError: Whatever the library refuses.
    """
    # A frozen base needs no master weights; what is trained is kept in fp32.
    half = recipe.precision == "bf16" and recipe.tuning == "lora"
    name, _ = locate(recipe.model)
    try:
        config = transformers.AutoConfig.from_pretrained(name, revision=recipe.revision)
        stock = getattr(transformers, architecture_of(config.model_type).auto_class)
        model = stock.from_pretrained(
            name,
            revision=recipe.revision,
            dtype=torch.bfloat16 if half else torch.float32,
            use_safetensors=True,
        )
        processor = load_processor(name, config, revision=recipe.revision)
    except ModelError:
        raise
    except Exception as fault:  # a broken checkpoint fails in as many ways as it has files
        raise ModelError(
            f"{recipe.model!r} cannot be loaded for training ({first_line(fault)}). Expected a "
            "Hugging Face folder or hub id with config, safetensors, tokenizer and image processor."
        ) from fault
    return model, processor


def _limit_pixels(processor: Any, recipe: Recipe) -> None:
    """Set the limits on images, where the processor counts pixels.

    Raises:
        ModelError: The recipe names limits, and the processor knows none.
    """
    limits = {"shortest_edge": recipe.min_pixels, "longest_edge": recipe.max_pixels}
    if not any(limits.values()):
        return
    images = getattr(processor, "image_processor", None)
    size = {} if images is None else dict(images.size)
    if images is None or not all(size.get(name) for name in limits):
        raise ModelError(
            f"The recipe limits images to {recipe.min_pixels} to {recipe.max_pixels} pixels, but "
            f"the processor of {recipe.model!r} does not count pixels. Set min_pixels and "
            "max_pixels to null."
        )
    images.size = type(images.size)(**{name: limit or size[name] for name, limit in limits.items()})


def adapter_config(recipe: Recipe) -> Any:
    """Return the LoRA configuration, or none if all weights are trained."""
    if recipe.tuning == "full":
        return None
    from peft import LoraConfig

    vision = "|".join(_VISION)
    targets = rf"(?!.*\b({vision})\b).*\.{_LINEAR}"
    if recipe.train_vision:
        linear = f"({_LINEAR}|{_VISION_LINEAR})"
        targets = rf"{targets}|(?!.*patch_embed).*\b({vision})\b.*\.{linear}"
    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
