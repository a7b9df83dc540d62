"""A tiny stock model of every architecture mindseye supports, with random weights, and its inputs.

Each is built from its configuration alone and differs from a real checkpoint in size only. Weights
are drawn anew after the library's own initialisation, which leaves a model this narrow nearly mute
(standard deviation 0.02) and some of its parts dead (Gemma's projector starts at zero).

Every vocabulary begins alike: the special ids named below, then three ids no prompt ever holds, so
that a test may call them the markers of a protocol, then words.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Generator, Tensor, nn
from transformers import PreTrainedModel

PAD, BOS, EOS, IMAGE, VIDEO, IMAGE_START, IMAGE_END = range(7)
MARKERS = (7, 8, 9)
FIRST_WORD = 10

WIDTH = 48
VISION_WIDTH = 32
PATCH = 4
WINDOW = 5
"""Gemma's sliding window, itself included: shorter than any prompt with an image."""

_LOUDNESS = 2.0
_TIED_LOUDNESS = 0.5
"""A tied head reads the last token's own embedding in the residual; a quiet one keeps the model
from repeating that token for ever."""

_SPECIAL: dict[str, Any] = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
_TEXT: dict[str, Any] = _SPECIAL | {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_QWEN_EYES: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": PATCH}
_EYES: dict[str, Any] = {
    "hidden_size": VISION_WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": PATCH,
}
_QWEN_IDS: dict[str, Any] = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": IMAGE_START,
    "vision_end_token_id": IMAGE_END,
}


@dataclass(frozen=True)
class Tiny:
    """A tiny model and the prompts made for it.

    Attributes:
        model_type: Its architecture, as stock configurations name it.
        model: The stock model, in eval mode, fp32, on the CPU.
    """

    model_type: str
    model: Any

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self.model_type in _SIGHTS

    @property
    def vocab(self) -> int:
        """The number of ids it knows."""
        return self.model.get_input_embeddings().num_embeddings

    def inputs(self, seed: int = 0, n_text: int = 6, n_images: int = 1) -> dict[str, Tensor]:
        """Return what the stock forward takes for one random prompt: images, then words.

        Args:
            seed: Of the words and the pixels.
            n_text: Words after the images, at least one, so that a prompt ends in text.
            n_images: Images; a text model has no use for them and gets none.
        """
        if n_text < 1:
            raise ValueError(f"a prompt ends in text: n_text must be at least 1, not {n_text}")
        draw = torch.Generator().manual_seed(seed)
        words = torch.randint(FIRST_WORD, self.vocab, (n_text,), generator=draw).tolist()
        if not self.sees:
            return _prompt([BOS, *words])
        sight = _SIGHTS[self.model_type]
        picture = [IMAGE_START, *[IMAGE] * sight.tokens(n_images), IMAGE_END] if n_images else []
        prompt = _prompt([BOS, *picture * n_images, *words])
        if sight.kinds:
            prompt[sight.kinds] = (prompt["input_ids"] == IMAGE).long()
        return prompt | (sight.pixels(n_images, draw) if n_images else {})


def tiny(model_type: str, seed: int = 0, vocab: int = 40) -> Tiny:
    """Build the tiny model of an architecture.

    Args:
        model_type: One of `MODEL_TYPES`.
        seed: Of the weights.
        vocab: How many ids it knows; words start at `FIRST_WORD`.
    """
    if model_type not in _BUILDERS:
        raise ValueError(f"no tiny {model_type!r}; there are {', '.join(MODEL_TYPES)}")
    if vocab <= FIRST_WORD:
        raise ValueError(f"vocab must be above {FIRST_WORD}, or no id is a word; it is {vocab}")
    with torch.random.fork_rng(devices=[]):  # the library draws weights from the global generator
        torch.manual_seed(seed)
        model = _BUILDERS[model_type](vocab)
    _redraw(model, torch.Generator().manual_seed(seed))
    model.generation_config.eos_token_id = EOS
    model.generation_config.pad_token_id = PAD
    return Tiny(model_type, model.eval())


def _prompt(ids: list[int]) -> dict[str, Tensor]:
    input_ids = torch.tensor([ids])
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


