"""CODI's checkpoints as ordinary folders.

CODI saves a wrapper: the whole base model under LoRA adapters, and its projection beside it. Once
the adapters are merged it is a stock model with three more embedding rows (padding, beginning and
end of thought) and the tensors of `prj`, which `load_extras` finds.

Source: Shen et al. 2025, arXiv 2502.21074; the layout was read in zhenyi4/codi.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from mindseye.errors import ModelError, OutputError, first_line
from mindseye.reasoners.maps import read_tensors

__all__ = ["ADDED_ROWS", "codi_state", "convert"]

ADDED_ROWS = 3
"""Rows after the base vocabulary: padding, beginning of thought, end of thought, in this order."""

_WRAPPERS = re.compile(r"^codi\.(?:base_model\.model\.)?")
_ADAPTED = re.compile(r"(.+)\.(?:base_layer|lora_A\.default|lora_B\.default)\.weight")


def convert(
    checkpoint: Path,
    base: Path | str,
    out: Path,
    *,
    lora_alpha: float = 32.0,
    lora_r: int | None = None,
    dtype: torch.dtype = torch.float32,
    allow_pickle: bool = False,
) -> None:
    """Write a CODI checkpoint as a folder that the stock class loads.

    Args:
        checkpoint: The folder with CODI's `model.safetensors`.
        base: The model it was trained from, as a folder or hub id; its config and tokenizer are
            used, its weights are not, since CODI's checkpoint has them.
        out: Where to write config, weights and tokenizer.
        lora_alpha: As in training, 32 in all published scripts; no checkpoint holds it.
        lora_r: As in training; read from the adapters' shapes if left out.
        dtype: Of the written weights. Merged weights in bfloat16 would lose what the adapters
            change in the last digits, so it is float32.
        allow_pickle: Read `pytorch_model.bin` where there are no safetensors, by torch's unpickler
            for weights only. CODI's own training scripts save no other file.

    Raises:
        ModelError: The checkpoint cannot be read or is not CODI's on this base.
        OutputError: `out` already holds weights.
    """
    if (out / "model.safetensors").exists():
        raise OutputError(
            f"{str(out)!r} already has a model.safetensors; expected a folder without one. Choose "
            "another, or remove it first."
        )
    config, tokenizer = _base(base)
    config.vocab_size += ADDED_ROWS
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    transposed = {name for name, part in model.named_modules() if isinstance(part, Conv1D)}
    state = codi_state(_read(checkpoint, allow_pickle), lora_alpha, lora_r, transposed)
    state = _fitting(state, model, checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: tensor.to(dtype).contiguous() for key, tensor in state.items()},
        out / "model.safetensors",
        metadata={"format": "pt"},
    )
    config.architectures = [type(model).__name__]
    config.dtype = dtype
    config.save_pretrained(out)
    model.generation_config.save_pretrained(out)
    tokenizer.chat_template = None  # CODI asks the bare question, also of an instruction model
    tokenizer.save_pretrained(out)


def codi_state(
    tensors: Mapping[str, Tensor],
    lora_alpha: float,
    lora_r: int | None = None,
    transposed: Collection[str] = (),
) -> dict[str, Tensor]:
    """Return CODI's tensors under the stock model's names, with the adapters merged.

    What CODI's wrapper holds beside the model (`prj.*`) keeps its name. Merged weights are in
    float32 at least.

    Args:
        tensors: All tensors of the checkpoint.
        lora_alpha: The adapters' scale is this over their rank.
        lora_r: Their rank; read from their shapes if left out.
        transposed: Stock names of modules whose weight is (in, out), as GPT-2's are.

    Raises:
        ModelError: An adapter is incomplete, of another rank or shape, or of a kind that CODI does
            not use.
    """
    stock = {_WRAPPERS.sub("", key): tensor for key, tensor in tensors.items()}
    adapted = {match[1] for key in stock if (match := _ADAPTED.fullmatch(key))}
    state = {}
    for key, tensor in stock.items():
        if key.endswith((".lora_A.default.weight", ".lora_B.default.weight")):
            continue
        if "lora_" in key:
            raise ModelError(
                f"CODI checkpoint has {key}; expected adapters lora_A.default and lora_B.default "
                "only, as plain LoRA has them. Merge the adapters with peft."
            )
        state[key.replace(".base_layer.", ".")] = tensor
    for module in sorted(adapted):
        change = _change(stock, module, lora_alpha, lora_r)
        weight = _of(stock, f"{module}.base_layer.weight")
        change = change.T if module in transposed else change
        if change.shape != weight.shape:
            raise ModelError(
                f"CODI checkpoint has {module}.base_layer.weight of shape {tuple(weight.shape)}; "
                f"expected {tuple(change.shape)} by its adapter. Pass transposed=... for weights "
                "of GPT-2's kind."
            )
        state[f"{module}.weight"] = weight + change
    return state


def _change(
    stock: Mapping[str, Tensor], module: str, lora_alpha: float, lora_r: int | None
) -> Tensor:
    """Return what an adapter adds to its (out, in) weight."""
    down, up = (_of(stock, f"{module}.lora_{side}.default.weight") for side in "AB")
    rank = down.shape[0]
    if up.shape[1] != rank or lora_r not in (None, rank):
        raise ModelError(
            f"CODI checkpoint has {module}.lora_A of rank {rank} and lora_B of rank "
            f"{up.shape[1]}; expected {lora_r or 'equal ranks'}. Pass the rank of its training."
        )
    wide = torch.promote_types(down.dtype, torch.float32)
    return up.to(wide) @ down.to(wide) * (lora_alpha / rank)


def _of(stock: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in stock:
        raise ModelError(
            f"CODI checkpoint has no tensor {key}; expected every adapted weight with its two "
            "adapters. Complete the checkpoint."
        )
    return stock[key]


def _base(base: Path | str) -> tuple[Any, Any]:
    try:
        config = transformers.AutoConfig.from_pretrained(base)
        return config, transformers.AutoTokenizer.from_pretrained(base)
    except Exception as fault:  # a broken folder fails in as many ways as it has files
        reason = first_line(fault)
        raise ModelError(
            f"Base {str(base)!r} cannot be loaded ({reason}); expected a folder or hub id with "
            "config and tokenizer. Pass the model that CODI was trained from."
        ) from fault


def _read(checkpoint: Path, allow_pickle: bool) -> dict[str, Tensor]:
    pickled = checkpoint / "pytorch_model.bin"
    if (checkpoint / "model.safetensors").is_file() or not pickled.is_file():
        return read_tensors(checkpoint)
    if not allow_pickle:
        raise ModelError(
            f"{str(checkpoint)!r} holds only {pickled.name}, and unpickling can run code; expected "
            "model.safetensors. Pass allow_pickle=True to read it by torch's unpickler for weights."
        )
    try:
        held = torch.load(pickled, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as fault:
        reason = first_line(fault)
        raise ModelError(
            f"{str(pickled)!r} cannot be read ({reason}); expected pickled tensors and nothing "
            "else. Download it again."
        ) from fault
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ModelError(
            f"{str(pickled)!r} holds {type(held).__name__}; expected tensors by name. Use the file "
            "that CODI's training wrote."
        )
    return held


def _fitting(state: Mapping[str, Tensor], model: Any, checkpoint: Path) -> dict[str, Tensor]:
    """Return the tensors without tied doubles, once they are the model's and `prj`'s.

    CODI ties the weights after loading, so that of two tied tensors the source is the one in use.

    Raises:
        ModelError: Tensors are missing, of another shape, or not the model's.
    """
    state = dict(state)
    for double, source in model.all_tied_weights_keys.items():
        if double in state:
            state.setdefault(source, state.pop(double))
    wanted = {k: v.shape for k, v in model.state_dict().items()}
    wanted = {k: shape for k, shape in wanted.items() if k not in model.all_tied_weights_keys}
    missing = [key for key in wanted if key not in state]
    unknown = [key for key in state if key not in wanted and not key.startswith("prj.")]
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(shape)}"
        for key, shape in wanted.items()
        if key in state and state[key].shape != shape
    ]
    if missing or unknown or wrong:
        raise ModelError(
            f"{str(checkpoint)!r} is no CODI checkpoint on this {type(model).__name__}: missing "
            f"{missing[:3]}, unknown {unknown[:3]}, of another shape {wrong[:3]}; expected the "
            f"base's tensors with {ADDED_ROWS} more embedding rows, and prj. Pass the right base."
        )
    return state
