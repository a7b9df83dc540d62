"""TransformerLens names for the places in a stock model, to read them or to write them.

A hook name such as `blocks.2.hook_resid_mid` is looked up in the architecture's row; what comes out
is a `HookPoint`, and `hooked` turns functions on hook points into PyTorch hooks that leave with the
block.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindseye.errors import EditError
from mindseye.reasoners.architectures import Architecture

__all__ = ["Edit", "HookPoint", "hook_names", "hook_point", "hooked", "match_names"]

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_HEADED = ("attn.hook_q", "attn.hook_k", "attn.hook_v")
_WITHIN = (
    "hook_resid_pre",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_out",
    "hook_resid_post",
    *_HEADED,
    "attn.hook_z",
    "attn.hook_pattern",
)

Visit = Callable[[Tensor], Tensor | None]
"""Sees an activation, batch first; returns its replacement, or nothing to leave it."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """Set an activation at some positions of a replay.

    Attributes:
        hook: TransformerLens name of the activation.
        positions: Where, counted from the first token of the prompt.
        value: What to write, in the shape the cache shows it, without the batch axis.
        head: Which head alone is set, where the activation has heads; `value` then has that
            head's row only.
    """

    hook: str
    positions: Int[Tensor, " found"]
    value: Float[Tensor, "found *dims"]
    head: int | None = None


@dataclass(frozen=True, slots=True)
class HookPoint:
    """Where an activation passes.

    Attributes:
        module: Path of the module.
        side: Whether it goes in, comes out, or is the attention pattern beside the output.
        d_head: Width of a head if the last axis is split into heads.
        part: Which of three equal parts of the last axis it is, where projections are fused.
        in_place: Whether an edit must overwrite the tensor, because the block goes on with it.
    """

    module: str
    side: Literal["in", "out", "pattern"]
    d_head: int | None = None
    part: int | None = None
    in_place: bool = False


def hook_names(model: Any, architecture: Architecture) -> list[str]:
    """List every hook name of a model, in the order of computation."""
    n_layers = len(architecture.blocks(model))
    blocks = [f"blocks.{i}.{name}" for i in range(n_layers) for name in _WITHIN]
    return ["hook_embed", *blocks, "ln_final.hook_normalized"]


def match_names(patterns: Sequence[str], model: Any, architecture: Architecture) -> list[str]:
    """Return the hook names that match any of the patterns, such as `blocks.*.hook_resid_post`.

    Raises:
        EditError: A pattern matches nothing.
    """
    known = hook_names(model, architecture)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise EditError(_unknown(pattern, model, architecture))
    return [name for name in known if any(fnmatchcase(name, p) for p in patterns)]


def hook_point(name: str, model: Any, architecture: Architecture) -> HookPoint:
    """Return where the activation called `name` passes.

    Raises:
        EditError: The model has no such layer, or the name is unknown.
    """
    if name not in hook_names(model, architecture):
        raise EditError(_unknown(name, model, architecture))
    if name == "hook_embed":
        return HookPoint(architecture.decoder, "in")
    match = _BLOCK.fullmatch(name)
    if match is None:
        return HookPoint(f"{architecture.decoder}.{architecture.norm}", "out")
    block = f"{architecture.decoder}.{architecture.layers}.{match[1]}"
    attention = f"{block}.{architecture.attention}"
    stages: dict[str, tuple[str, Literal["in", "out", "pattern"]]] = {
        "hook_resid_pre": (block, "in"),
        "hook_attn_out": (f"{block}.{architecture.attention_out or architecture.attention}", "out"),
        "hook_mlp_out": (f"{block}.{architecture.mlp_out or architecture.mlp}", "out"),
        "hook_resid_post": (block, "out"),
        "attn.hook_pattern": (attention, "pattern"),
    }
    if match[2] == "hook_resid_mid":
        return HookPoint(f"{block}.{architecture.middle}", "in", in_place=True)
    if match[2] in stages:
        return HookPoint(*stages[match[2]])
    d_head: int = model.get_submodule(attention).head_dim
    if match[2] == "attn.hook_z":
        return HookPoint(f"{attention}.{architecture.out}", "in", d_head)
    which = _HEADED.index(match[2])
    if len(architecture.qkv) == 1:
        return HookPoint(f"{attention}.{architecture.qkv[0]}", "out", d_head, part=which)
    return HookPoint(f"{attention}.{architecture.qkv[which]}", "out", d_head)


@contextlib.contextmanager
def hooked(
    model: nn.Module, architecture: Architecture, visits: Mapping[str, Visit]
) -> Iterator[None]:
    """Run the block with functions on hook points; they are gone afterwards, whatever happens.

    Args:
        model: The stock model.
        architecture: Where its parts are.
        visits: What to do, by hook name.

    Raises:
        EditError: An unknown name.
    """
    # In order of computation: two names may share a module, and the later must see the earlier.
    points = {name: hook_point(name, model, architecture) for name in visits}
    order = hook_names(model, architecture)
    points = dict(sorted(points.items(), key=lambda item: order.index(item[0])))
    handles = []
    with contextlib.ExitStack() as stack:
        if any(point.side == "pattern" for point in points.values()):
            stack.enter_context(_attention_weights(model))
        for name, point in points.items():
            module = model.get_submodule(point.module)
            visit = _one_part(_split_heads(visits[name], point.d_head), point.part)
            if point.side == "in":
                handle = module.register_forward_pre_hook(
                    _on_input(visit, point.in_place), with_kwargs=True
                )
            else:
                handle = module.register_forward_hook(_on_output(visit, point.side))
            handles.append(handle)
            stack.callback(handle.remove)
        yield


def _on_input(visit: Visit, in_place: bool) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if in_place:
            new = visit(args[0])
            if new is not None:
                args[0].copy_(new)
            return None
        if args:
            new = visit(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        name = "inputs_embeds" if "inputs_embeds" in kwargs else "hidden_states"
        new = visit(kwargs[name])
        return None if new is None else (args, {**kwargs, name: new})

    return hook


def _on_output(visit: Visit, side: str) -> Callable[..., Any]:
    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, tuple):
            return visit(output)
        place = 1 if side == "pattern" else 0
        new = visit(output[place])
        return None if new is None else (*output[:place], new, *output[place + 1 :])

    return hook


def _split_heads(visit: Visit, d_head: int | None) -> Visit:
    if d_head is None:
        return visit

    def on_heads(flat: Tensor) -> Tensor | None:
        new = visit(flat.unflatten(-1, (-1, d_head)))
        return None if new is None else new.flatten(-2)

    return on_heads


def _one_part(visit: Visit, part: int | None) -> Visit:
    if part is None:
        return visit

    def on_part(fused: Tensor) -> Tensor | None:
        parts = list(fused.chunk(3, dim=-1))
        new = visit(parts[part])
        if new is None:
            return None
        parts[part] = new
        return torch.cat(parts, dim=-1)

    return on_part


@contextlib.contextmanager
def _attention_weights(model: Any) -> Iterator[None]:
    """Let the decoder's attention return its weights, which only eager attention computes."""
    text = model.config.get_text_config()
    usual = text._attn_implementation

    def choose(kind: str) -> None:
        model.set_attn_implementation(kind if text is model.config else {"text_config": kind})

    choose("eager")
    try:
        yield
    finally:
        choose(usual)


def _unknown(name: str, model: Any, architecture: Architecture) -> str:
    n_layers = len(architecture.blocks(model))
    match = _BLOCK.fullmatch(name)
    if match is not None and match[1].isdigit() and int(match[1]) >= n_layers:
        return f"No hook {name!r}: the model has layers 0 to {n_layers - 1}. Pass one of these."
    return (
        f"No hook {name!r}; there are hook_embed, ln_final.hook_normalized and, in each layer i of "
        f"0 to {n_layers - 1}, blocks.i. followed by {', '.join(_WITHIN)}. Pass one of these."
    )