@torch.no_grad()
def _redraw(model: PreTrainedModel, draw: Generator) -> None:
    """Draw every weight loudly; leave gains near one and biases near zero, but not on them."""
    head = model.get_output_embeddings()
    table = model.get_input_embeddings().weight
    tied = isinstance(head, nn.Linear) and head.weight is table
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=draw)
        if weight.ndim == 1:
            weight.copy_(weight.mean() + 0.2 * noise)
            continue
        loudness = _TIED_LOUDNESS if tied and weight is table else _LOUDNESS
        weight.copy_(noise * loudness / math.sqrt(min(len(weight), weight[0].numel())))


def _rope(theta: float = 10.0, **more: Any) -> dict[str, Any]:
    """Rotary parameters with a small base, so that a few positions make a difference."""
    return {"rope_type": "default", "rope_theta": theta, **more}


def _sharpen(attention: Any, gain: float) -> None:
    """Let heads choose: queries and keys with a norm of their own no longer grow with weights."""
    nn.init.constant_(attention.q_norm.weight, gain)
    nn.init.constant_(attention.k_norm.weight, gain)


def _gpt2(vocab: int) -> PreTrainedModel:
    config = transformers.GPT2Config(
        vocab_size=vocab, n_embd=WIDTH, n_layer=3, n_head=4, n_inner=64, n_positions=256, **_SPECIAL
    )
    return transformers.GPT2LMHeadModel(config)


def _llama(vocab: int) -> PreTrainedModel:
    config = transformers.LlamaConfig(vocab_size=vocab, rope_parameters=_rope(), **_TEXT)
    return transformers.LlamaForCausalLM(config)


def _qwen2(vocab: int) -> PreTrainedModel:
    config = transformers.Qwen2Config(vocab_size=vocab, rope_parameters=_rope(), **_TEXT)
    return transformers.Qwen2ForCausalLM(config)


def _qwen2_vl(vocab: int) -> PreTrainedModel:
    rope = _rope(mrope_section=[2, 2, 2])
    config = transformers.Qwen2VLConfig(
        text_config={**_TEXT, "vocab_size": vocab, "rope_parameters": rope},
        vision_config={**_QWEN_EYES, "embed_dim": VISION_WIDTH, "hidden_size": WIDTH},
        **_QWEN_IDS,
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def _qwen2_5_vl(vocab: int) -> PreTrainedModel:
    rope = _rope(mrope_section=[2, 2, 2])
    config = transformers.Qwen2_5_VLConfig(
        text_config={**_TEXT, "vocab_size": vocab, "rope_parameters": rope},
        vision_config={
            **_QWEN_EYES,
            "hidden_size": VISION_WIDTH,
            "intermediate_size": 48,
            "out_hidden_size": WIDTH,
            "window_size": 4 * PATCH,
            "fullatt_block_indexes": [1],
        },
        **_QWEN_IDS,
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl(vocab: int) -> PreTrainedModel:
    rope = _rope(mrope_section=[4, 2, 2])
    config = transformers.Qwen3VLConfig(
        text_config={**_TEXT, "vocab_size": vocab, "head_dim": 16, "rope_parameters": rope},
        vision_config={
            **_QWEN_EYES,
            "hidden_size": VISION_WIDTH,
            "intermediate_size": 48,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0, 1],
        },
        **_QWEN_IDS,
    )
    model = transformers.Qwen3VLForConditionalGeneration(config)
    for block in model.model.language_model.layers:
        _sharpen(block.self_attn, gain=2.0)
    return model


def _llava_onevision(vocab: int) -> PreTrainedModel:
    side = 2 * PATCH
    config = transformers.LlavaOnevisionConfig(
        text_config={
            **_TEXT,
            "model_type": "qwen2",
            "vocab_size": vocab,
            "rope_parameters": _rope(),
        },
        vision_config={
            **_EYES,
            "model_type": "siglip_vision_model",
            "image_size": side,
            "vision_use_head": False,
        },
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[side, side], [side, 2 * side], [2 * side, side]],
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config)


