"""Constants are what they say, and the same for every sample."""

from dataclasses import replace

import pytest
import torch

from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import Pool, find_replacement
from tests.interventions.replacements.scenes import rng

pytestmark = pytest.mark.model


def made(asked, given, **told):
    return find_replacement(asked, **told)(given)


def test_zero_is_zero(given):
    assert not made("zero", given).any()


def test_tiny_is_one_small_number(given):
    assert (made("tiny:value=0.02", given) == 0.02).all()


def test_shared_is_one_latent_that_a_run_of_the_pool_had_at_every_slot(given, traces):
    found = made("shared:run=2,slot=1", given)
    assert (found == traces[2].fed_latents[1]).all()


@pytest.mark.parametrize("asked", ["shared:run=8", "shared:slot=9", "shared:run=-1"])
def test_shared_refuses_a_latent_that_there_is_not(given, asked):
    with pytest.raises(SampleError, match="the pool has 8 runs"):
        made(asked, given)


def test_global_mean_is_that_of_all_vectors(given, traces):
    every = torch.cat([trace.fed_latents for trace in traces])
    torch.testing.assert_close(made("global_mean", given)[1], every.mean(dim=0))


def test_step_mean_is_each_slots_own(given, traces):
    every = torch.stack([trace.fed_latents for trace in traces])
    torch.testing.assert_close(made("step_mean", given), every.mean(dim=0))


def test_step_mean_needs_a_run_as_long(given):
    short = Pool(tuple(replace(run, fed=run.fed[:2]) for run in given.pool.runs))
    with pytest.raises(SampleError, match=r"no run of the pool has a slot 2|No run of the pool"):
        made("step_mean", replace(given, pool=short))


def test_first_repeat_is_the_first_latent_everywhere(given):
    assert (made("first_repeat", given) == given.latents[0]).all()


def test_pad_is_the_embedding_of_what_is_visible_at_slots(given):
    ours = given.trace.reasoner
    wanted = ours.model.get_input_embeddings().weight[ours.tokens.pad]
    assert (made("pad", given) == wanted).all()


def test_pad_needs_a_protocol_that_shows_one(given):
    ours = given.trace.reasoner
    bare = replace(ours, tokens=replace(ours.tokens, pad=None))
    with pytest.raises(EditError, match="no pad token"):
        made("pad", replace(given, trace=replace(given.trace, reasoner=bare)))


def test_constant_is_what_it_was_told(given):
    per_slot = torch.randn(given.latents.shape, generator=rng())
    assert torch.equal(made("constant", given, vectors=per_slot), per_slot)
    assert (made("constant", given, vectors=per_slot[0]) == per_slot[0]).all()
    with pytest.raises(EditError, match=r"shape \(3,\)"):
        made("constant", given, vectors=torch.ones(3))
    with pytest.raises(EditError, match="only Python can give"):
        made("constant:vectors=1", given)
