"""Options that several commands share, and what they mean to the library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "DType",
    "Device",
    "Levels",
    "Model",
    "Out",
    "Pairs",
    "ProtocolName",
    "Seed",
    "loading",
    "quiet",
]

Model = Annotated[str, typer.Argument(help="A folder, a hub id, or organism:NAME.")]
Out = Annotated[Path, typer.Option(help="Folder for two pages, a summary and two tables.")]
Pairs = Annotated[int, typer.Option("--pairs", help="Minimal and placebo pairs, each.")]
Levels = Annotated[str, typer.Option(help="Mediators, separated by commas.")]
Seed = Annotated[int, typer.Option(help="Of pairs and statistics.")]
ProtocolName = Annotated[
    str | None,
    typer.Option("--protocol", help="A family's preset; told from the checkpoint if left out."),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, ...; a GPU if there is one, if left out.")
]
DType = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]


def loading(protocol: str | None, device: str | None, dtype: str) -> dict[str, Any]:
    """Turn the options that say how to load into those of `load`."""
    import torch

    from mindseye.errors import ModelError

    kinds = ("float32", "bfloat16", "float16")
    if dtype not in kinds:
        raise ModelError(f"--dtype got {dtype!r}; it takes one of {', '.join(kinds)}.")
    return {"protocol": protocol, "device": device, "dtype": getattr(torch, dtype)}


def quiet() -> None:
    """Keep the libraries' own progress bars and advice out of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
