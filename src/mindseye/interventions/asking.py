"""Plug-ins with parameters: what they take, and how they are asked for on one line."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import math
import numbers
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from mindseye.errors import EditError
from mindseye.plugins import find

__all__ = [
    "Declared",
    "Parameter",
    "check_range",
    "check_signature",
    "find_declared",
    "parameters_of",
    "read",
    "settle",
    "values_of",
]

P = TypeVar("P", bound="Declared")

_GIVEN = ("rng",)
"""What every plug-in gets and nobody asks for."""

_ARGUMENT = re.compile(r"^ {4,}(\w+): (.+)$")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something a plug-in may be told.

    Attributes:
        name: Its keyword.
        kind: Its type: a number, a text, a truth, one of some words, or an object that only Python
            can give.
        default: What it is if nobody says; `inspect.Parameter.empty` if somebody must.
        meaning: The plug-in's own words on it.
    """

    name: str
    kind: Any
    default: Any
    meaning: str

    @property
    def needed(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def takes(self) -> str:
        """What kind of value it takes, in words."""
        return _named(self.kind)

    def read(self, text: str) -> Any:
        """Return a value from its text.

        Raises:
            EditError: It is not of this parameter's kind, or no text can say it.
        """
        try:
            return _from_text(self.kind, text)
        except (KeyError, ValueError) as fault:
            raise EditError(self._refusal(text)) from fault

    def take(self, value: Any) -> Any:
        """Return a value from Python, numbers as Python's own.

        Raises:
            EditError: It is not of this parameter's kind.
        """
        if not _fits(self.kind, value):
            raise EditError(self._refusal(value))
        return self.kind(value) if self.kind in (int, float, bool) else value

    def _refusal(self, value: object) -> str:
        return f"{self.name}={value!r}; expected {self.takes}. {self.meaning}".rstrip()


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A plug-in that says what it is: what perturbations, replacements and readouts have in common.

    Attributes:
        name: What it is called.
        function: Takes one thing by place, `rng` and its parameters by name.
        parameters: What it may be told.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function itself, by which the registry knows where it lives."""
        return self.function

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    def told(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that it is told.

        Raises:
            EditError: An unknown parameter, a missing one, or a value of another kind.
        """
        return settle(self.name, self.parameters, given)


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the keyword parameters of a plug-in's function, with its docstring's words on them.

    One without a type is of its default's kind.
    """
    hints, meanings = get_type_hints(function), _meanings(function.__doc__ or "")
    return tuple(
        Parameter(
            each.name,
            hints.get(each.name, type(each.default) if type(each.default) in _READERS else Any),
            each.default,
            meanings.get(each.name, ""),
        )
        for each in inspect.signature(function).parameters.values()
        if each.kind is inspect.Parameter.KEYWORD_ONLY and each.name not in _GIVEN
    )


def read(asked: str) -> tuple[str, dict[str, str]]:
    """Split `noise:scale=0.3,per=vector` into a name and the texts of its parameters.

    Raises:
        EditError: It is written otherwise.
    """
    name, _, rest = asked.partition(":")
    parts = [part.partition("=") for part in rest.split(",")] if rest else []
    texts = {key.strip(): value.strip() for key, equals, value in parts if key.strip() and equals}
    if not name.strip() or len(texts) < len(parts):
        raise EditError(
            f"{asked!r} does not say what to do; expected a name, and after a colon its "
            "parameters, each once and with commas between them, such as noise:scale=0.3."
        )
    return name.strip(), texts


def values_of(known: tuple[Parameter, ...], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what texts say, by parameter; unknown ones stay texts, for `settle` to refuse.

    Raises:
        EditError: A text is not of its parameter's kind.
    """
    by_name = {each.name: each for each in known}
    return {key: by_name[key].read(text) if key in by_name else text for key, text in texts.items()}


def find_declared(kind: str, name: str, declared: type[P]) -> P:
    """Return a plug-in that came with its declaration.

    Raises:
        UnknownNameError: None of that name.
        EditError: What was registered declares nothing.
    """
    found = find(kind, name)
    if not isinstance(found, declared):
        raise EditError(
            f"{kind.capitalize()} {name!r} is a {type(found).__name__} that declares nothing. "
            f"Register it with @{kind} instead of @register."
        )
    return found


def check_signature(what: str, function: Callable[..., Any]) -> None:
    """Refuse a plug-in's function that takes its chance or its parameters otherwise than by name.

    Args:
        what: The plug-in, as in `Perturbation 'fog'`.
        function: Takes one thing by place, and `rng` and its parameters by name.

    Raises:
        EditError: It takes no `rng`, or parameters by place.
    """
    first, *others = inspect.signature(function).parameters.values()
    if "rng" not in {each.name for each in others if each.kind is each.KEYWORD_ONLY}:
        raise EditError(
            f"{what} takes no rng; all chance comes from the generator that is passed in. Write "
            f"def {function.__name__}({first.name}, *, rng), also if nothing is random."
        )
    if early := [each.name for each in others if each.kind is not each.KEYWORD_ONLY]:
        raise EditError(
            f"{what} takes {early[0]!r} by place; parameters are told by name. Write "
            f"def {function.__name__}({first.name}, *, {early[0]}, rng)."
        )


def settle(
    name: str, known: tuple[Parameter, ...], given: Mapping[str, Any], *, texts: bool = False
) -> dict[str, Any]:
    """Return all parameters of a plug-in, given ones and defaults.

    Args:
        name: What the plug-in is called, for messages.
        known: Its parameters.
        given: Values by keyword.
        texts: Whether these are texts to be read.

    Raises:
        EditError: An unknown parameter, one that is missing, or a value of another kind.
    """
    by_name = {each.name: each for each in known}
    for key in given:
        if key not in by_name:
            nearest = difflib.get_close_matches(key, by_name, n=1)
            raise EditError(
                f"{name!r} has no parameter {key!r}; it has {', '.join(by_name) or 'none'}. "
                + (f"Did you mean {nearest[0]!r}?" if nearest else "Leave it out.")
            )
    for each in known:
        if each.needed and each.name not in given:
            raise EditError(f"{name!r} needs {each.name}. {each.meaning}".rstrip())
    values = {each.name: each.default for each in known if not each.needed}
    for key, value in given.items():
        values[key] = by_name[key].read(value) if texts else by_name[key].take(value)
    return values


def check_range(
    what: str, value: float | int, low: float | int, high: float | int, advice: str
) -> None:
    """Refuse a number that is not finite, or not between two others.

    Args:
        what: The plug-in and its parameter, as in `noise got sigma`.
        value: The number.
        low: The least that is taken.
        high: The most that is taken; infinite if there is no most.
        advice: What to do.

    Raises:
        EditError: It lies outside.
    """
    if not (math.isfinite(value) and low <= value <= high):
        limits = f"from {low:g} up" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise EditError(f"{what}={value}; it takes numbers {limits}. {advice}")


def _truth(text: str) -> bool:
    return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]


