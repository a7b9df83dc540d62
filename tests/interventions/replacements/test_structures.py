"""What is taken out of a run, and what is run again."""

import pytest
import torch

from mindseye.errors import EditError
from mindseye.interventions.replacements import find_replacement

pytestmark = pytest.mark.model


def removed(asked, given):
    return find_replacement(asked)(given).removed.tolist()


def test_identity_is_the_latents_themselves(given):
    assert torch.equal(find_replacement("identity")(given), given.latents)


def test_removal_takes_slots_and_markers(given):
    (segment,) = given.trace.segments
    assert removed("removal", given) == [segment.start, *segment.slots, segment.end]


def test_markers_only_takes_the_slots(given):
    assert removed("markers_only", given) == list(given.trace.segments[0].slots)


def test_slots_only_takes_the_markers(given):
    (segment,) = given.trace.segments
    assert removed("slots_only", given) == [segment.start, segment.end]


def test_forced_opens_a_segment_at_once(given):
    assert find_replacement("forced")(given).forced


def test_slots_asks_for_another_number(given):
    assert find_replacement("slots:n=7")(given).n_slots == 7
    with pytest.raises(EditError, match="takes numbers from 1"):
        find_replacement("slots:n=0")(given)
