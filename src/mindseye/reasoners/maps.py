"""The few weights that families carry beside the stock model, rebuilt from their tensors alone.

No family's own code runs: a checkpoint is loaded by the stock class, which reports the tensors it
has no use for, and those that are known to be a map from a state to a latent, or a vector that
ends a segment, become modules here. Which form a map has is told by the names of its tensors, not
by the checkpoint's config, whose fields differ between versions of the families' code.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.activations import ACT2FN

from mindseye.errors import ModelError

__all__ = ["Extras", "GatedMap", "load_extras", "read_tensors"]

_OURS = re.compile(r"(?:^|\.)(?:(lvr_head|prj)\.(.+)|(lvr_latent_end_emb))$")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True, slots=True)
class Extras:
    """What a checkpoint holds beside the stock weights.

    Attributes:
        modules: By the name that protocols use: `lvr_head` and `prj` map a state to a latent,
            `lvr_latent_end_emb` is a vector. In the checkpoint's own dtype, on the CPU.
        leftover: Keys that are none of these.
    """

    modules: Mapping[str, nn.Module | Tensor]
    leftover: tuple[str, ...]


class GatedMap(nn.Module):
    """A gated MLP with biases: `down(act(gate(x)) * up(x))`, LVR's `glu` head."""

    def __init__(self, width: int, inner: int, act: nn.Module) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner)
        self.up_proj = nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)
        self.act = act

    def forward(self, state: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        return self.down_proj(self.act(self.gate_proj(state)) * self.up_proj(state))


def load_extras(folder: Path, unexpected: Collection[str]) -> Extras:
    """Rebuild the maps and vectors among the tensors that the stock model had no use for.

    Only their tensors are read, from safetensors.

    Args:
        folder: The checkpoint: `model.safetensors`, or shards and their index.
        unexpected: The keys that the stock class reported as unexpected.

    Raises:
        ModelError: A map lacks a tensor or has one too many, a shape is wrong, the files are no
            safetensors, or a gated head's checkpoint does not say its activation.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    leftover = []
    for key in sorted(unexpected):
        name = _our_name(key)
        if name is None:
            leftover.append(key)
            continue
        group, part = name
        if part in groups[group]:
            raise ModelError(
                f"{str(folder)!r} has {group} twice: {groups[group][part]} and {key}; expected one "
                "set of weights for it. Use a checkpoint that holds a single model."
            )
        groups[group][part] = key
    if not groups:
        return Extras({}, tuple(leftover))
    places = {name: key for key in _stored_in(folder) if (name := _our_name(key))}
    modules: dict[str, nn.Module | Tensor] = {}
    for group, parts in groups.items():
        keys = {part: places.get((group, part), key) for part, key in parts.items()}
        read = read_tensors(folder, keys.values())
        found = _Group(folder, group, keys, {part: read[key] for part, key in keys.items()})
        modules[group] = _BUILDERS[group](found)
    return Extras(modules, tuple(leftover))


def _our_name(key: str) -> tuple[str, str] | None:
    """Split a key into the name of a map and that of a tensor in it, without what comes before.

    Stock classes rename the beginning of old keys while loading, also of those they report.
    """
    found = _OURS.search(key)
    return (found[1] or found[3], found[2] or "") if found else None


@dataclass(frozen=True, slots=True)
class _Group:
    """The tensors of one map, by their names inside it, and their keys for messages."""

    folder: Path
    name: str
    keys: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    def key(self, part: str) -> str:
        """Return a tensor's key in the checkpoint, also of one that is not there."""
        known, key = next(iter(self.keys.items()))
        return self.keys.get(part, key.removesuffix(known) + part)

    def matrix(self, part: str) -> tuple[int, int]:
        """Return the rows and columns of a weight that tells how wide the map is."""
        shape = self._get(part).shape
        if len(shape) != 2:
            raise self.misshapen(part, "a matrix")
        return shape[0], shape[1]

    def fill(self, module: nn.Module) -> nn.Module:
        """Put the tensors into a module made on the meta device, once each fits."""
        wanted = module.state_dict()
        for part, place in wanted.items():
            if self._get(part).shape != place.shape:
                raise self.misshapen(part, str(tuple(place.shape)))
        for part in self.tensors:
            if part not in wanted:
                raise ModelError(
                    f"{str(self.folder)!r} has a tensor {self.key(part)}, which no known form of "
                    f"{self.name} has; expected {', '.join(wanted)}. Build the map yourself and "
                    "pass it to wrap(..., modules=...)."
                )
        module.load_state_dict(dict(self.tensors), assign=True)
        return module.eval()

    def _get(self, part: str) -> Tensor:
        if part not in self.tensors:
            raise ModelError(
                f"{str(self.folder)!r} has no tensor {self.key(part)}, though it has "
                f"{next(iter(self.keys.values()))}; expected all of {self.name}. Complete the "
                "checkpoint."
            )
        return self.tensors[part]

    def misshapen(self, part: str, expected: str) -> ModelError:
        """Return the error that says a tensor's shape does not fit the others."""
        return ModelError(
            f"{str(self.folder)!r} has {self.key(part)} of shape "
            f"{tuple(self.tensors[part].shape)}; expected {expected}, as the rest of {self.name} "
            "has it. Use a whole checkpoint of one model."
        )


def _lvr_head(found: _Group) -> nn.Module:
    """Rebuild LVR's head in either of its forms."""
    if any(part.startswith(("gate_proj.", "up_proj.", "down_proj.")) for part in found.tensors):
        inner, width = found.matrix("gate_proj.weight")
        act = _hidden_act(found.folder)
        with torch.device("meta"):
            return found.fill(GatedMap(width, inner, act))
    inner, width = found.matrix("mlp.0.weight")
    with torch.device("meta"):
        mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        norm = nn.LayerNorm(width, eps=1e-6)
        return found.fill(nn.Sequential(OrderedDict(ln_q=norm, mlp=mlp)))


def _prj(found: _Group) -> nn.Module:
    """Rebuild CODI's projection; the dropout at its beginning does nothing outside training."""
    inner, width = found.matrix("1.weight")
    with torch.device("meta"):
        prj = nn.Sequential(
            nn.Identity(), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)
        )
        if any(part.startswith("ln.") for part in found.tensors):
            prj.add_module("ln", nn.LayerNorm(width))
        return found.fill(prj)


