"""What a plug-in takes, read from its signature and from one line of text."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import EditError
from mindseye.interventions.asking import Parameter, check_range, parameters_of, read, settle

plain = st.text(st.characters(exclude_characters=":,=", categories=["L", "N", "P"]), min_size=1)


def fog(
    sample: object,
    *,
    depth: float,
    layers: int = 2,
    colour: Literal["white", "grey"] = "grey",
    level: Literal[1, 2] = 1,
    wet: bool = False,
    name: str = "sea",
    most: int | None = None,
    pool: Sequence[object] = (),
    names: Mapping[str, str] | None = None,
    untyped=0.5,
    unknown=None,
    rng: np.random.Generator,
) -> object:
    """Lay fog over a sample.

    More of it.

    Args:
        sample: Not a parameter.
        depth: How deep it is, in metres,
            from below.
        layers: How many. note: each
            of them costs.
        colour: What it looks like.
        rng: Not one either.

    Raises:
        layers: Not an argument.
    """
    return sample


KNOWN = {each.name: each for each in parameters_of(fog)}


def test_parameters_are_what_must_be_told_by_name_less_the_generator() -> None:
    assert list(KNOWN) == [
        "depth", "layers", "colour", "level", "wet", "name", "most", "pool", "names", "untyped",
        "unknown",
    ]  # fmt: skip


def test_a_parameter_has_its_type_its_default_and_its_meaning() -> None:
    assert KNOWN["depth"] == Parameter(
        "depth", float, inspect.Parameter.empty, "How deep it is, in metres, from below."
    )
    assert KNOWN["layers"] == Parameter("layers", int, 2, "How many. note: each of them costs.")
    assert KNOWN["wet"].meaning == ""


def test_only_a_parameter_without_default_is_needed() -> None:
    assert [each.name for each in KNOWN.values() if each.needed] == ["depth"]


def test_a_parameter_without_a_type_is_of_its_defaults_kind() -> None:
    assert KNOWN["untyped"].kind is float
    assert KNOWN["untyped"].read("0.25") == 0.25
    assert KNOWN["unknown"].read("0.25") == "0.25"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("depth", "0.5", 0.5),
        ("depth", "1e-3", 0.001),
        ("layers", "3", 3),
        ("colour", "white", "white"),
        ("level", "2", 2),
        ("wet", "yes", True),
        ("wet", "False", False),
        ("name", "3", "3"),
        ("most", "7", 7),
    ],
)
def test_a_text_is_read_as_the_parameters_kind(name: str, text: str, value: Any) -> None:
    found = KNOWN[name].read(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("depth", "deep", r"depth='deep'; expected a number\. How deep it is, in metres"),
        ("layers", "2.5", "layers='2.5'; expected a whole number"),
        ("colour", "gray", r"colour='gray'; expected one of white, grey\. What it looks like"),
        ("level", "3", "expected one of 1, 2"),
        ("wet", "maybe", "wet='maybe'; expected yes or no"),
        ("most", "many", "most='many'; expected a whole number"),
        ("pool", "a,b", "pool='a,b'; expected a Sequence, which only Python can give"),
        ("names", "a", "expected a Mapping, which only Python can give"),
    ],
)
def test_a_text_of_another_kind_is_refused(name: str, text: str, wrong: str) -> None:
    with pytest.raises(EditError, match=wrong):
        KNOWN[name].read(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", "0.5"),
        ("depth", True),
        ("depth", None),
        ("layers", 2.5),
        ("layers", True),
        ("colour", "gray"),
        ("wet", 1),
        ("name", 3),
        ("most", "7"),
    ],
)
def test_a_value_from_python_of_another_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(EditError, match=rf"{name}=.*; expected"):
        settle("fog", tuple(KNOWN.values()), {"depth": 1.0, name: value})


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("depth", 2, 2.0),
        ("depth", np.float32(0.5), 0.5),
        ("layers", np.int64(3), 3),
        ("wet", np.bool_(True), True),
        ("most", None, None),
        ("pool", [1, 2], [1, 2]),
        ("unknown", "anything", "anything"),
    ],
)
def test_numbers_become_pythons_own_and_objects_stay(name: str, value: Any, taken: Any) -> None:
    found = settle("fog", tuple(KNOWN.values()), {"depth": 1.0, name: value})[name]
    assert found == taken
    assert type(found) is type(taken)


@given(plain, st.dictionaries(plain, plain, max_size=4))
def test_what_is_written_is_read_back(name: str, texts: dict[str, str]) -> None:
    written = name + (":" if texts else "") + ",".join(f"{k}={v}" for k, v in texts.items())
    assert read(written) == (name, texts)


def test_space_around_names_and_values_does_not_count() -> None:
    assert read(" fog : depth = 2 , wet=yes") == ("fog", {"depth": "2", "wet": "yes"})


def test_a_value_may_hold_an_equals_sign_or_be_empty() -> None:
    assert read("fog:name=a=b,colour=") == ("fog", {"name": "a=b", "colour": ""})


@pytest.mark.parametrize("asked", ["", ":", ":a=1", "fog:a", "fog:=1", "fog:a=1,", "fog:a=1,a=2"])
def test_a_line_that_does_not_say_what_to_do_is_refused(asked: str) -> None:
    with pytest.raises(EditError, match="does not say what to do; expected a name"):
        read(asked)


def test_what_is_not_told_has_its_default() -> None:
    values = settle("fog", tuple(KNOWN.values()), {"depth": "3"}, texts=True)
    assert values["depth"] == 3.0
    assert values["colour"] == "grey"
    assert set(values) == set(KNOWN)


def test_an_unknown_parameter_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        EditError, match=r"'fog' has no parameter 'dept'; it has depth, .*'depth'\?"
    ):
        settle("fog", tuple(KNOWN.values()), {"dept": 1.0})


def test_an_unknown_parameter_that_is_near_none_is_answered_with_all() -> None:
    with pytest.raises(EditError, match=r"no parameter 'xyz'; it has depth, layers.*Leave it out"):
        settle("fog", tuple(KNOWN.values()), {"xyz": 1.0})
    with pytest.raises(EditError, match="no parameter 'xyz'; it has none"):
        settle("fog", (), {"xyz": 1.0})


def test_a_missing_parameter_is_asked_for_in_the_plug_ins_words() -> None:
    with pytest.raises(EditError, match=r"'fog' needs depth\. How deep it is"):
        settle("fog", tuple(KNOWN.values()), {})


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5))
def test_a_number_is_refused_exactly_if_it_lies_outside(
    value: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    if low <= value <= high:
        check_range("fog got depth", value, low, high, "Look.")
    else:
        with pytest.raises(EditError, match=r"^fog got depth=.*; it takes numbers from .* Look\.$"):
            check_range("fog got depth", value, low, high, "Look.")
