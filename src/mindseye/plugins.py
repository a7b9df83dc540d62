"""The registry behind every plug-in point.

A plug-in is offered under a kind and a name, by decorator or as an entry point of the group
`mindseye.<kind>`; our own plug-ins use the entry points too. It is also how a lower room asks for
something that lives higher up: `find("loader", "organism")`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from mindseye.errors import UnknownNameError

__all__ = ["find", "names", "register"]

F = TypeVar("F")

_offers: dict[tuple[str, str], Any] = {}


def register(kind: str, name: str) -> Callable[[F], F]:
    """Offer a function, a class or an object as `name`. Re-running its notebook cell replaces it.

    Raises:
        ValueError: Another module already holds the name.
    """

    def offer(plugin: F) -> F:
        holder = _offers.get((kind, name), plugin)
        if _home(holder) != _home(plugin):
            raise ValueError(f"{kind} {name!r} belongs to {_home(holder)}; choose another name.")
        _offers[kind, name] = plugin
        return plugin

    return offer


def _home(plugin: object) -> str:
    """Return where a plug-in is defined; partials and other nameless things are themselves."""
    plugin = getattr(plugin, "__wrapped__", plugin)
    module = getattr(plugin, "__module__", None)
    own = repr(plugin) if callable(plugin) else type(plugin).__qualname__
    return f"{module}.{getattr(plugin, '__qualname__', own)}"


def find(kind: str, name: str) -> Any:
    """Return the plug-in called `name`, importing its package if need be.

    Raises:
        UnknownNameError: Nobody offers it; the message lists what there is.
    """
    if (kind, name) not in _offers:
        for entry in entry_points(group=f"mindseye.{kind}", name=name):
            _offers.setdefault((kind, name), entry.load())
    if (kind, name) not in _offers:
        nearest = difflib.get_close_matches(name, names(kind), n=1)
        raise UnknownNameError(
            f"No {kind} {name!r}; there are: {', '.join(names(kind)) or 'none'}. "
            + (f"Did you mean {nearest[0]!r}? " if nearest else "")
            + "Choose one of these, or install the package that has it."
        )
    return _offers[kind, name]


def names(kind: str) -> list[str]:
    """List what is registered or installed under `kind`, sorted."""
    installed = {entry.name for entry in entry_points(group=f"mindseye.{kind}")}
    return sorted(installed | {name for held, name in _offers if held == kind})
