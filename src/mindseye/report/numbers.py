"""How numbers are written for people."""

from __future__ import annotations

import math

__all__ = ["nats", "percent", "span_of"]


def nats(value: float | None, *, digits: int = 2) -> str:
    """Write a number with a true minus sign; what is not finite becomes a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "\N{MINUS SIGN}")


def percent(share: float | None) -> str:
    """Write a share as whole percent; what is not finite becomes a dash."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{nats(100 * share, digits=0)}%"


def span_of(low: float | None, high: float | None, *, digits: int = 2) -> str:
    """Write an interval; an end that is not finite is open."""
    return f"{nats(low, digits=digits)} to {nats(high, digits=digits)}"
