from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import ProtocolError, UnknownNameError
from mindseye.reasoners import EndVector, LatentProtocol, PromptStyle, protocol
from mindseye.reasoners.presets import PRESETS
from mindseye.reasoners.protocols import LatentTokens
from tests import strategies

GOOD: dict[str, Any] = {"start": "<s>", "pad": "<p>", "end": "<e>", "n_slots": 4}
FIELDS = r"expected an object with some of after_forced_end, .*n_slots, .*visible"
HINTS = get_type_hints(LatentProtocol)
CHOICES = {name: get_args(hint) for name, hint in HINTS.items() if get_origin(hint) is Literal}


class Vocabulary:
    """All that a protocol asks of a tokenizer; what it does not know becomes an id per letter."""

    def __init__(self, ids: dict[str, int], split: tuple[str, ...] = ()) -> None:
        self._ids = ids
        self._split = split

    def get_vocab(self) -> dict[str, int]:
        return self._ids

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        if text in self._ids and text not in self._split:
            ids = [self._ids[text]]
        else:
            ids = [100 + ord(letter) for letter in text]
        return [99, *ids] if add_special_tokens else ids


KNOWN = Vocabulary({"<s>": 2, "<p>": 0, "<e>": 1, "<answer>": 5})


# To JSON and back


def through_json(given: LatentProtocol) -> LatentProtocol:
    return LatentProtocol.from_dict(json.loads(json.dumps(given.to_dict())))


@given(strategies.protocols())
def test_a_protocol_survives_a_round_trip_through_json(given: LatentProtocol) -> None:
    assert through_json(given) == given
    assert hash(through_json(given)) == hash(given)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_a_round_trip_through_json(name: str) -> None:
    assert through_json(PRESETS[name]) == PRESETS[name]


def test_what_is_written_is_what_differs_from_the_defaults() -> None:
    assert LatentProtocol(**GOOD).to_dict() == GOOD
    assert LatentProtocol(**GOOD, segments="one", answers=("whole",)).to_dict() == GOOD
    assert LatentProtocol(**GOOD, segments="many").to_dict() == {**GOOD, "segments": "many"}


def test_fields_left_out_have_their_defaults() -> None:
    assert LatentProtocol.from_dict(GOOD) == LatentProtocol("<s>", "<p>", "<e>", 4)
    unlimited = {"start": "<s>", "pad": "<p>", "end": "<e>", "end_by_token": True}
    assert LatentProtocol.from_dict(unlimited).n_slots is None


def test_protocols_that_differ_in_one_field_are_told_apart_after_the_round_trip() -> None:
    other = LatentProtocol.from_dict({**GOOD, "n_slots": 5})
    assert other != LatentProtocol.from_dict(GOOD)


# What is refused: no field, no value of its kind, no sense


@pytest.mark.parametrize("data", [[], "latent", None, 3, False, [1], [["start", "<s>"]]])
def test_what_is_no_object_is_refused_with_the_list_of_fields(data: object) -> None:
    with pytest.raises(ProtocolError, match=FIELDS):
        LatentProtocol.from_dict(data)


@pytest.mark.parametrize("unknown", ["trigge", "steps", "", "START", "_open"])
def test_unknown_fields_are_refused_with_the_list_of_fields(unknown: str) -> None:
    with pytest.raises(ProtocolError, match=FIELDS):
        LatentProtocol.from_dict({**GOOD, unknown: "sampled"})


def test_an_object_without_fields_is_no_protocol() -> None:
    with pytest.raises(ProtocolError, match="no start marker"):
        LatentProtocol.from_dict({})


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("count", [0, -1, 2.0, "4", True, [4]])
@pytest.mark.parametrize("name", ["n_slots", "n_repeat"])
def test_counts_that_are_no_positive_whole_number_are_refused(name: str, count: object) -> None:
    with pytest.raises(ProtocolError, match=rf"{name}.*(whole number|integer)"):
        LatentProtocol.from_dict({**GOOD, name: count})


@pytest.mark.parametrize("n_slots", [0, -3])
def test_a_protocol_without_slots_cannot_be_made_in_python_either(n_slots: int) -> None:
    with pytest.raises(ProtocolError, match=r"n_slots.*whole number from 1 up"):
        LatentProtocol("<s>", "<p>", "<e>", n_slots)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("word", ["now and then", "", 3, None, True, ["one"], {}])
def test_a_word_that_no_field_knows_is_refused_with_those_it_takes(name: str, word: object) -> None:
    with pytest.raises(ProtocolError, match=f"{name} = .*Input should be") as caught:
        LatentProtocol.from_dict({**GOOD, name: word})
    assert all(repr(known) in str(caught.value) for known in CHOICES[name])


WRONG_TYPES: dict[str, list[object]] = {
    "start": [3.5, True, [], ["<s>"], {}, {"id": 3}],
    "pad": [3.5, False, {}, [], [None], [3.5], [True], [["<p>"]], [{}]],
    "end": [3.5, True, ["<e>"], {}],
    "name": [5, 3.5, True, None, [], {}],
    "prompt_start": [None, 5, "yes", [], {}],
    "source": [None, 5, 3.5, True, [], ["post_norm"], {}],
    "map": [5, 3.5, True, [], ["prj"], {}],
    "end_by_token": [None, 5, "yes", [], {}],
    "bans_end": [None, 5, "yes", [], {}],
    "end_by_vector": [
        5, True, "mse", [], ["v"], {}, {"nam": "v"}, {"name": 3}, {"name": None},
        {"name": "v", "metric": "l7"}, {"name": "v", "metric": 3}, {"name": "v", "below": "x"},
        {"name": "v", "below": None}, {"name": "v", "below": True},
    ],
    "after_forced_end": [3.5, True, [], ["<answer>"], {}],
    "answer_marks": [None, 5, True, "<answer>", {}, [5], [None], [["<answer>"]]],
    "answers_from": [None, 5, "image", []],
    "answer_opening": [None, 5, True, [], {}],
    "prompt": [
        None, 5, True, "You are.", [], {"sys": "x"}, {"system": 5}, {"images": "middle"},
        {"images": None}, {"instruction": None}, {"instruction": 5}, {"header": 5},
        {"prefix": None}, {"prefix": 5},
    ],
    "answers": [None, 5, True, "boxed", {}, [5], [None]],
}  # fmt: skip


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG_TYPES.items() for value in values],
    ids=str,
)
def test_a_value_of_another_type_is_refused_in_one_line(name: str, value: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        LatentProtocol.from_dict({**GOOD, name: value})
    assert "\n" not in str(caught.value)


def test_the_types_of_every_field_that_is_no_count_or_choice_are_tried() -> None:
    assert {*WRONG_TYPES, *CHOICES, "n_slots", "n_repeat"} == set(HINTS)


CONTRADICTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nothing to open by": (
        {"start": None},
        {"start": None, "trigger": "forced"},
        "no start marker",
    ),
    "nothing to show": (
        {"pad": None},
        {"pad": None, "visible": "sampled"},
        "slots show the pad, but there is none",
    ),
    "nothing to force": (
        {"end": None},
        {"end": None, "at_stop": "use_sampled"},
        "an end marker is forced, but there is none",
    ),
    "nothing to end by": (
        {"n_slots": None},
        {"n_slots": None, "end_by_token": True},
        "nothing ends a segment",
    ),
    "nothing to end by but a vector": (
        {"n_slots": None, "end_by_vector": None},
        {"n_slots": None, "end_by_vector": EndVector("v")},
        "nothing ends a segment",
    ),
    "no end at all": (
        {"length_inside": "ignore", "n_slots": None, "end_by_token": True},
        {"length_inside": "ignore", "end_by_token": True},
        "may never return",
    ),
    "an end by a token that is none": (
        {"end_by_token": True, "end": None, "at_stop": "use_sampled"},
        {"end_by_token": True},
        "end_by_token is set without an end marker",
    ),
}


@pytest.mark.parametrize(
    ("wrong", "right", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys()
)
def test_a_protocol_that_contradicts_itself_is_refused_and_its_twin_is_not(
    wrong: dict[str, Any], right: dict[str, Any], words: str
) -> None:
    with pytest.raises(ProtocolError, match=f"Latent protocol 'mine': .*{words}"):
        LatentProtocol(**{**GOOD, "name": "mine", **wrong})
    assert LatentProtocol(**{**GOOD, "name": "mine", **right}).name == "mine"


@pytest.mark.parametrize(
    "source",
    ["", "last", "post_norm:3", "layer", "layer:", "layer:-1", "layer:x", "layer:1:2", "layer: 1",
     "layer:\u00b2", "layer:1.0", "LAYER:3"],
)  # fmt: skip
def test_a_source_that_no_model_has_is_refused_with_those_there_are(source: str) -> None:
    with pytest.raises(ProtocolError, match="none of post_norm, pre_norm, layer:3, token_embed"):
        LatentProtocol(**GOOD, source=source)


def test_a_source_names_the_hook_whose_activation_is_fed_back() -> None:
    hooks = {
        source: LatentProtocol(**GOOD, source=source, visible="sampled").source_hook(4)
        for source in ("post_norm", "pre_norm", "layer:0", "layer:3", "token_embedding")
    }
    assert hooks == {
        "post_norm": None,
        "pre_norm": "blocks.3.hook_resid_post",
        "layer:0": "blocks.0.hook_resid_post",
        "layer:3": "blocks.3.hook_resid_post",
        "token_embedding": None,
    }


def test_a_source_beyond_the_last_layer_is_refused_with_the_layers_there_are() -> None:
    with pytest.raises(ProtocolError, match=r"feeds back layer 4; the model has layers 0 to 3"):
        LatentProtocol(**GOOD, source="layer:4").source_hook(4)


# Presets by name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_its_name_and_may_have_fields_replaced(name: str) -> None:
    assert protocol(name) == PRESETS[name]
    assert protocol(name).name == name
    changed = protocol(name, n_slots=3, name="mine")
    assert changed == dataclasses.replace(PRESETS[name], n_slots=3, name="mine") != PRESETS[name]
    assert protocol(name) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs_on_ids_without_a_tokenizer(name: str) -> None:
    chosen = protocol(name, start=7, pad=8, end=9, after_forced_end=None)
    tokens = chosen.tokens(None, vocab_size=10)
    assert (tokens.start, tokens.pad, tokens.end) == (7, 8, 9)
    assert tokens.slots == (frozenset() if chosen.feeds_back else {8})


def test_a_preset_that_nobody_offers_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="mirage"):
        protocol("mirages")


def test_a_preset_refuses_fields_that_do_not_exist_and_changes_that_contradict_it() -> None:
    with pytest.raises(ProtocolError, match=r"got slots, steps; a latent protocol has the fields"):
        protocol("mirage", steps=3, slots=4)
    with pytest.raises(ProtocolError, match="an end marker is forced, but there is none"):
        protocol("mirage", end=None, end_by_token=False)


# Markers as ids


def test_markers_become_ids_of_the_given_tokenizer() -> None:
    chosen = LatentProtocol.from_dict(GOOD)
    assert chosen.tokens(KNOWN, 6) == LatentTokens(2, 0, 1)
    others = Vocabulary({"<s>": 7, "<p>": 8, "<e>": 9})
    assert chosen.tokens(others, 10) == LatentTokens(7, 8, 9)


@given(st.permutations(range(10)))
def test_ids_are_taken_as_they_are_and_need_no_tokenizer(ids: list[int]) -> None:
    start, pad, end, *_ = ids
    chosen = LatentProtocol(start, pad, end, 4)
    assert chosen.tokens(None, 10) == chosen.tokens(KNOWN, 10) == LatentTokens(start, pad, end)


@given(st.integers(3, 1000))
def test_negative_ids_count_from_the_end_of_the_matrix(n_rows: int) -> None:
    chosen = LatentProtocol(-2, -n_rows, -1, 4)
    assert chosen.tokens(None, n_rows) == LatentTokens(n_rows - 2, 0, n_rows - 1)
    with pytest.raises(ProtocolError, match=rf"the embedding matrix has {n_rows - 1} rows"):
        chosen.tokens(None, n_rows - 1)


def test_markers_that_a_protocol_does_not_have_are_not_looked_up() -> None:
    words = LatentProtocol(source="token_embedding", visible="sampled")
    assert words.tokens(None, 3) == LatentTokens(None, None, None)


def test_several_pads_are_slots_if_they_are_ordinary_tokens_and_the_first_is_shown() -> None:
    chosen = protocol("covt", pad=("<e>", "<s>"))
    assert chosen.tokens(KNOWN, 6) == LatentTokens(None, 1, None, slots=frozenset({1, 2}))
    assert protocol("covt", pad="<e>").tokens(KNOWN, 6).slots == {1}


