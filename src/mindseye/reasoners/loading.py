"""Loading a checkpoint by name, with the stock class only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from mindseye.errors import ModelError, ProtocolError
from mindseye.plugins import find, names
from mindseye.reasoners.architectures import architecture_of
from mindseye.reasoners.manifest import MANIFEST, Manifest
from mindseye.reasoners.processor import load_processor
from mindseye.reasoners.protocol import LatentProtocol
from mindseye.reasoners.reasoner import Reasoner

__all__ = ["load"]


def load(
    source: str | Path,
    *,
    protocol: LatentProtocol | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Reasoner:
    """Load a reasoner.

    Args:
        source: A folder, a hub id, or `organism:NAME` for a built-in model of known truth.
        protocol: How the model emits latents; taken from the folder's `mindseye.json` if left out.
        device: Where to put the model; a GPU if there is one.
        dtype: Of the weights; exactness tests want float32.
        options: Passed to the stock class' `from_pretrained`, such as `revision` or `device_map`.

    Raises:
        ModelError: There is no such model, its architecture is unknown, or weights are missing.
        ProtocolError: Neither an argument nor the folder says how it emits latents, or its
            tokenizer lacks the markers.
        UnknownNameError: No organism of that name.
    """
    name = str(source)
    folder = _locate(name)
    manifest = Manifest.load(Path(folder)) if Path(folder).is_dir() else Manifest()
    protocol = protocol or manifest.protocol
    if protocol is None:
        raise ProtocolError(
            f"{name!r} says nothing of latents: it has no {MANIFEST} with a protocol. mindseye "
            "audits models that imagine; pass protocol=LatentProtocol(...) if this one does."
        )
    model, processor, architecture = _stock(name, folder, dtype, options)
    tokens = protocol.tokens(processor.tokenizer, model.get_input_embeddings().num_embeddings)
    if "device_map" not in options:
        model = model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Reasoner(
        name=name,
        model=model.eval(),
        processor=processor,
        architecture=architecture,
        protocol=protocol,
        tokens=tokens,
        wiring=manifest.wiring,
    )


def _locate(name: str) -> str:
    """Return the folder or hub id behind a name, asking whoever offers its scheme."""
    scheme, _, rest = name.partition(":")
    if rest and scheme in names("loader"):
        return str(find("loader", scheme)(rest))
    folder = Path(name)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{name!r} is no model folder: it has no config.json. Expected a Hugging Face "
                "folder with config, safetensors, tokenizer and image processor."
            )
        return name
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"{name!r} is neither a folder nor a hub id; expected a path that exists, "
            "'owner/name', or 'organism:NAME'. Check the spelling."
        )
    return name


_SHARED = ("revision", "cache_dir", "token", "local_files_only", "subfolder")
"""Options of `from_pretrained` that the config and the processor need as well."""


def _stock(
    name: str, folder: str, dtype: torch.dtype, options: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """Load the stock model and processor.

    Raises:
        ModelError: Anything the library refuses, or weights that do not match the architecture.
    """
    shared = {key: options[key] for key in _SHARED if key in options}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **shared)
        architecture = architecture_of(config.model_type)
        stock = getattr(transformers, architecture.auto_class)
        model, report = stock.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, **options
        )
        processor = load_processor(folder, **shared)
    except ModelError:
        raise
    except Exception as fault:  # a broken checkpoint fails in as many ways as it has files
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else repr(fault)
        raise ModelError(
            f"{name!r} cannot be loaded as a model ({reason}). Expected a Hugging Face folder or "
            "hub id with config, safetensors, tokenizer and image processor."
        ) from fault
    if not processor.chat_template or not processor.tokenizer("a").input_ids:
        lacking = "tokenizer.json" if processor.chat_template else "chat template"
        raise ModelError(
            f"{name!r} has no {lacking}, so it cannot be asked anything. Expected a Hugging Face "
            "folder with config, safetensors, tokenizer and image processor. Complete it."
        )
    wrong = {key: sorted(map(str, report[key])) for key in report if report[key]}
    if wrong:
        raise ModelError(
            f"{name!r} does not hold the weights that {architecture.auto_class} needs: "
            + "; ".join(f"{key.replace('_', ' ')} {values[:3]}" for key, values in wrong.items())
            + ". Expected every weight once and nothing else. Use the matching checkpoint."
        )
    return model, processor, architecture
