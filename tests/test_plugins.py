from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from mindseye import plugins
from mindseye.errors import MindseyeError, UnknownNameError
from mindseye.plugins import find, names, register
from mindseye.tasks import Task, task
from mindseye.tasks.digits import Digits


@pytest.fixture(autouse=True)
def forget_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_offers", dict(plugins._offers))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Make the registry see an installed package that offers one entry point."""

    def offer(kind: str, name: str, value: str) -> None:
        entry = EntryPoint(name, value, f"mindseye.{kind}")

        def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
            fits = group == entry.group and name in (None, entry.name)
            return [entry] if fits else []

        monkeypatch.setattr(plugins, "entry_points", entry_points)

    return offer


def shout(text: str) -> str:
    return text.upper()


def whisper(text: str) -> str:
    return text.lower()


def test_what_is_registered_is_found() -> None:
    register("voice", "shout")(shout)
    assert find("voice", "shout") is shout


def test_registering_returns_the_function_unchanged() -> None:
    assert register("voice", "shout")(shout) is shout


def test_a_name_belongs_to_its_kind_only() -> None:
    register("voice", "shout")(shout)
    with pytest.raises(UnknownNameError, match="No gesture 'shout'"):
        find("gesture", "shout")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    register("voice", "whisper")(whisper)
    register("voice", "shout")(shout)
    with pytest.raises(UnknownNameError, match=r"No voice 'hum'; there are: shout, whisper\."):
        find("voice", "hum")


def test_an_unknown_kind_is_answered_with_none() -> None:
    with pytest.raises(UnknownNameError, match="No smell 'rose'; there are: none"):
        find("smell", "rose")


def test_an_unknown_name_is_a_lookup_error_and_one_of_ours() -> None:
    assert issubclass(UnknownNameError, LookupError)
    assert issubclass(UnknownNameError, MindseyeError)


def test_another_function_cannot_take_a_name() -> None:
    register("voice", "shout")(shout)
    with pytest.raises(ValueError, match=r"voice 'shout' belongs to .*shout; choose another"):
        register("voice", "shout")(whisper)


def test_a_refused_registration_leaves_the_holder_in_place() -> None:
    register("voice", "shout")(shout)
    with pytest.raises(ValueError, match="belongs to"):
        register("voice", "shout")(whisper)
    assert find("voice", "shout") is shout


def test_running_a_definition_again_replaces_it() -> None:
    def define() -> Callable[[str], str]:
        @register("voice", "echo")
        def echo(text: str) -> str:
            return text + text

        return echo

    define()
    second = define()
    assert find("voice", "echo") is second


def test_names_are_sorted() -> None:
    for name in ("mumble", "croak", "sing"):
        register("voice", name)(shout)
    assert names("voice") == ["croak", "mumble", "sing"]


def test_an_installed_package_is_listed_before_it_is_imported(install: Any) -> None:
    install("voice", "broken", "no_such_package:thing")
    assert names("voice") == ["broken"]


def test_an_installed_package_is_imported_when_it_is_asked_for(install: Any) -> None:
    install("voice", "capwords", "string:capwords")
    import string

    assert find("voice", "capwords") is string.capwords


def test_what_is_registered_wins_over_what_is_installed(install: Any) -> None:
    install("voice", "shout", "string:capwords")
    register("voice", "shout")(shout)
    assert find("voice", "shout") is shout


def test_a_name_held_twice_is_listed_once(install: Any) -> None:
    install("voice", "shout", "string:capwords")
    register("voice", "shout")(shout)
    assert names("voice") == ["shout"]


def test_a_partial_can_be_a_plug_in() -> None:
    small = functools.partial(Digits, size=1)
    register("voice", "small")(small)
    assert find("voice", "small") is small


def test_our_own_task_is_an_entry_point() -> None:
    plugins._offers.pop(("task", "digits"), None)
    assert find("task", "digits") is Digits


@pytest.mark.parametrize("name", ["kl_divergence", "flip", "parsed_answer"])
def test_our_own_outcomes_are_entry_points(name: str) -> None:
    plugins._offers.pop(("outcome", name), None)
    assert find("outcome", name).__name__ == name


def test_our_own_loader_is_an_entry_point() -> None:
    from mindseye.organisms import open_organism

    plugins._offers.pop(("loader", "organism"), None)
    assert find("loader", "organism") is open_organism


def test_task_passes_its_options_on() -> None:
    made = task("digits", size=1, kinds=("colour_of",))
    assert isinstance(made, Digits)
    assert (made.size, made.kinds) == (1, ("colour_of",))


def test_the_digits_world_keeps_the_contract_of_a_task() -> None:
    assert isinstance(task("digits"), Task)


def test_a_thing_without_pairs_does_not_keep_the_contract_of_a_task() -> None:
    class Half:
        def samples(self) -> None: ...

    assert not isinstance(Half(), Task)


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"No task 'chess'; there are: .*digits"):
        task("chess")
