"""Own latents in another order, or some of them."""

from dataclasses import replace

import pytest
import torch

from mindseye.errors import EditError
from mindseye.interventions.replacements import find_replacement
from mindseye.reasoners.spans import SPANS
from tests.interventions.replacements.scenes import with_latents

pytestmark = pytest.mark.model


def kept(asked, given):
    made = find_replacement(asked)(given)
    return (made == given.latents).all(dim=1).nonzero().squeeze(-1).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_shuffle_is_another_order_of_the_same_vectors(given, seed):
    made = find_replacement("shuffle", seed=seed)(given)
    places = [(given.latents == vector).all(dim=1).nonzero().item() for vector in made]
    assert sorted(places) == list(range(len(given.latents)))
    assert places != sorted(places)


def test_shuffle_of_one_slot_is_that_slot(given):
    alone = replace(given, trace=with_latents(given.trace, given.latents[:1]))
    assert torch.equal(find_replacement("shuffle")(alone), alone.latents)


@pytest.mark.parametrize("fill", ["noise", "zero", "mean"])
@pytest.mark.parametrize("slot", [0, 2])
def test_keep_one_keeps_one(given, slot, fill):
    assert kept(f"keep_one:slot={slot},fill={fill}", given) == [slot]


def test_keep_one_refuses_a_slot_that_there_is_not(given):
    with pytest.raises(EditError, match="from 0 to 3"):
        kept("keep_one:slot=4", given)


def test_keep_half_keeps_the_first_or_the_last(given):
    assert kept("keep_half", given) == [0, 1]
    assert kept("keep_half:half=last", given) == [2, 3]
    odd = replace(given, trace=with_latents(given.trace, given.latents[:3]))
    assert kept("keep_half", odd) == [0, 1]
    assert kept("keep_half:half=last", odd) == [1, 2]


def attention(given):
    """What is attended to from after the latents, from patterns by a plain replay."""
    trace = given.trace
    n_layers = len(trace.reasoner.architecture.blocks(trace.reasoner.model))
    names = [f"blocks.{i}.attn.hook_pattern" for i in range(n_layers)]
    found = trace.reasoner.replay(trace, record=names).activations
    first = int(trace.latent_positions.max()) + 1
    return sum(found[name][0, :, first:, trace.latent_positions].mean(dim=(0, 1)) for name in names)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_keep_attended_keeps_those_that_are_attended_to_most_or_least(given, n):
    order = attention(given).argsort(descending=True).tolist()
    assert kept(f"keep_attended:n={n}", given) == sorted(order[:n])
    assert kept(f"keep_attended:n={n},rank=least", given) == sorted(order[4 - n :])


def test_keep_attended_needs_something_after_the_latents(given):
    trace = given.trace
    labels = trace.labels.clone()
    labels[int(trace.latent_positions.max()) + 1 :] = SPANS.index("text")
    with pytest.raises(EditError, match="nothing attends to"):
        kept("keep_attended", replace(given, trace=replace(trace, labels=labels)))
    with pytest.raises(EditError, match="from 0 to 4"):
        kept("keep_attended:n=5", given)


def test_filled_slots_hold_what_was_asked_for(given, traces):
    runs = torch.stack([trace.fed_latents for trace in traces])
    mean = find_replacement("keep_one:fill=mean")(given)
    torch.testing.assert_close(mean[1:], runs.mean(dim=0)[1:])
    noise = find_replacement("keep_one:fill=noise")(given)
    torch.testing.assert_close(noise.norm(dim=1), given.latents.norm(dim=1))
    assert not find_replacement("keep_one:fill=zero")(given)[1:].any()