_READERS: dict[Any, Callable[[str], Any]] = {int: int, float: float, str: str, bool: _truth}

_INSTANCES: dict[Any, tuple[type, ...]] = {
    int: (numbers.Integral,),
    float: (numbers.Real,),
    str: (str,),
    bool: (bool, np.bool_),
}


def _from_text(kind: Any, text: str) -> Any:
    """Return what a text says.

    Raises:
        KeyError: It is none of some words.
        ValueError: It is nothing of that kind.
    """
    if kind is Any:
        return text
    if kind in _READERS:
        return _READERS[kind](text)
    if get_origin(kind) is Literal:
        return {str(word): word for word in get_args(kind)}[text]
    for choice in _choices(kind):
        with contextlib.suppress(KeyError, ValueError):
            return _from_text(choice, text)
    raise ValueError(text)


def _fits(kind: Any, value: Any) -> bool:
    """Return whether a value is of a kind; of objects only the plug-in itself can tell."""
    if choices := _choices(kind):
        is_none = value is None and type(None) in get_args(kind)
        return is_none or any(_fits(choice, value) for choice in choices)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return kind not in _INSTANCES or isinstance(value, _INSTANCES[kind])


def _choices(kind: Any) -> tuple[Any, ...]:
    """Return what `A | B | None` lets one choose from, in order; nothing for other kinds."""
    is_choice = get_origin(kind) in (Union, types.UnionType)
    return tuple(each for each in get_args(kind) if each is not type(None)) if is_choice else ()


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if choices := _choices(kind):
        return " or ".join(map(_named, choices))
    names = {int: "a whole number", float: "a number", bool: "yes or no", str: "a text"}
    return names.get(kind, f"a {_bare(kind)}, which only Python can give")


def _bare(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def _meanings(doc: str) -> dict[str, str]:
    """Return what a docstring's Args section says of each argument, in one line."""
    found: dict[str, str] = {}
    section, last = "", ""
    for line in inspect.cleandoc(doc).splitlines():
        if line and not line.startswith(" "):
            section, last = line.rstrip(":"), ""
        elif section == "Args" and line.strip():
            match = _ARGUMENT.match(line)
            if match and not line.startswith(" " * 8):
                last = match[1]
                found[last] = match[2]
            elif last:
                found[last] += f" {line.strip()}"
    return found
