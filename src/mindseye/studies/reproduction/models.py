"""The models in which the argument is run: three ways to answer, several training seeds each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mindseye.reasoners as reasoners
from mindseye.errors import SampleError, UnknownNameError
from mindseye.reasoners import Reasoner

__all__ = ["MODELS", "Model", "Models", "load_models"]

_SEEDS = ("", "-1", "-2")

MODELS: dict[str, tuple[str, ...]] = {
    way: tuple(f"organism:{way}{seed}" for seed in _SEEDS)
    for way in ("natural", "capimagine", "direct")
}
"""Shipped models by way: latents (trained as Mirage is), imagination in words, answers at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One trained model.

    Attributes:
        name: Without its scheme or the folders above it.
        reasoner: What runs.
    """

    name: str
    reasoner: Reasoner


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """All of them; a seed is a place in each of the three.

    Attributes:
        latents: Those that imagine in latents.
        words: Those that imagine in words.
        direct: Those that answer at once.
    """

    latents: tuple[Model, ...]
    words: tuple[Model, ...]
    direct: tuple[Model, ...]

    @property
    def named(self) -> dict[str, tuple[Model, ...]]:
        """Models by what their way is called."""
        return dict(zip(MODELS, (self.latents, self.words, self.direct), strict=True))

    @property
    def n_seeds(self) -> int:
        """How many of each there are."""
        return len(self.latents)


def load_models(named: Mapping[str, Sequence[str | Reasoner]]) -> Models:
    """Load models by way.

    Args:
        named: Reasoners, or anything `load` takes, by `natural`, `capimagine` and `direct`, as many
            of each.

    Raises:
        UnknownNameError: Another way, or one that is missing.
        SampleError: Not equally many of each, or none.
        ModelError: One that cannot be loaded.
    """
    if set(named) != set(MODELS):
        raise UnknownNameError(
            f"reproduce got models of {', '.join(map(repr, named)) or 'no way'}; expected some of "
            f"each: {', '.join(MODELS)}. Name all three."
        )
    counts = {way: len(each) for way, each in named.items()}
    if len(set(counts.values())) != 1 or not all(counts.values()):
        told = ", ".join(f"{n} {way}" for way, n in counts.items())
        raise SampleError(
            f"reproduce got {told} models; they are compared seed by seed. Name equally many of "
            "each, at least one."
        )
    loaded = {way: tuple(_model(each) for each in named[way]) for way in MODELS}
    return Models(loaded["natural"], loaded["capimagine"], loaded["direct"])


def _model(given: str | Reasoner) -> Model:
    reasoner = given if isinstance(given, Reasoner) else reasoners.load(given)
    return Model(_short(reasoner.name), reasoner)


def _short(name: str) -> str:
    """Return a name without its scheme, or the last part of a path or hub id."""
    return name.partition(":")[2] or Path(name).name
