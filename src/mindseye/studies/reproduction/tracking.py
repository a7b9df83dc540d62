"""How a long study says where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["Track", "untracked"]

Track = Callable[[str, Sequence[Any]], Iterable[Any]]
"""Wraps what is gone through to show progress; the first argument says what is going on."""


def untracked(title: str, items: Sequence[Any]) -> Iterable[Any]:
    """Show no progress."""
    return items
