"""A blank organism: a small stock Qwen2.5-VL, its tokenizer and its processor, untrained."""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
)

from mindseye.reasoners.processor import without_video
from mindseye.reasoners.protocols import LatentProtocol
from mindseye.tasks.digits import CELL, COLOURS, KINDS, Digits

__all__ = ["N_SLOTS", "PROTOCOL", "blank_model", "blank_processor"]

N_SLOTS = 4
PROTOCOL = LatentProtocol("<|latent_start|>", "<|latent_pad|>", "<|latent_end|>", n_slots=N_SLOTS)

WIDTH = 128
PATCH = 8

_ROPE_THETA = 4.0
"""Small, because Qwen's rotary sections give width the slowest frequencies: at the usual base of a
million, columns of a 4 x 4 grid differ by a thousandth of a radian and cannot be told apart."""

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    PROTOCOL.pad,
    PROTOCOL.start,
    PROTOCOL.end,
)

_TEMPLATE = (
    "<|im_start|>system\nImagine, then answer.<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def blank_processor() -> Any:
    """Build the processor: patches of 8 pixels, merged 2 x 2, and a byte-level BPE tokenizer.

    The tokenizer learns its merges from the digits world's own sentences, so that their words are
    single tokens, while bytes stay as a fallback for anything else.
    """
    world = Digits(kinds=KINDS)
    sentences = [
        text for s in world.samples(2000, split="train") for text in (s.question, s.imagination)
    ]
    words = [*COLOURS, *(f" {colour}" for colour in COLOURS), "system", "user", "assistant"]
    corpus = [*sentences, *words * 500, *["Imagine, then answer."] * 500]
    tokenizer = Qwen2Tokenizer(extra_special_tokens=list(_SPECIAL)).train_new_from_iterator(
        corpus, vocab_size=512, show_progress=False
    )
    tokenizer.add_special_tokens(
        {
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "extra_special_tokens": list(_SPECIAL),
        }
    )
    side = PATCH * 2
    images = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=2,
        size={"shortest_edge": side * side, "longest_edge": (3 * CELL) ** 2},
    )
    return without_video(Qwen2_5_VLProcessor)(images, tokenizer, chat_template=_TEMPLATE)


def blank_model(processor: Any, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """Build the untrained model: 4 layers of width 128, and a vision tower of depth 3, width 96.

    Weights start at about 1/sqrt(width); at the library's default of 0.02 a model this narrow
    learns nothing in a thousand steps.
    """
    torch.manual_seed(seed)
    ids = processor.tokenizer.convert_tokens_to_ids
    spread = 1 / math.sqrt(WIDTH)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": _ROPE_THETA,
                "mrope_section": [4, 6, 6],
            },
            "initializer_range": spread,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": PATCH,
            "window_size": 16 * PATCH,
            "fullatt_block_indexes": [0, 1, 2],
            "out_hidden_size": WIDTH,
            "initializer_range": spread,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = ids("<|im_end|>")
    model.generation_config.pad_token_id = ids("<|endoftext|>")
    return model
