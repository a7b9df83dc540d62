"""Readouts: what may be read from runs, with the control that stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from mindseye.errors import EditError, SampleError
from mindseye.interventions.asking import (
    Declared,
    check_signature,
    find_declared,
    parameters_of,
    read,
    values_of,
)
from mindseye.plugins import register
from mindseye.reasoners import Trace

__all__ = ["Readout", "Tabular", "find_readout", "readout"]


@runtime_checkable
class Tabular(Protocol):
    """What a readout returns, unless it is a frame already."""

    def to_frame(self) -> pd.DataFrame:
        """Return one row per measurement."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Readout(Declared):
    """A named way to read runs.

    Attributes:
        function: Takes runs, `rng` and its parameters; returns a frame, or what has `to_frame`.
        control: What every number stands beside, in words.
    """

    control: str

    def __call__(
        self, traces: Sequence[Trace], *, rng: np.random.Generator, **told: Any
    ) -> pd.DataFrame | Tabular:
        """Read runs.

        Args:
            traces: Runs that imagined.
            rng: Draws what is random; equal states give equal rows.
            told: Parameters; the others have their defaults.

        Raises:
            EditError: An unknown parameter, or something that is no table came back.
            SampleError: No runs.
        """
        if not traces:
            raise SampleError(f"Readout {self.name!r} got no runs. Pass runs that imagined.")
        found = self.function(traces, rng=rng, **self.told(told))
        if not isinstance(found, pd.DataFrame | Tabular):
            raise EditError(
                f"Readout {self.name!r} returned a {type(found).__name__}; expected a frame, or "
                "what has to_frame()."
            )
        return found


def readout(
    name: str, *, control: str
) -> Callable[[Callable[..., pd.DataFrame | Tabular]], Readout]:
    """Offer a function as the readout `name`.

    The function takes runs, `rng` by keyword and its parameters by keyword, and returns a frame. A
    number without its control has misled most of this literature, so that one must be declared.

    Args:
        name: What it is called.
        control: What every number stands beside, in words, such as `shuffled labels`.

    Raises:
        EditError: No control, or a function that takes no `rng`, or parameters by place.
    """
    if not control.strip():
        raise EditError(
            f"Readout {name!r} declares no control. Say what its numbers stand beside, such as "
            "shuffled labels, and return that too."
        )

    def offer(look: Callable[..., pd.DataFrame | Tabular]) -> Readout:
        check_signature(f"Readout {name!r}", look)
        made = Readout(name, look, parameters_of(look), control)
        return register("readout", name)(made)

    return offer


def find_readout(asked: str, **told: Any) -> tuple[Readout, Mapping[str, Any]]:
    """Return a readout and its parameters from a text such as `lens:kind=logit,top=5`.

    Raises:
        UnknownNameError: No readout of that name.
        EditError: A parameter that it does not have, or of another kind, or a missing one.
    """
    name, texts = read(asked)
    found = find_declared("readout", name, Readout)
    return found, found.told(values_of(found.parameters, texts) | told)
