from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import EditError
from mindseye.reasoners.spans import GROUPS, PAD, SPANS, positions, span_ids

LABELS = st.lists(st.integers(0, PAD), max_size=20)


@given(LABELS)
def test_every_position_is_in_exactly_one_span_or_is_padding(labels: list[int]) -> None:
    row = torch.tensor(labels, dtype=torch.long)
    found = torch.cat([positions(row, name) for name in SPANS])
    padding = (row == PAD).nonzero().squeeze(-1)
    assert sorted(torch.cat([found, padding]).tolist()) == list(range(len(labels)))


@given(LABELS, st.sampled_from(sorted(GROUPS)))
def test_a_group_is_the_union_of_its_spans_in_the_order_of_the_run(
    labels: list[int], group: str
) -> None:
    row = torch.tensor(labels, dtype=torch.long)
    wanted = [i for i, label in enumerate(labels) if label < PAD and SPANS[label] in GROUPS[group]]
    assert positions(row, group).tolist() == wanted


def test_groups_overlap_so_unlike_spans_they_do_not_partition_a_run() -> None:
    row = torch.tensor([SPANS.index("end")])
    assert positions(row, "segment").tolist() == positions(row, "post").tolist() == [0]


def test_padding_has_a_label_that_no_span_or_group_has() -> None:
    assert all(PAD not in span_ids(name) for name in (*SPANS, *GROUPS))


def test_spans_and_groups_share_no_names() -> None:
    assert len(set(SPANS)) == len(SPANS)
    assert not set(SPANS) & set(GROUPS)


@pytest.mark.parametrize("name", ["", "Image", "pad", "images", "all"])
def test_an_unknown_span_is_refused_with_the_list_of_those_there_are(name: str) -> None:
    with pytest.raises(EditError, match=r"No span '.*'; there are system, image, .*, post\."):
        span_ids(name)
    with pytest.raises(EditError, match="No span"):
        positions(torch.tensor([0]), name)
