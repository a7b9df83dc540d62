"""What is said of a pattern, on patterns whose measures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import EditError
from mindseye.readouts.attending import OTHER, enrichment, entropy, masses
from mindseye.reasoners.grids import coverage
from mindseye.reasoners.spans import SPANS


def labels(*names: str) -> torch.Tensor:
    return torch.tensor([SPANS.index(name) for name in names])


RUN = labels("system", "image", "image", "question", "header", "start", "latents", "end", "answer")


@given(seed=st.integers(0, 99))
def test_masses_of_segments_sum_to_one(seed):
    weights = torch.rand(2, 3, len(RUN), generator=torch.Generator().manual_seed(seed)) + 1e-3
    found = masses(weights / weights.sum(dim=-1, keepdim=True), RUN)
    assert list(found) == ["image", "question", "markers", "latents", OTHER]
    torch.testing.assert_close(sum(found.values()), torch.ones(2, 3))


def test_each_position_counts_for_its_own_segment():
    found = masses(torch.arange(9.0)[None], RUN)
    assert {name: value.item() for name, value in found.items()} == {
        "image": 3,
        "question": 3,
        "markers": 12,
        "latents": 6,
        OTHER: 12,
    }


def test_segments_that_overlap_or_do_not_exist_are_refused():
    with pytest.raises(EditError, match="count twice"):
        masses(torch.ones(1, 9), RUN, ("image", "prefix"))
    with pytest.raises(EditError, match="count twice"):
        masses(torch.ones(1, 9), RUN, ("end", "end"))
    with pytest.raises(EditError, match="No span 'picture'"):
        masses(torch.ones(1, 9), RUN, ("picture",))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_entropy_of_a_uniform_pattern_is_the_log_of_its_keys(n):
    weights = torch.cat([torch.full((n,), 1 / n), torch.zeros(4)])
    assert entropy(weights).item() == pytest.approx(math.log(n), abs=1e-6)


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    left=st.integers(0, 30),
    top=st.integers(0, 18),
    share=st.floats(1e-3, 1),
)
def test_a_uniform_pattern_enriches_nothing(rows, columns, left, top, share):
    covered = coverage((left, top, 31, 19), (19, 31), rows, columns)
    uniform = torch.full((rows * columns,), share / (rows * columns), dtype=torch.float64)
    assert enrichment(uniform, covered).item() == pytest.approx(1)


def test_a_hard_edge_would_enrich_a_uniform_pattern():
    # The twin that counts every token a box touches, against the box's own area.
    covered = coverage((5, 5, 15, 15), (20, 20), 2, 2)
    touched = torch.from_numpy(covered > 0).double()
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    assert (uniform @ touched).item() / covered.mean() == pytest.approx(4)
    assert enrichment(uniform, covered).item() == pytest.approx(1)


def test_enrichment_does_not_depend_on_how_much_the_picture_gets():
    covered = np.array([1.0, 0.0, 0.0, 0.0])
    pattern = torch.tensor([0.5, 0.25, 0.25, 0.0])
    for share in (1.0, 0.1):
        assert enrichment(share * pattern, covered).item() == pytest.approx(2)
    assert enrichment(torch.tensor([0.3, 0.0, 0.0, 0.0]), covered).item() == pytest.approx(4)
    assert math.isnan(enrichment(torch.zeros(4), covered).item())
