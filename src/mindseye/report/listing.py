"""What there is of every kind of plug-in, with its declarations, for the terminal."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

from rich.table import Table
from rich.text import Text

from mindseye.errors import UnknownNameError
from mindseye.interventions.asking import Parameter
from mindseye.plugins import find, names

__all__ = ["LISTS", "parameter_table", "plugin_table"]

Listed = Literal[
    "perturbations", "replacements", "outcomes", "readouts", "tasks", "protocols", "organisms"
]
LISTS: tuple[Listed, ...] = get_args(Listed)
"""What can be listed."""

_Line = tuple[str, str, str, str]
"""Name, parameters, declarations, what it does."""


def plugin_table(kind: str) -> Table:
    """Return everything of one kind: what each does, what it takes and what it declares.

    Raises:
        UnknownNameError: No such kind.
    """
    if kind not in LISTS:
        raise UnknownNameError(
            f"Nothing is listed as {kind!r}; there are: {', '.join(LISTS)}. Choose one of these."
        )
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, told, declared, does in _LINES[kind]():
        told_and_declared = "; ".join(part for part in (told, declared) if part)
        table.add_row(name, Text.assemble(does, "\n", (told_and_declared, "dim")))
    return table


def parameter_table(kind: str, name: str) -> Table:
    """Return what one plug-in takes, a parameter a line: its default and its meaning.

    Raises:
        UnknownNameError: No such kind, or no plug-in of that name.
    """
    if kind not in LISTS:
        raise UnknownNameError(
            f"Nothing is listed as {kind!r}; there are: {', '.join(LISTS)}. Choose one of these."
        )
    found = find(kind.removesuffix("s"), name)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in getattr(found, "parameters", ()):
        default = "needed" if each.needed else f"={_shown(each.default)}"
        table.add_row(each.name, default, Text.assemble(each.meaning, (f" ({each.takes})", "dim")))
    return table


def _perturbations() -> Iterable[_Line]:
    for name in names("perturbation"):
        found = find("perturbation", name)
        declared = (
            f"{'keeps' if found.keeps_grid else 'changes'} the grid; in distribution: "
            f"{found.in_distribution}; changes the answer: {found.changes_answer}"
        )
        yield name, _told(found.parameters), declared, found.summary


def _replacements() -> Iterable[_Line]:
    for name in names("replacement"):
        found = find("replacement", name)
        declared = f"carries {found.carries}; in distribution: {found.in_distribution}"
        declared += f"; keeps {', '.join(sorted(found.keeps))}" if found.keeps else ""
        declared += f"; needs {', '.join(sorted(found.needs))}" if found.needs else ""
        yield name, _told(found.parameters), declared, found.summary


def _outcomes() -> Iterable[_Line]:
    for name in names("outcome"):
        found = find("outcome", name)
        declared = f"unit: {getattr(found, 'unit', '') or 'not declared'}"
        declared += f"; reads {getattr(found, 'reads', 'parting')}"
        yield name, "", declared, _first_line(found)


def _readouts() -> Iterable[_Line]:
    for name in names("readout"):
        found = find("readout", name)
        yield name, _told(found.parameters), f"beside {found.control}", found.summary


def _tasks() -> Iterable[_Line]:
    for name in names("task"):
        found = find("task", name)
        signature = inspect.signature(found).parameters.values()
        told = ", ".join(f"{each.name}={each.default!r}" for each in signature)
        yield name, told, "", _first_line(found)


def _protocols() -> Iterable[_Line]:
    from mindseye.reasoners.presets import PRESETS

    for name, plan in PRESETS.items():
        length = "as many as the model wants" if plan.n_slots is None else f"{plan.n_slots} at most"
        yield name, "", f"feeds {plan.source}; {plan.trigger}", f"Latents: {length}."


def _organisms() -> Iterable[_Line]:
    from mindseye.organisms import DESIGNS

    for name, plan in DESIGNS.items():
        letter = f"design {plan.letter}; " if plan.letter else ""
        yield name, "", f"{letter}verdict: {plan.verdict or 'unknown'}", plan.truth


_LINES: dict[str, Callable[[], Iterable[_Line]]] = {
    "perturbations": _perturbations,
    "replacements": _replacements,
    "outcomes": _outcomes,
    "readouts": _readouts,
    "tasks": _tasks,
    "protocols": _protocols,
    "organisms": _organisms,
}


def _told(parameters: tuple[Parameter, ...]) -> str:
    return ", ".join(
        each.name if each.needed else f"{each.name}={_shown(each.default)}" for each in parameters
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _first_line(found: Any) -> str:
    return (inspect.getdoc(found) or "").partition("\n")[0]