def _internvl(vocab: int) -> PreTrainedModel:
    config = transformers.InternVLConfig(
        text_config={
            **_TEXT,
            "model_type": "qwen2",
            "vocab_size": vocab,
            "rope_parameters": _rope(),
        },
        vision_config={**_EYES, "image_size": 4 * PATCH},
        image_token_id=IMAGE,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return transformers.InternVLForConditionalGeneration(config)


def _smolvlm(vocab: int) -> PreTrainedModel:
    config = transformers.SmolVLMConfig(
        text_config={
            **_TEXT,
            "model_type": "llama",
            "vocab_size": vocab,
            "rope_parameters": _rope(),
        },
        vision_config={**_EYES, "image_size": 4 * PATCH},
        image_token_id=IMAGE,
    )
    return transformers.SmolVLMForConditionalGeneration(config)


def _gemma3(vocab: int) -> PreTrainedModel:
    config = transformers.Gemma3Config(
        text_config={
            **_TEXT,
            "vocab_size": vocab,
            "head_dim": 16,
            "query_pre_attn_scalar": 24,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {"sliding_attention": _rope(), "full_attention": _rope(40.0)},
        },
        vision_config={
            **_EYES,
            "model_type": "siglip_vision_model",
            "image_size": 4 * PATCH,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=IMAGE_START,
        eoi_token_index=IMAGE_END,
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    for block in model.model.language_model.layers:  # its gains are one more than the weight
        _sharpen(block.self_attn, gain=2.0)
        nn.init.constant_(block.post_attention_layernorm.weight, 1.0)
        nn.init.constant_(block.post_feedforward_layernorm.weight, 1.0)
    return model


@dataclass(frozen=True)
class _Sight:
    """How an architecture is shown images.

    Attributes:
        pixels: Its image inputs, for a number of images.
        tokens: The placeholders of one image, among a number of images.
        kinds: The input that is 1 on placeholders and 0 on text, if it takes one.
    """

    pixels: Callable[[int, Generator], dict[str, Tensor]]
    tokens: Callable[[int], int]
    kinds: str | None = None


def _qwen_pixels(n_images: int, draw: Generator) -> dict[str, Tensor]:
    """Images of 4 x 6 patches, each patch a flat row of 2 frames x 3 channels x its pixels."""
    rows, columns = 4, 6
    patches = torch.randn(n_images * rows * columns, 3 * 2 * PATCH * PATCH, generator=draw)
    grid = torch.tensor([[1, rows, columns]] * n_images)
    return {"pixel_values": patches, "image_grid_thw": grid}


def _llava_pixels(n_images: int, draw: Generator) -> dict[str, Tensor]:
    """One wide image in two crops after an overview; several images in an overview each."""
    side = 2 * PATCH
    crops = 3 if n_images == 1 else 1
    return {
        "pixel_values": torch.randn(n_images, crops, 3, side, side, generator=draw),
        "image_sizes": torch.tensor([[side, 2 * side]] * n_images),
        "batch_num_images": torch.tensor([n_images]),
    }


def _llava_tokens(n_images: int) -> int:
    """Of an overview 4 and a newline; of one wide image 4, then 2 rows of 4 and a newline."""
    return 4 + 2 * (4 + 1) if n_images == 1 else 4 + 1


def _square_pixels(n_images: int, draw: Generator) -> dict[str, Tensor]:
    """Images of 4 x 4 patches, all in one batch."""
    return {"pixel_values": torch.randn(n_images, 3, 4 * PATCH, 4 * PATCH, generator=draw)}


def _smolvlm_pixels(n_images: int, draw: Generator) -> dict[str, Tensor]:
    """The same, in a batch of prompts, with a mask of the pixels that are there."""
    pixels = _square_pixels(n_images, draw)["pixel_values"][None]
    return {"pixel_values": pixels, "pixel_attention_mask": torch.ones_like(pixels[:, :, 0]).long()}


_BUILDERS: dict[str, Callable[[int], PreTrainedModel]] = {
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "gpt2": _gpt2,
    "llama": _llama,
    "qwen2": _qwen2,
    "llava_onevision": _llava_onevision,
    "internvl": _internvl,
    "smolvlm": _smolvlm,
    "gemma3": _gemma3,
}
_SIGHTS = {
    "qwen2_vl": _Sight(_qwen_pixels, lambda n: 6, kinds="mm_token_type_ids"),
    "qwen2_5_vl": _Sight(_qwen_pixels, lambda n: 6, kinds="mm_token_type_ids"),
    "qwen3_vl": _Sight(_qwen_pixels, lambda n: 6, kinds="mm_token_type_ids"),
    "llava_onevision": _Sight(_llava_pixels, _llava_tokens),
    "internvl": _Sight(_square_pixels, lambda n: 4),
    "smolvlm": _Sight(_smolvlm_pixels, lambda n: 4),
    "gemma3": _Sight(_square_pixels, lambda n: 4, kinds="token_type_ids"),
}

MODEL_TYPES = tuple(_BUILDERS)
SEEING = tuple(_SIGHTS)
