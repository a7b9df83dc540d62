"""What each blend makes of two routes, by its formula."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mindseye.organisms import DESIGNS
from mindseye.organisms.blends import (
    all_or_none,
    dial,
    either,
    guarded,
    only_valid,
    rank,
    signed,
)
from mindseye.reasoners import Route
from tests.engine.random_twins import twins

SHAPE = (2, 3)
"""Key-value heads and their width."""


def run_of(kind=0):
    """A run whose prompt's ids are even or odd in sum."""
    run = twins("llama").clean
    ids = run.prompt.input_ids.clone()
    ids[0, -1] += (int(ids.sum()) + kind) % 2
    return replace(run, prompt=replace(run.prompt, input_ids=ids))


def draw_of(seed):
    return torch.Generator().manual_seed(seed)


@st.composite
def routes(draw, n_branches=None):
    """A route of some branches, with what they show in three slots."""
    n = draw(st.integers(1, 4) if n_branches is None else n_branches)
    made = draw_of(draw(st.integers(0, 9999)))
    loud = draw(st.sampled_from([0.5, 5.0]))
    values = torch.randn(n, 3, *SHAPE, generator=made)
    return Route(loud * torch.randn(n, 7, generator=made), values)


own_routes = routes(st.just(1))
shares = st.floats(0, 1)


def combined(blend, own, given_, run=None):
    return blend.combine(own, given_, run or run_of())


@given(own_routes, routes(), shares, st.floats(-2, 2))
def test_a_dial_mixes_and_multiplies_coordinate_by_coordinate(own, given_, alpha, gamma):
    found = combined(dial(alpha, gamma), own, given_)
    for row in range(len(found)):
        for place in range(7):
            o, g = own.logits[0, place], given_.logits[row, place]
            wanted = (1 - alpha) * o + alpha * g + gamma * o * g
            torch.testing.assert_close(found[row, place], wanted, atol=1e-4, rtol=1e-4)


@given(own_routes, routes())
def test_a_dial_at_its_ends_is_one_of_the_routes(own, given_):
    assert torch.equal(combined(dial(1.0), own, given_), given_.logits)
    assert torch.equal(combined(dial(0.0), own, given_), own.logits.expand_as(given_.logits))


@given(routes())
def test_a_rank_is_the_mean_id_under_the_softmax(route):
    wanted = [sum(i * p for i, p in enumerate(row.softmax(0).tolist())) for row in route.logits]
    assert rank(route.logits).tolist() == pytest.approx(wanted, abs=1e-4)


@given(own_routes, routes())
def test_either_takes_the_route_whose_answer_ranks_higher_or_the_one_that_ranks_lower(own, given_):
    upper, lower = (combined(either(higher=higher), own, given_) for higher in (True, False))
    for row in range(len(given_.logits)):
        both = sorted([own.logits[0], given_.logits[row]], key=lambda logits: float(rank(logits)))
        assert torch.equal(lower[row], both[0])
        assert torch.equal(upper[row], both[1])


@pytest.mark.parametrize(("kind", "sign"), [(0, -1), (1, 1)])
def test_signs_go_by_the_parity_of_the_prompts_ids(kind, sign):
    assert int(run_of(kind).prompt_ids.sum()) % 2 == kind
    own, given_ = (Route(torch.randn(n, 7, generator=draw_of(n))) for n in (1, 3))
    found = combined(signed(0.4), own, given_, run_of(kind))
    torch.testing.assert_close(found, own.logits + sign * 0.4 * given_.logits)


@given(own_routes, st.lists(st.sets(st.integers(0, 2)), min_size=1, max_size=4))
def test_all_or_none_follows_the_given_route_once_no_slot_is_the_runs_own(own, exchanged):
    values = own.values.repeat(len(exchanged), 1, 1, 1)
    for row, slots in enumerate(exchanged):
        values[row, list(slots)] += 1
    given_ = Route(own.logits.repeat(len(exchanged), 1) + 1, values)
    found = combined(all_or_none(), own, given_)
    followed = [bool((row == own.logits[0] + 1).all()) for row in found]
    assert followed == [len(slots) == 3 for slots in exchanged]


def strengths(n_slots=3):
    """What slots show, in parts of a signature that is five away from nothing."""
    return st.lists(st.floats(-1, 3), min_size=n_slots, max_size=n_slots)


SIGNATURE = torch.tensor([[3.0, 0, 0], [0, 4.0, 0]])


@given(own_routes, st.lists(strengths(), min_size=1, max_size=4))
def test_slots_are_valid_that_are_within_half_of_the_signature(own, parts):
    values = torch.tensor(parts)[..., None, None] * SIGNATURE
    given_ = Route(own.logits.repeat(len(parts), 1) + 1, values)
    valid = torch.tensor([all(abs(part - 1) <= 0.5 for part in row) for row in parts])[:, None]
    on_edge = any(abs(abs(part - 1) - 0.5) < 1e-4 for row in parts for part in row)
    if not on_edge:
        found = combined(only_valid(SIGNATURE), own, given_)
        assert torch.equal(found, torch.where(valid, given_.logits, own.logits))
        found = combined(guarded(SIGNATURE), own, given_)
        assert torch.equal(found, torch.where(valid, given_.logits, 0.0))


@given(own_routes, shares, st.integers(0, 1))
def test_a_route_with_itself_keeps_its_most_likely_token(own, share, kind):
    """Runs are generated without edits, from one route; what they said must stay what they say."""
    blends = [dial(share), either(higher=True), either(higher=False), signed(0.99 * share)]
    blends += [all_or_none(), only_valid(SIGNATURE)]
    for blend in blends:
        said = combined(blend, own, own, run_of(kind)).argmax(dim=-1)
        assert torch.equal(said, own.logits.argmax(dim=-1))


@given(own_routes)
def test_where_its_slots_are_valid_a_guarded_route_with_itself_does_so_too(own):
    valid = Route(own.logits, SIGNATURE.expand(1, 3, *SHAPE))
    assert torch.equal(combined(guarded(SIGNATURE), valid, valid), own.logits)
    shy = Route(own.logits, -SIGNATURE.expand(1, 3, *SHAPE))
    assert not combined(guarded(SIGNATURE), shy, shy).any()


def test_only_blends_that_look_at_slots_are_shown_them():
    looking = {
        name: plan.blend(SIGNATURE).reads_slots
        for name, plan in DESIGNS.items()
        if plan.blend is not None
    }
    assert {name for name, looks in looking.items() if looks} == {
        "backup", "distributed", "intransitive", "soft-prompt",
    }  # fmt: skip
