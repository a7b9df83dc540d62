"""Lenses on disk: tensors as safetensors, everything else as JSON beside them; never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mindseye.errors import ModelError, OutputError

__all__ = ["read_folder", "write_folder", "wrong"]


def write_folder(
    folder: Path, kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Write `<kind>.safetensors` and `<kind>.json` into a folder, made if need be.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(whole, folder / f"{kind}.safetensors")
        text = json.dumps({"kind": kind, "schema": 1, **facts}, indent=1)
        (folder / f"{kind}.json").write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as fault:
        raise OutputError(
            f"The folder {str(folder)!r} cannot be written ({fault}). Name another one."
        ) from fault


def read_folder(
    folder: Path, kind: str, tensors: Mapping[str, int], facts: Mapping[str, type]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_folder` wrote.

    Args:
        folder: Where.
        kind: What it must be.
        tensors: The number of axes of each, by name.
        facts: The type of each, by name.

    Raises:
        ModelError: A file is missing or no such thing, or lacks a tensor or a fact.
    """
    try:
        held = load_file(folder / f"{kind}.safetensors")
        said = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
    except (OSError, SafetensorError, ValueError) as fault:
        raise wrong(folder, kind, str(fault)) from fault
    if not isinstance(said, dict) or said.get("kind") != kind or said.get("schema") != 1:
        raise wrong(folder, kind, f"{kind}.json is of another kind or schema")
    for name, n_axes in tensors.items():
        if name not in held or held[name].ndim != n_axes:
            raise wrong(folder, kind, f"tensor {name!r} is missing or has other axes")
    for name, type_ in facts.items():
        if not isinstance(said.get(name), type_):
            raise wrong(folder, kind, f"{name!r} is missing or no {type_.__name__}")
    return held, said


def wrong(folder: Path, kind: str, what: str) -> ModelError:
    """Return the error of a folder that does not hold what it should."""
    return ModelError(
        f"{str(folder)!r} holds no {kind}: {what}; expected {kind}.safetensors and {kind}.json as "
        "its save method writes them. Save it again."
    )
