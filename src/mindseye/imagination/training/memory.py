"""What a training run needs of each GPU, worked out on paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mindseye.errors import ModelError
from mindseye.imagination.training.recipe import Recipe

__all__ = ["QWEN2_5_VL_7B", "MemoryPlan", "ModelShape", "memory_plan"]

Sharding = Literal["none", "zero2", "full_shard"]

_TEXT_TOKENS = 1024
"""Of question, imagination and answer, unless told otherwise."""

_TILE = (4096, 32768)
"""Positions and words of the tile of logits that trl's fused head holds at once."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that count of a Qwen2.5-VL.

    Attributes:
        width: Of the text decoder's states.
        layers: Its blocks.
        mlp: Width inside its MLPs.
        kv_width: Of all keys (or values) of a position.
        vocab: Rows of the embedding matrix.
        tied: Whether the head is that matrix.
        vision_width: Of the vision tower's states.
        vision_layers: Its blocks.
        vision_mlp: Width inside its MLPs.
        patch_pixels: Pixels of a patch, over frames and channels.
        merge: Patches that become one image token.
    """

    width: int
    layers: int
    mlp: int
    kv_width: int
    vocab: int
    tied: bool
    vision_width: int
    vision_layers: int
    vision_mlp: int
    patch_pixels: int = 3 * 2 * 14 * 14
    merge: int = 4

    @property
    def block(self) -> int:
        """Parameters of one text block."""
        d, kv = self.width, self.kv_width
        return 2 * d * d + d + 2 * (d * kv + kv) + 3 * d * self.mlp + 2 * d

    @property
    def text(self) -> int:
        """Parameters of the text model, embeddings and head included."""
        tables = 1 if self.tied else 2
        return self.layers * self.block + self.width + tables * self.vocab * self.width

    @property
    def vision(self) -> int:
        """Parameters of the vision tower and its merger."""
        w, f, merged = self.vision_width, self.vision_mlp, self.merge * self.vision_width
        block = 4 * w * w + 4 * w + 3 * w * f + 2 * f + w + 2 * w
        merger = w + merged * merged + merged + merged * self.width + self.width
        return self.patch_pixels * w + self.vision_layers * block + merger

    def adapter(self, rank: int, *, with_vision: bool) -> int:
        """Parameters of a LoRA adapter: rank x (in + out) of every linear map in the blocks."""
        d, kv, f = self.width, self.kv_width, self.mlp
        text = self.layers * (2 * (d + d) + 2 * (d + kv) + 3 * (d + f))
        w, g, merged = self.vision_width, self.vision_mlp, self.merge * self.vision_width
        tower = self.vision_layers * ((w + 3 * w) + (w + w) + 3 * (w + g))
        vision = tower + 2 * merged + merged + d
        return rank * (text + (vision if with_vision else 0))


QWEN2_5_VL_7B = ModelShape(
    width=3584,
    layers=28,
    mlp=18944,
    kv_width=512,
    vocab=152064,
    tied=False,
    vision_width=1280,
    vision_layers=32,
    vision_mlp=3420,
)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes that one GPU holds at the peak of a training step.

    Attributes:
        trained: Trained parameters, over all GPUs.
        weights: Weights as they are computed with, and fp32 masters of the trained ones.
        gradients: Of the trained weights.
        optimiser: AdamW's two moments.
        activations: What the backward pass needs of one micro-batch.
        logits: The tile of logits that is in flight.
    """

    trained: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Their sum; allow a tenth more for fragments, buffers and the CUDA context."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.logits


def memory_plan(
    recipe: Recipe,
    n_gpus: int = 1,
    *,
    sharding: Sharding = "none",
    n_tokens: int | None = None,
    shape: ModelShape = QWEN2_5_VL_7B,
) -> MemoryPlan:
    """Work out what each GPU must hold.

    With P parameters, T of them trained, n GPUs, b items of s tokens per micro-batch, L blocks of
    width d with MLPs of width f and keys of width k, and c bytes per computed number (2 in bf16, 4
    in fp32):

    - weights: c P to compute with, and 4 T for masters (none in fp32, where they are the same);
    - gradients 4 T; AdamW's moments 8 T;
    - activations: A = c b s (10 d + 2 k + 4 f) per block. Without checkpointing L A; with it
      c L b s d for the blocks' inputs, and A for the one that is computed again. Attention is
      taken to be fused, so no s x s matrix is held. A trained vision tower adds the same over its
      patches; a frozen one keeps nothing;
    - logits: trl's fused head never holds them all, but a tile of up to 4,096 positions by 32,768
      words, in fp32 and as computed.

    ZeRO-2 divides masters, gradients and moments by n. Full sharding (FSDP, ZeRO-3) divides the
    computed weights too, and gathers two blocks at a time. Gradients and masters are counted at
    four bytes throughout, an upper bound for DeepSpeed, which may keep two.

    Args:
        recipe: What is trained, and how.
        n_gpus: GPUs in all.
        sharding: `none` (one GPU, or copies on each), `zero2`, or `full_shard`.
        n_tokens: Tokens per item; the recipe's image limit and 1,024 of text if left out.
        shape: Sizes of the model.

    Returns:
        Bytes per GPU.

    Raises:
        ModelError: `n_gpus` is below 1, or neither `n_tokens` nor an image limit is known.

    Source: arXiv 1910.02054 (ZeRO); activation counts after arXiv 2205.05198, for SwiGLU and
    grouped queries.
    """
    if n_gpus < 1:
        raise ModelError(f"memory_plan got n_gpus={n_gpus}; expected at least 1.")
    if n_tokens is None and recipe.max_pixels is None:
        raise ModelError(
            "memory_plan cannot tell how long an item is: the recipe has no max_pixels. Pass "
            "n_tokens, or give the recipe a limit."
        )
    n_image = (recipe.max_pixels or 0) // (28 * 28)
    tokens = recipe.micro_batch * (n_tokens if n_tokens is not None else n_image + _TEXT_TOKENS)
    each = 2 if recipe.precision == "bf16" else 4
    lora = recipe.tuning == "lora"
    adapter = shape.adapter(recipe.lora_rank, with_vision=recipe.train_vision) if lora else 0
    everything = shape.text + shape.vision + adapter
    trained = adapter or shape.text + (shape.vision if recipe.train_vision else 0)
    masters = 4 * trained if recipe.precision == "bf16" else 0
    split = 1 if sharding == "none" else n_gpus
    computed = each * everything
    if sharding == "full_shard":
        computed = computed // n_gpus + 2 * each * shape.block
    return MemoryPlan(
        trained=trained,
        weights=computed + masters // split,
        gradients=4 * trained // split,
        optimiser=8 * trained // split,
        activations=_activations(recipe, shape, tokens, each)
        + (_vision_activations(recipe, shape, n_image, each) if recipe.train_vision else 0),
        logits=min(tokens, _TILE[0]) * min(shape.vocab, _TILE[1]) * (4 + each),
    )


def _activations(recipe: Recipe, shape: ModelShape, tokens: int, each: int) -> int:
    block = each * tokens * (10 * shape.width + 2 * shape.kv_width + 4 * shape.mlp)
    if not recipe.gradient_checkpointing:
        return shape.layers * block
    return each * shape.layers * tokens * shape.width + block


def _vision_activations(recipe: Recipe, shape: ModelShape, n_image: int, each: int) -> int:
    patches = recipe.micro_batch * n_image * shape.merge
    block = each * patches * (12 * shape.vision_width + 4 * shape.vision_mlp)
    if not recipe.gradient_checkpointing:
        return shape.vision_layers * block
    return each * shape.vision_layers * patches * shape.vision_width + block