@pytest.mark.parametrize(("role", "marker"), [("start", "<s>"), ("pad", "<p>"), ("end", "<e>")])
def test_a_marker_that_the_tokenizer_lacks_is_refused_by_name(role: str, marker: str) -> None:
    known = {m: i for i, m in enumerate(("<s>", "<p>", "<e>")) if m != marker}
    said = rf"no token '{marker}', the protocol's {role} marker \(it splits into 3 ids\)"
    with pytest.raises(ProtocolError, match=said):
        LatentProtocol.from_dict(GOOD).tokens(Vocabulary(known), 9)


def test_every_one_of_several_pads_must_be_there() -> None:
    with pytest.raises(ProtocolError, match="no token '<q>', the protocol's pad marker"):
        protocol("covt", pad=("<p>", "<q>")).tokens(KNOWN, 6)


@pytest.mark.parametrize(("role", "marker"), [("start", "<s>"), ("pad", "<p>"), ("end", "<e>")])
def test_a_marker_that_the_tokenizer_knows_but_splits_is_refused(role: str, marker: str) -> None:
    ids = {"<s>": 2, "<p>": 0, "<e>": 1}
    splitting = Vocabulary(ids, split=(marker,))
    said = rf"'{marker}' as id {ids[marker]} but splits it into \[.*\]; the protocol's {role}"
    with pytest.raises(ProtocolError, match=said):
        LatentProtocol.from_dict(GOOD).tokens(splitting, 6)


@pytest.mark.parametrize("role", ["start", "pad", "end"])
def test_a_string_without_a_tokenizer_is_refused_and_told_how_to_give_ids(role: str) -> None:
    chosen = LatentProtocol(**{"start": 2, "pad": 0, "end": 1, "n_slots": 4, role: "<x>"})
    with pytest.raises(ProtocolError, match=rf"{role} marker is '<x>', but there is no tok.*ids"):
        chosen.tokens(None, 9)


def test_an_id_beyond_the_embedding_matrix_is_refused_and_the_last_row_is_not() -> None:
    chosen, ids = LatentProtocol.from_dict(GOOD), {"<s>": 0, "<p>": 1, "<e>": 9}
    assert chosen.tokens(Vocabulary(ids), 10).end == 9
    with pytest.raises(ProtocolError, match="'<e>' has id 9, but the embedding matrix has 9 rows"):
        chosen.tokens(Vocabulary(ids), 9)


def test_what_follows_a_forced_end_is_an_id_or_the_first_token_of_a_text() -> None:
    chosen = LatentProtocol(**GOOD, after_forced_end="<answer>")
    assert chosen.tokens(KNOWN, 6).after_forced_end == 5
    spelled = dataclasses.replace(chosen, after_forced_end="so")
    assert spelled.tokens(KNOWN, 1000).after_forced_end == 100 + ord("s")
    assert dataclasses.replace(chosen, after_forced_end=3).tokens(KNOWN, 6).after_forced_end == 3


@pytest.mark.parametrize("beyond", [6, 10**6, -7])
def test_what_follows_a_forced_end_cannot_lie_beyond_the_matrix_either(beyond: int) -> None:
    with pytest.raises(ProtocolError, match="the embedding matrix has 6 rows"):
        LatentProtocol(**GOOD, after_forced_end=beyond).tokens(KNOWN, 6)


def test_what_follows_a_forced_end_may_count_from_the_end_of_the_matrix() -> None:
    assert LatentProtocol(**GOOD, after_forced_end=-1).tokens(KNOWN, 6).after_forced_end == 5


def test_a_text_after_a_forced_end_is_left_out_without_a_tokenizer() -> None:
    chosen = LatentProtocol(2, 0, 1, 4, after_forced_end="<answer>")
    assert chosen.tokens(None, 6).after_forced_end is None


def test_a_text_after_a_forced_end_has_at_least_one_token() -> None:
    with pytest.raises(ProtocolError):
        LatentProtocol(**GOOD, after_forced_end="").tokens(KNOWN, 6)


def test_a_prompt_style_says_nothing_by_default() -> None:
    style = LatentProtocol.from_dict(GOOD).prompt
    assert style == PromptStyle() == PromptStyle(None, "first", "", None, "")