def _vector(found: _Group) -> Tensor:
    vector = found.tensors[""]
    if vector.ndim != 1:
        raise found.misshapen("", "one axis")
    return vector


_BUILDERS: dict[str, Callable[[_Group], nn.Module | Tensor]] = {
    "lvr_head": _lvr_head,
    "prj": _prj,
    "lvr_latent_end_emb": _vector,
}


def _hidden_act(folder: Path) -> nn.Module:
    """Return the activation of the text model's MLPs, which the gated head shares."""
    try:
        config = transformers.AutoConfig.from_pretrained(folder).get_text_config()
        return ACT2FN[config.hidden_act]
    except (OSError, ValueError, KeyError, AttributeError) as fault:
        raise ModelError(
            f"{str(folder)!r} has a gated lvr_head, but its config.json names no activation of "
            f"transformers ({fault}); expected the text model's hidden_act. Complete the config."
        ) from fault


def _stored_in(folder: Path) -> dict[str, Path]:
    """Return the file of every tensor in a checkpoint.

    Raises:
        ModelError: The folder has no safetensors under the usual names.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():  # before the index, as the stock class has it
        with _opened(single) as file:
            return dict.fromkeys(file.keys(), single)
    if index.is_file():
        try:
            files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return {key: folder / file for key, file in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise ModelError(
                f"{str(index)!r} is no index of shards ({fault!r}); expected a JSON object with a "
                "weight_map from tensors to files. Download it again."
            ) from fault
    pickles = [path.name for path in sorted(folder.glob("*")) if path.suffix in _PICKLES]
    held = f"only {', '.join(pickles)}, and unpickling can run code" if pickles else "no weights"
    raise ModelError(
        f"{str(folder)!r} holds {held}; expected model.safetensors, or shards and "
        "model.safetensors.index.json. Convert the checkpoint to safetensors."
    )


def read_tensors(folder: Path, keys: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Read some tensors of a checkpoint onto the CPU, and leave the others on disk.

    Args:
        folder: The checkpoint: `model.safetensors`, or shards and their index.
        keys: Names of the tensors; all if left out.

    Raises:
        ModelError: A tensor is in none of the files, or a file is no safetensors.
    """
    places = _stored_in(folder)
    by_file: dict[Path, list[str]] = defaultdict(list)
    for key in places if keys is None else keys:
        if key not in places:
            raise ModelError(
                f"{str(folder)!r} has no tensor {key}; expected it among the {len(places)} of its "
                "safetensors. Use the folder that the model was loaded from."
            )
        by_file[places[key]].append(key)
    tensors = {}
    for path, keys_there in by_file.items():
        with _opened(path) as file:
            tensors |= {key: _tensor(file, path, key) for key in keys_there}
    return tensors


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as fault:
        raise ModelError(
            f"{str(path)!r} cannot be read ({fault}); expected safetensors. Download it again."
        ) from fault


def _tensor(file: safe_open, path: Path, key: str) -> Tensor:
    try:
        return file.get_tensor(key)
    except SafetensorError as fault:
        raise ModelError(
            f"{str(path)!r} has no tensor {key} ({fault}), though the index says so. "
            "Download the shard again."
        ) from fault
