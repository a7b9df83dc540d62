"""Loading a checkpoint by name, or wrapping a model in memory; with the stock class only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from mindseye.errors import ModelError, ProtocolError, first_line
from mindseye.plugins import find, names
from mindseye.reasoners.architectures import Architecture, architecture_of
from mindseye.reasoners.inspection import LoadReport
from mindseye.reasoners.manifest import MANIFEST, Manifest
from mindseye.reasoners.maps import load_extras
from mindseye.reasoners.presets import protocol as preset
from mindseye.reasoners.processor import load_processor
from mindseye.reasoners.protocols import LatentProtocol
from mindseye.reasoners.reasoner import Reasoner
from mindseye.reasoners.recognition import Checkpoint, Recognised, fit, recognise
from mindseye.reasoners.wiring import Knockout

__all__ = ["load", "locate", "wrap"]


def load(
    source: str | Path,
    *,
    protocol: LatentProtocol | str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Reasoner:
    """Load a reasoner.

    Args:
        source: A folder, a hub id, or `organism:NAME` for a built-in model of known truth.
        protocol: How the model emits latents, or the name of a preset such as `mirage`. If left
            out, the checkpoint's `mindseye.json` says, or else its own tokens do.
        device: Where to put the model; a GPU if there is one.
        dtype: Of the weights; exactness tests want float32.
        options: Passed to the stock class' `from_pretrained`, such as `revision`, `device_map` or
            `quantization_config`.

    Raises:
        ModelError: There is no such model, its architecture is unknown, or weights are missing.
        ProtocolError: Nothing says how it emits latents, or its tokenizer lacks the markers.
        UnknownNameError: No organism or preset of that name.
    """
    name = str(source)
    if isinstance(protocol, str):
        preset(protocol)  # a name misspelt should not wait for the weights
    folder, finish = locate(name)
    manifest = _manifest(folder, options)
    found = _stock(name, folder, dtype, options)
    checkpoint = _checkpoint(found.processor, found.model.config, found.extras)
    recognised = _protocol(name, protocol, manifest, checkpoint)
    assert recognised.protocol is not None
    if not {"device_map", "quantization_config"} & set(options):
        found.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    reasoner = _assemble(
        name,
        found.model,
        found.processor,
        recognised.protocol,
        modules=found.extras,
        wiring=manifest.wiring if manifest else (),
        report=LoadReport(
            recognised.how,
            missing=found.missing,
            unexpected=found.unexpected,
            extras=tuple(sorted(found.extras)),
            revision=getattr(found.model.config, "_commit_hash", None),
        ),
    )
    return finish(reasoner)


def wrap(
    model: Any,
    processor: Any = None,
    protocol: LatentProtocol | str | None = None,
    *,
    modules: Mapping[str, nn.Module | Tensor] | None = None,
    wiring: tuple[Knockout, ...] = (),
    eos: int | Collection[int] | None = None,
    name: str = "wrapped",
) -> Reasoner:
    """Make a reasoner from a model that is already in memory.

    Args:
        model: A stock transformers model; it is not copied.
        processor: Its processor, or its tokenizer if it reads text only. Without one, the reasoner
            runs on prepared inputs, and the protocol's markers are ids.
        protocol: How it emits latents, or the name of a preset; told from the tokenizer's own
            tokens if left out.
        modules: Extra weights that the protocol names.
        wiring: Attention edges to cut.
        eos: Ids that end a run; those of the model's generation config if left out.
        name: What to call it.

    Raises:
        ModelError: Its architecture is unknown.
        ProtocolError: Nothing says how it emits latents, or a marker cannot be found.
        UnknownNameError: No preset of that name.
    """
    modules = dict(modules or {})
    recognised = _protocol(name, protocol, None, _checkpoint(processor, model.config, modules))
    assert recognised.protocol is not None
    report = LoadReport(recognised.how, extras=tuple(sorted(modules)))
    return _assemble(name, model, processor, recognised.protocol, modules, wiring, report, eos=eos)


@dataclass(frozen=True, slots=True, eq=False)
class _Stock:
    """What the library made of a checkpoint."""

    model: Any
    processor: Any
    extras: Mapping[str, nn.Module | Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def _assemble(
    name: str,
    model: Any,
    processor: Any,
    protocol: LatentProtocol,
    modules: Mapping[str, nn.Module | Tensor],
    wiring: tuple[Knockout, ...],
    report: LoadReport,
    eos: int | Collection[int] | None = None,
) -> Reasoner:
    """Put a reasoner together, once everything its protocol names is there.

    Raises:
        ProtocolError: A module or marker is missing, or feedback comes from a layer too far.
    """
    architecture = architecture_of(model.config.model_type)
    protocol.source_hook(len(architecture.blocks(model)))
    for wanted in (protocol.map, protocol.end_by_vector and protocol.end_by_vector.name):
        if wanted is not None and wanted not in modules:
            raise ProtocolError(
                f"Protocol {protocol.name!r} takes {wanted!r}, which {name!r} does not hold; it "
                f"holds {', '.join(sorted(modules)) or 'no extra weights'}. Use a checkpoint that "
                "has it, pass wrap(..., modules=...), or another protocol."
            )
    modules = {key: _beside(value, model) for key, value in modules.items()}
    _check_width(name, protocol, modules, model)
    tokenizer = getattr(processor, "tokenizer", processor)
    tokens = protocol.tokens(tokenizer, model.get_input_embeddings().num_embeddings)
    return Reasoner(
        name=name,
        model=model.eval(),
        processor=processor,
        architecture=architecture,
        protocol=protocol,
        tokens=tokens,
        eos=_eos(model, tokenizer, eos),
        modules=modules,
        wiring=wiring,
        report=report,
    )


def _beside(value: nn.Module | Tensor, model: Any) -> nn.Module | Tensor:
    """Put extra weights where the model's states come out, in its dtype."""
    return value.to(device=model.get_output_embeddings().weight.device, dtype=model.dtype)


@torch.no_grad()
def _check_width(
    name: str, protocol: LatentProtocol, modules: Mapping[str, nn.Module | Tensor], model: Any
) -> None:
    """Try the extra weights that the protocol uses on one state of the model's width."""
    width = model.get_input_embeddings().embedding_dim
    one = torch.zeros(1, width, device=model.get_output_embeddings().weight.device)
    for key in filter(None, (protocol.map, protocol.end_by_vector and protocol.end_by_vector.name)):
        part = modules[key]
        try:
            fits = (
                part if isinstance(part, Tensor) else part(one.to(model.dtype))
            ).numel() == width
        except RuntimeError:
            fits = False
        if not fits:
            raise ProtocolError(
                f"{key!r} of {name!r} does not fit states of width {width}. Use the weights that "
                "belong to this model."
            )


def _eos(model: Any, tokenizer: Any, given: int | Collection[int] | None) -> frozenset[int]:
    if given is None:
        given = model.generation_config.eos_token_id
    if given is None and tokenizer is not None:
        given = tokenizer.eos_token_id
    if given is None:
        return frozenset()
    return frozenset([given] if isinstance(given, int) else given)


def _protocol(
    name: str,
    given: LatentProtocol | str | None,
    manifest: Manifest | None,
    checkpoint: Checkpoint,
) -> Recognised:
    """Settle on a protocol: what was asked for, else the manifest's, else the tokens'.

    Raises:
        ProtocolError: None of them says anything.
        UnknownNameError: What was asked for is no preset.
    """
    if isinstance(given, LatentProtocol):
        return Recognised(given, "given")
    if given is not None:
        return Recognised(fit(given, checkpoint), f"preset {given}, as asked for")
    if manifest is not None:
        how = f"the checkpoint's {MANIFEST}"
        recognised = Recognised(manifest.protocol, how if manifest.protocol else f"{how} has none")
    else:
        recognised = recognise(checkpoint)
    if recognised.protocol is None:
        raise _no_protocol(name, recognised)
    return recognised


def _checkpoint(processor: Any, config: Any, extras: Collection[str]) -> Checkpoint:
    tokenizer = getattr(processor, "tokenizer", processor)
    return Checkpoint({} if tokenizer is None else tokenizer.get_vocab(), config, extras)


def _no_protocol(name: str, recognised: Recognised) -> ProtocolError:
    return ProtocolError(
        f"{name!r} says nothing of latents: {recognised.how}. Pass protocol='text' if it reasons "
        f"in words, the name of its family, or a LatentProtocol(...); a {MANIFEST} can say it too."
    )


