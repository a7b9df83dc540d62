"""Which outcome a figure draws, and how its values are written."""

from __future__ import annotations

from collections.abc import Sequence

from mindseye.engine.contrast import unit_of as declared_unit
from mindseye.errors import UnknownNameError
from mindseye.report.numbers import nats

__all__ = ["choose", "digits_of", "unit_of", "written"]


def choose(outcome: str | None, outcomes: Sequence[str]) -> str:
    """Return the outcome that is to be drawn, in words; the first one if none is named.

    Raises:
        UnknownNameError: It was not measured.
    """
    named = outcomes[0] if outcome is None else outcome.replace("_", " ")
    if named not in outcomes:
        raise UnknownNameError(
            f"No outcome {outcome!r} in this result; there are: {', '.join(outcomes)}. Choose one "
            "of these."
        )
    return named


def unit_of(outcome: str) -> str:
    """Return the unit of an outcome; probabilities and outcomes of others have none."""
    unit = declared_unit(outcome)
    return "" if unit == "share" else unit


def digits_of(outcome: str) -> int:
    """Return how many decimals to write; what has no unit is small and gets one more."""
    return 2 if unit_of(outcome) else 3


def written(value: float, outcome: str) -> str:
    """Write a value of an outcome, with its unit if it has one."""
    return f"{nats(value, digits=digits_of(outcome))} {unit_of(outcome)}".rstrip()
