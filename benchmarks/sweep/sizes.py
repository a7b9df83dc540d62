"""A random-weight Qwen2.5-VL of any shape, and the two image prompts that are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.initialization import no_init_weights

import mindseye as me
from mindseye import Reasoner, Trace

__all__ = ["BENCH", "REAL_7B", "TINY", "Setting", "Sizes", "build"]

IMAGE, VIDEO, VISION_START, VISION_END, START, PAD, END = 3, 4, 5, 6, 7, 8, 9
FIRST_WORD = 10
PATCH, MERGE, FRAMES = 14, 2, 2


@dataclass(frozen=True, slots=True)
class Sizes:
    """Everything that a time depends on.

    Attributes:
        prompt: Positions of the prompt, the image's included.
        grid: Rows and columns of image positions; as large a square as fits well if left out.
        slots: Latents of a run.
    """

    layers: int = 12
    width: int = 512
    inner: int = 1376
    heads: int = 8
    kv_heads: int = 2
    vocab: int = 8192
    vision_depth: int = 4
    vision_width: int = 256
    vision_inner: int = 512
    vision_heads: int = 4
    prompt: int = 1200
    grid: tuple[int, int] | None = None
    slots: int = 8

    @property
    def image_grid(self) -> tuple[int, int]:
        """Rows and columns of image positions."""
        side = math.isqrt(int(0.92 * self.prompt))
        return self.grid or (side, side)


BENCH = Sizes()
TINY = Sizes(3, 32, 64, 4, 2, 128, 2, 32, 64, 2, prompt=60, slots=4)
REAL_7B = Sizes(
    28, 3584, 18944, 28, 4, 152064, 32, 1280, 3420, 16, prompt=2060, grid=(40, 50), slots=10
)


@dataclass(frozen=True, eq=False)
class Setting:
    """A model with its two prompts.

    Attributes:
        sizes: What it was built from.
        reasoner: The model, wrapped.
    """

    sizes: Sizes
    reasoner: Reasoner

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.reasoner.model.device

    @cached_property
    def clean(self) -> dict[str, Tensor]:
        """The clean prompt, as the stock forward takes it."""
        return self._inputs(seed=0)

    @cached_property
    def reference(self) -> dict[str, Tensor]:
        """The same words about another image."""
        return self._inputs(seed=1)

    def run(self, inputs: dict[str, Tensor], *, keep: bool = False) -> Trace:
        """Run a prompt and cut the run where its outcome is read."""
        length = self.sizes.slots + 4
        trace = self.reasoner.run(
            inputs, force_start=True, max_new_tokens=length, past_key_values=keep
        )
        assert trace.emitted
        return trace.until_answer()

    def _inputs(self, seed: int) -> dict[str, Tensor]:
        sizes = self.sizes
        rows, columns = sizes.image_grid
        n_words = sizes.prompt - rows * columns - 2
        words = torch.randint(
            FIRST_WORD, sizes.vocab, (n_words,), generator=torch.Generator().manual_seed(2)
        )
        before = min(20, n_words // 2)
        image = [
            torch.tensor([VISION_START]),
            torch.full((rows * columns,), IMAGE),
            torch.tensor([VISION_END]),
        ]
        ids = torch.cat([words[:before], *image, words[before:]])[None]
        n_patches = rows * columns * MERGE**2
        pixels = torch.randn(
            n_patches,
            3 * FRAMES * PATCH**2,
            generator=torch.Generator().manual_seed(seed),
        )
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values": pixels.to(self.reasoner.model.dtype),
            "image_grid_thw": torch.tensor([[1, rows * MERGE, columns * MERGE]]),
            "mm_token_type_ids": (ids == IMAGE).int(),
        }
        return {name: value.to(self.device) for name, value in inputs.items()}


def build(sizes: Sizes, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Setting:
    """Make a model whose weights are drawn where they will stay.

    Args:
        sizes: Its shape.
        device: Where it runs.
        dtype: Of its weights.
    """
    config = _config(sizes)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init_weights(), init_empty_weights(include_buffers=False):
            model: Any = Qwen2_5_VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(usual)
    model._apply(lambda t: torch.empty_like(t, device=device) if t.is_meta else t.to(device))
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter, is_norm in _parameters(model):
            # So wide that a patched slot moves the logits well beyond rounding.
            spread = sizes.width**-0.5
            parameter.fill_(1) if is_norm else parameter.normal_(0, spread, generator=generator)
    protocol = me.protocol("monet_vllm", start=START, pad=PAD, end=END, n_slots=sizes.slots)
    return Setting(sizes, me.wrap(model.eval(), protocol=protocol))


def _parameters(model: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            yield parameter, "Norm" in type(module).__name__


def _config(sizes: Sizes) -> Qwen2_5_VLConfig:
    half = sizes.width // sizes.heads // 2
    side = 3 * half // 8
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": sizes.width,
            "intermediate_size": sizes.inner,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.kv_heads,
            "vocab_size": sizes.vocab,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [half - 2 * side, side, side],
            },
            "max_position_embeddings": 8192,
            "bos_token_id": None,
            "eos_token_id": None,
        },
        vision_config={
            "depth": sizes.vision_depth,
            "hidden_size": sizes.vision_width,
            "intermediate_size": sizes.vision_inner,
            "num_heads": sizes.vision_heads,
            "out_hidden_size": sizes.width,
            "patch_size": PATCH,
            "window_size": 8 * PATCH,
            "fullatt_block_indexes": [sizes.vision_depth - 1],
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )
