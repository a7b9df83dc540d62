from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import MindseyeError, ProtocolError
from mindseye.reasoners import LatentProtocol
from mindseye.reasoners.protocol import LatentTokens

GOOD = {"start": "<s>", "pad": "<p>", "end": "<e>", "n_slots": 4}


class Vocabulary:
    """All that a protocol asks of a tokenizer."""

    def __init__(self, ids: dict[str, int]) -> None:
        self._ids = ids

    def get_vocab(self) -> dict[str, int]:
        return self._ids


@given(st.text(), st.text(), st.text(), st.integers(1))
def test_a_protocol_survives_a_round_trip_through_json(
    start: str, pad: str, end: str, n_slots: int
) -> None:
    protocol = LatentProtocol(start, pad, end, n_slots)
    assert LatentProtocol.from_dict(json.loads(json.dumps(protocol.to_dict()))) == protocol


def test_protocols_that_differ_in_one_field_are_told_apart_after_the_round_trip() -> None:
    other = LatentProtocol.from_dict({**GOOD, "n_slots": 5})
    assert other != LatentProtocol.from_dict(GOOD)


@pytest.mark.parametrize("n_slots", [0, -1, 2.0, "4", None, True])
def test_slots_that_are_no_positive_whole_number_are_refused(n_slots: object) -> None:
    with pytest.raises(ProtocolError, match=r"n_slots.*whole number from 1 up"):
        LatentProtocol.from_dict({**GOOD, "n_slots": n_slots})


@pytest.mark.parametrize("n_slots", [0, -3])
def test_a_protocol_without_slots_cannot_be_made_in_python_either(n_slots: int) -> None:
    with pytest.raises(ProtocolError, match=r"n_slots.*whole number from 1 up"):
        LatentProtocol("<s>", "<p>", "<e>", n_slots)


@pytest.mark.parametrize(
    "data",
    [
        {**GOOD, "trigger": "sampled"},
        {key: GOOD[key] for key in ("start", "pad", "end")},
        {},
        [],
        "latent",
        None,
        3,
    ],
)
def test_unknown_and_missing_fields_are_refused_with_the_list_of_fields(data: object) -> None:
    with pytest.raises(ProtocolError, match="exactly end, n_slots, pad, start"):
        LatentProtocol.from_dict(data)


@pytest.mark.parametrize("marker", [5, None, ["<s>"], {"id": 3}])
def test_markers_that_are_no_strings_are_refused(marker: object) -> None:
    with pytest.raises(MindseyeError):
        LatentProtocol.from_dict({**GOOD, "start": marker}).tokens(
            Vocabulary({"<s>": 0, "<p>": 1, "<e>": 2}), 3
        )


def test_markers_become_ids_of_the_given_tokenizer() -> None:
    protocol = LatentProtocol.from_dict(GOOD)
    assert protocol.tokens(Vocabulary({"<s>": 2, "<p>": 0, "<e>": 1}), 3) == LatentTokens(2, 0, 1)
    assert protocol.tokens(Vocabulary({"<s>": 7, "<p>": 8, "<e>": 9}), 10) == LatentTokens(7, 8, 9)


@pytest.mark.parametrize(("role", "marker"), [("start", "<s>"), ("pad", "<p>"), ("end", "<e>")])
def test_a_marker_that_the_tokenizer_lacks_is_refused_by_name(role: str, marker: str) -> None:
    known = {m: i for i, m in enumerate(("<s>", "<p>", "<e>")) if m != marker}
    with pytest.raises(ProtocolError, match=f"no token '{marker}', the protocol's {role} marker"):
        LatentProtocol.from_dict(GOOD).tokens(Vocabulary(known), 9)


def test_an_id_beyond_the_embedding_matrix_is_refused_and_the_last_row_is_not() -> None:
    protocol, ids = LatentProtocol.from_dict(GOOD), {"<s>": 0, "<p>": 1, "<e>": 9}
    assert protocol.tokens(Vocabulary(ids), 10).end == 9
    with pytest.raises(ProtocolError, match="'<e>' has id 9, but the embedding matrix has 9 rows"):
        protocol.tokens(Vocabulary(ids), 9)
