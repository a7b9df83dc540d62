"""The logit lens reads a latent as the model itself read it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import mindseye as me
from mindseye.readouts.lenses import LATENT, unembedded
from mindseye.readouts.lenses.states import States, gather
from tests.engine.branches_strategy import ARCHITECTURES, EXACT, prompt, reasoner, said

pytestmark = pytest.mark.model


def imagined(model_type: str, family: str = "monet_train", **changes) -> me.Trace:
    ours = reasoner(model_type, family, **changes)
    forced = ours.protocol.start is not None
    trace = ours.run(prompt(model_type, seed=3), max_new_tokens=8, force_start=forced)
    assert len(trace.latent_positions)
    return trace


def latents_of(trace: me.Trace) -> States:
    (states,) = gather(trace.reasoner, [trace], [LATENT])
    return states


def read(trace: me.Trace, states: States, **changed) -> Tensor:
    how = {"normed": states.normed, "at_slots": states.at_slots} | changed
    return unembedded(trace.reasoner, states.vectors, **how)


def model_read(trace: me.Trace, places: Tensor) -> Tensor:
    """The logits from which the run itself chose what follows these positions."""
    return trace.logits[places - (trace.n_prompt - 1)]


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_post_norm_latent_reads_as_the_model_read_it(model_type):
    trace = said(model_type)
    states = latents_of(trace)
    assert states.normed
    wanted = model_read(trace, trace.latent_positions - 1)
    torch.testing.assert_close(read(trace, states), wanted, **EXACT)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_another_norm_would_read_something_else(model_type):
    trace = said(model_type)
    twice = read(trace, latents_of(trace), normed=False)
    wanted = model_read(trace, trace.latent_positions - 1)
    assert (twice - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_last_blocks_output_reads_as_the_model_read_it(model_type):
    trace = said(model_type)
    (states,) = gather(trace.reasoner, [trace], [len(_blocks(trace)) - 1])
    wanted = model_read(trace, trace.latent_positions)
    torch.testing.assert_close(read(trace, states), wanted, **EXACT)
    assert (read(trace, states, normed=True) - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gemma3", "gpt2"])
def test_a_pre_norm_latent_is_read_through_the_norm(model_type):
    trace = imagined(model_type, source="pre_norm")
    states = latents_of(trace)
    wanted = model_read(trace, trace.latent_positions - 1)
    torch.testing.assert_close(read(trace, states), wanted, **EXACT)
    assert (read(trace, states, normed=True) - wanted).abs().max() > 1e-3


def test_a_latent_of_an_earlier_layer_reads_as_that_layers_lens():
    trace = imagined("qwen2_5_vl", source="layer:1")
    states = latents_of(trace)
    replay = trace.reasoner.replay(trace, record=["blocks.1.hook_resid_post"])
    here = replay.activations["blocks.1.hook_resid_post"][0, trace.latent_positions - 1]
    torch.testing.assert_close(states.vectors, here, **EXACT)
    assert not states.normed


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gpt2"])
@pytest.mark.parametrize(
    ("family", "changes"),
    [("codi", {}), ("lvr_steps", {"map": "lvr_head"}), ("lvr_steps", {"map_at": "slots"})],
)
def test_a_mapped_latent_reads_as_the_model_read_it(family, changes, model_type):
    changes = {"map": "lvr_head"} | changes if family != "codi" else changes
    trace = imagined(model_type, family, **changes)
    wanted = model_read(trace, trace.latent_positions - 1)
    torch.testing.assert_close(read(trace, latents_of(trace)), wanted, **EXACT)


def test_forgetting_the_map_at_slots_would_read_something_else():
    trace = imagined("qwen2_5_vl", "lvr_steps", map="lvr_head", map_at="slots")
    states = latents_of(trace)
    nowhere = torch.zeros_like(states.at_slots)
    assert states.at_slots.any()
    assert (read(trace, states) - read(trace, states, at_slots=nowhere)).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gpt2"])
def test_where_latents_are_tokens_the_state_they_were_chosen_from_is_read(model_type):
    trace = imagined(model_type, "mull")
    wanted = model_read(trace, trace.latent_positions - 1)
    torch.testing.assert_close(read(trace, latents_of(trace)), wanted, **EXACT)


def _blocks(trace: me.Trace):
    return trace.reasoner.architecture.blocks(trace.reasoner.model)
