"""Which protocol a checkpoint speaks: its tokens name the family, its config the counts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mindseye.plugins import names
from mindseye.reasoners.presets import PRESETS, protocol
from mindseye.reasoners.protocols import LatentProtocol

__all__ = ["Checkpoint", "Recognised", "fit", "recognise"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says of itself.

    Attributes:
        vocabulary: Token strings of its tokenizer.
        config: Its stock config; fields that families add to it are read by name.
        extras: Names of the modules found beside the stock weights.
    """

    vocabulary: Mapping[str, int]
    config: Any
    extras: Collection[str]


@dataclass(frozen=True, slots=True)
class Recognised:
    """How a checkpoint's protocol was found.

    Attributes:
        protocol: The protocol; none if nothing speaks for one.
        how: In words.
    """

    protocol: LatentProtocol | None
    how: str


def recognise(checkpoint: Checkpoint) -> Recognised:
    """Name the preset that a checkpoint's tokens and extra weights speak for."""
    for name, hint in _SIGNS.items():
        tokens = _signature(PRESETS[name])
        extra = _NEEDS.get(name)
        known = all(token in checkpoint.vocabulary for token in tokens)
        if known and (extra is None or extra in checkpoint.extras):
            said = ", ".join([*map(repr, tokens), *([extra] if extra else [])])
            return Recognised(fit(name, checkpoint), f"preset {name}, by {said}{hint}")
    offered = ", ".join(names("protocol"))
    return Recognised(None, f"it has no known family's tokens; presets are {offered}")


def fit(name: str, checkpoint: Checkpoint) -> LatentProtocol:
    """Return a preset with what this checkpoint itself records: counts, experts, a head.

    Raises:
        UnknownNameError: No preset or plug-in of that name.
    """
    preset = protocol(name)
    changes = _ADAPT[name](checkpoint) if name in _ADAPT else {}
    return protocol(name, **changes) if changes else preset


_SIGNS = {
    "monet_vllm": " (pass protocol='monet_train' for the convention of its training)",
    "lvr_vector": "",
    "lvr_steps": " (pass protocol='lvr_free' to let it end its own segments)",
    "swimbird": "",
    "mirage": " (ILVR and Mull have the same tokens: pass protocol='ilvr' or 'mull' for theirs)",
    "skila": "",
    "laser": "",
    "covt": "",
    "lavit": "",
    "coconut": "",
    "codi": "",
}
"""Presets in the order in which they are tried, with what else the tokens might mean."""

_NEEDS = {"lvr_vector": "lvr_latent_end_emb", "codi": "prj"}
"""Extra weights without which it is not this one."""


def _signature(preset: LatentProtocol) -> tuple[str, ...]:
    """Return the marker strings that only this family has, or has in this combination."""
    pads = preset.pad if isinstance(preset.pad, tuple) else (preset.pad,)
    if preset.name == "covt":  # the released variants have some of the four experts each
        pads = ("<|sam_pad|>",)
    return tuple(m for m in (preset.start, *pads, preset.end) if isinstance(m, str))


def _count(field: str, times: int = 1) -> Callable[[Checkpoint], dict[str, Any]]:
    """Take the number of slots from a field that the family adds to its config."""

    def adapt(checkpoint: Checkpoint) -> dict[str, Any]:
        value = getattr(checkpoint.config, field, None)
        return {"n_slots": value * times} if type(value) is int and value > 0 else {}

    return adapt


def _head(checkpoint: Checkpoint) -> dict[str, Any]:
    found = "lvr_head" in checkpoint.extras
    return {"map": "lvr_head", "map_at": "slots"} if found else {}


def _experts(checkpoint: Checkpoint) -> dict[str, Any]:
    pads = PRESETS["covt"].pad
    assert isinstance(pads, tuple)
    found = tuple(pad for pad in pads if pad in checkpoint.vocabulary)
    return {"pad": found} if found else {}


_ADAPT = {
    "lvr_steps": _head,
    "lvr_free": _head,
    "lvr_vector": _head,
    "ilvr": _count("latent_size"),
    "skila": _count("sketch_token_num", 2),
    "swimbird": _count("max_latent_token", 2),
    "covt": _experts,
}
"""What a preset takes from the checkpoint; Mirage's own loop ignores `latent_size`."""
