"""Results as plain data for JSON, which has no NaN and no infinity."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

__all__ = ["finite", "records"]


def finite(value: float) -> float | None:
    """Return a number, or nothing where there is none."""
    return float(value) if math.isfinite(value) else None


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows."""
    return [
        {
            str(key): finite(value) if isinstance(value, float) else value
            for key, value in row.items()
        }
        for row in frame.to_dict("records")
    ]
