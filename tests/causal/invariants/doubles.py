"""Models in which an identity holds to the last digits of double precision, or is affine."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


def in_double(model: Any) -> None:
    """Make a model compute in double throughout; its norms and rotations are single otherwise."""
    model.double()
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm"):
            module.forward = functools.partial(_norm, module)
        elif kind.endswith("RotaryEmbedding") and "Vision" not in kind:
            module.forward = functools.partial(_angles, module)


def straighten(block: Any, final_norm: Any) -> None:
    """Make all that follows the attention of the last block an affine map."""
    after = [each for each in block.children() if "Norm" in type(each).__name__][1:]
    for norm in (*after, final_norm):
        norm.forward = functools.partial(_scale, norm)
    block.mlp.forward = lambda x: 0.5 * x.roll(1, dims=-1)


def _gain(norm: Any) -> Tensor:
    return norm.weight + 1 if type(norm).__name__.startswith("Gemma") else norm.weight


def _norm(norm: Any, x: Tensor) -> Tensor:
    epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + epsilon) * _gain(norm)


def _scale(norm: Any, x: Tensor) -> Tensor:
    return x * _gain(norm)


def _angles(
    rotary: Any, x: Tensor, position_ids: Tensor, layer_type: str | None = None
) -> tuple[Tensor, Tensor]:
    frequencies = getattr(rotary, f"{layer_type}_inv_freq" if layer_type else "inv_freq")
    if not hasattr(rotary, "recomposition_frequencies"):
        angles = torch.cat([position_ids[..., None].to(x) * frequencies] * 2, dim=-1)
        return angles.cos(), angles.sin()
    angles = position_ids.expand(3, -1, -1)[..., None].to(x) * frequencies
    angles = rotary.recomposition_frequencies(angles)
    return angles.cos(), angles.sin()
