"""What the terminal lists: everything there is, with what each takes and declares."""

import io

import pytest
from rich.console import Console

from mindseye.errors import UnknownNameError
from mindseye.organisms import DESIGNS
from mindseye.plugins import find, names
from mindseye.reasoners.presets import PRESETS
from mindseye.report import LISTS, parameter_table, plugin_table


def printed(table):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table)
    return " ".join(console.export_text().split())


@pytest.mark.parametrize("kind", LISTS)
def test_everything_of_a_kind_is_listed(kind):
    there = {"protocols": list(PRESETS), "organisms": list(DESIGNS)}
    shown = printed(plugin_table(kind))
    for name in there.get(kind) or names(kind.removesuffix("s")):
        assert name in shown


@pytest.mark.parametrize("kind", ["perturbations", "replacements", "readouts"])
def test_every_parameter_and_declaration_is_listed(kind):
    shown = printed(plugin_table(kind))
    for name in names(kind.removesuffix("s")):
        found = find(kind.removesuffix("s"), name)
        assert found.summary in shown
        assert all(each.name in shown for each in found.parameters)


def test_parameters_are_listed_one_a_line_with_default_kind_and_meaning():
    shown = printed(parameter_table("replacements", "donor"))
    assert "answer =any Whether the donor's gold answer must be the same" in shown
    assert "(one of any, same, other)" in shown


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [("replacement", None, "there are: perturbations"), ("replacements", "nois", "'noise'")],
)
def test_what_is_not_there_is_refused_with_what_is(kind, name, message):
    with pytest.raises(UnknownNameError, match=message):
        plugin_table(kind) if name is None else parameter_table(kind, name)
