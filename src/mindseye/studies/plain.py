"""Results as plain data for strict JSON."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Return data that strict JSON can hold: frames as their rows, what is not finite as null."""
    if isinstance(value, pd.DataFrame):
        return plain(value.to_dict("records"))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