def locate(name: str) -> tuple[str, Callable[[Reasoner], Reasoner]]:
    """Return the folder or hub id behind a name, and what is left to do once it is loaded.

    A scheme such as `organism:` belongs to whoever offers a loader of that name, which returns both
    for what comes after the colon.
    """
    scheme, _, rest = name.partition(":")
    if rest and scheme in names("loader"):
        folder, finish = find("loader", scheme)(rest)
        return str(folder), finish
    folder = Path(name)
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{name!r} is no model folder: it has no config.json. Expected a Hugging Face "
                "folder with config, safetensors, tokenizer and image processor."
            )
        return name, _as_it_is
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"{name!r} is neither a folder nor a hub id; expected a path that exists, "
            "'owner/name', or 'organism:NAME'. Check the spelling."
        )
    return name, _as_it_is


def _as_it_is(reasoner: Reasoner) -> Reasoner:
    """Change nothing."""
    return reasoner


_SHARED = ("revision", "cache_dir", "token", "local_files_only", "subfolder")
"""Options of `from_pretrained` that the config and the processor need as well."""


def _shared(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in _SHARED if key in options}


def _manifest(folder: str, options: Mapping[str, Any]) -> Manifest | None:
    """Read a checkpoint's manifest, from its folder or from the hub, if it has one."""
    path = transformers.utils.hub.cached_file(
        folder,
        MANIFEST,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **_shared(options),
    )
    return Manifest.load(Path(path).parent) if path else None


def _stock(name: str, folder: str, dtype: torch.dtype, options: dict[str, Any]) -> _Stock:
    """Load the stock model and processor, and the known weights beside them.

    The class is chosen by `model_type`: an `architectures` entry that only the family's own code
    knows is passed over, and key names of older versions are renamed by the library.

    Raises:
        ModelError: Anything the library refuses, or weights that do not match the architecture.
    """
    options = {"use_safetensors": True, **options}  # no pickle unless asked for by name
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **_shared(options))
        architecture = architecture_of(config.model_type)
        stock = getattr(transformers, architecture.auto_class)
        model, report = stock.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, **options
        )
        processor = load_processor(folder, config, **_shared(options))
    except ModelError:
        raise
    except Exception as fault:  # a broken checkpoint fails in as many ways as it has files
        reason = first_line(fault)
        raise ModelError(
            f"{name!r} cannot be loaded as a model ({reason}). Expected a Hugging Face folder or "
            "hub id with config, safetensors, tokenizer and image processor."
        ) from fault
    _check_processor(name, processor, architecture)
    extras, leftover = _extras(folder, report.pop("unexpected_keys", ()), options)
    wrong = {key: sorted(map(str, report[key])) for key in report if report[key]}
    if leftover:
        wrong["unexpected_keys"] = sorted(leftover)
    if wrong:
        raise ModelError(
            f"{name!r} does not hold the weights that {architecture.auto_class} needs: "
            + "; ".join(f"{key.replace('_', ' ')} {values[:3]}" for key, values in wrong.items())
            + ". Expected every weight once and nothing else. Use the matching checkpoint."
        )
    return _Stock(model, processor, extras, tuple(sorted(report["missing_keys"])), leftover)


def _extras(
    folder: str, unexpected: Collection[str], options: Mapping[str, Any]
) -> tuple[Mapping[str, nn.Module | Tensor], tuple[str, ...]]:
    """Load what a checkpoint holds beside the stock weights, and name what nobody knows."""
    if not unexpected:
        return {}, ()
    # Beside the config, be that in a folder or in the cache of the hub's files.
    config = transformers.utils.hub.cached_file(folder, "config.json", **_shared(options))
    found = load_extras(Path(str(config)).parent, unexpected)
    return found.modules, found.leftover


def _check_processor(name: str, processor: Any, architecture: Architecture) -> None:
    tokenizer = getattr(processor, "tokenizer", processor)
    sees = hasattr(processor, "image_processor")
    if sees and not processor.chat_template:
        lacking = "chat template"
    elif not tokenizer("a").input_ids:
        lacking = "tokenizer.json"
    else:
        return
    raise ModelError(
        f"{name!r} has no {lacking}, so it cannot be asked anything. Expected a Hugging Face "
        f"folder of {architecture.auto_class} with config, safetensors, tokenizer and, if it sees, "
        "image processor. Complete it."
    )
