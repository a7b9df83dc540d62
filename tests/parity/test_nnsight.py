"""Our hooks against nnsight's, on the same weights and the same inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch

from mindseye.reasoners import Edit, Reasoner, Trace, load
from mindseye.reasoners.wiring import attention_bias

pytestmark = pytest.mark.model

CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # the same kernels, in float32
PARTS = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
N_LAYERS = 4


@pytest.fixture(scope="module")
def wrapped(folder: Path) -> Any:
    """The text decoder of a model of its own, because nnsight wraps modules in place."""
    return nnsight.NNsight(load(folder, device="cpu").model.model.language_model)


def inputs(trace: Trace) -> dict[str, Any]:
    """What a replay feeds to the decoder."""
    labels = trace.labels[None]
    return {
        "inputs_embeds": trace.embeds[None],
        "attention_mask": attention_bias(labels, labels.shape[1], (), trace.embeds.dtype),
        "position_ids": trace.position_ids[:, None],
        "use_cache": False,
    }


def collect(wrapped: Any, trace: Trace) -> dict[str, torch.Tensor]:
    """Collect the residual stream with nnsight, in the order of computation."""
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad(), wrapped.trace(**inputs(trace)):
        for i in range(N_LAYERS):
            layer = wrapped.layers[i]
            seen[f"blocks.{i}.hook_resid_pre"] = layer.input.save()
            seen[f"blocks.{i}.hook_attn_out"] = layer.self_attn.output[0].save()
            seen[f"blocks.{i}.hook_resid_mid"] = layer.post_attention_layernorm.input.save()
            seen[f"blocks.{i}.hook_mlp_out"] = layer.mlp.output.save()
            seen[f"blocks.{i}.hook_resid_post"] = layer.output.save()
        seen["ln_final.hook_normalized"] = wrapped.norm.output.save()
    return seen


def patch(
    wrapped: Any, trace: Trace, layer: int, slot: int, value: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Set the residual stream after a layer at one position with nnsight."""
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad(), wrapped.trace(**inputs(trace)):
        wrapped.layers[layer].output[0, slot] = value
        seen["next"] = wrapped.layers[layer + 1].output.save()
        seen["last"] = wrapped.norm.output.save()
    return seen


def test_every_activation_of_a_replay_is_what_nnsight_sees(
    reasoner: Reasoner, trace: Trace, wrapped: Any
) -> None:
    theirs = collect(wrapped, trace)
    names = [f"blocks.{i}.hook_{part}" for i in range(N_LAYERS) for part in PARTS]
    trace.cache.fetch(*names)
    for name in (*names, "ln_final.hook_normalized"):
        torch.testing.assert_close(trace.cache[name], theirs[name], **CLOSE)
    assert not torch.allclose(trace.cache[names[0]], theirs[names[1]], atol=1e-2)


def test_a_patched_latent_slot_has_the_effect_it_has_in_nnsight(
    reasoner: Reasoner, trace: Trace, wrapped: Any
) -> None:
    layer, slot = 1, int(trace.spans["latents"][2])
    value = torch.randn(trace.embeds.shape[1], generator=torch.manual_seed(0))
    theirs = patch(wrapped, trace, layer, slot, value)
    edit = Edit(f"blocks.{layer}.hook_resid_post", torch.tensor([slot]), value[None])
    after = f"blocks.{layer + 1}.hook_resid_post"
    ours = reasoner.replay(trace, [[edit]], record=[after])
    torch.testing.assert_close(ours.activations[after], theirs["next"], **CLOSE)
    torch.testing.assert_close(ours.states, theirs["last"], **CLOSE)

    elsewhere = patch(wrapped, trace, layer, slot - 1, value)
    assert not torch.allclose(ours.states, elsewhere["last"], atol=1e-2)


def test_nnsight_on_a_reasoners_own_model_leaves_its_runs_as_they_were(
    folder: Path, trace: Trace
) -> None:
    own = load(folder, device="cpu")
    collect(nnsight.NNsight(own.model.model.language_model), trace)
    again = own.run(trace.sample, max_new_tokens=12)
    assert torch.equal(again.token_ids, trace.token_ids)
    torch.testing.assert_close(again.latents, trace.latents, **CLOSE)
