"""A reasoner handed to nnsight and to TransformerLens: the same weights, the same numbers."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from nnsight import NNsight
from nnsight.modeling.transformers import TransformersModel
from PIL import Image
from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources.transformers import helpers

import mindseye as me
from mindseye import Edit, Reasoner, Sample, Trace
from mindseye.errors import ModelError
from mindseye.reasoners.interop import as_nnsight, as_transformer_lens
from mindseye.reasoners.wiring import attention_bias
from mindseye.samples import read_image
from tests.models import MEDIATOR, wired_copy
from tests.tiny import MARKERS, MODEL_TYPES, tiny

pytestmark = pytest.mark.model

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
RESID = "blocks.1.hook_resid_post"
BY_VECTORS = ("gpt2", "llama", "qwen2", "qwen2_5_vl", "llava_onevision")
"""Architectures whose run is told in full by the vectors that were fed and their positions."""
BRIDGED = (*BY_VECTORS, "qwen3_vl", "gemma3")
PATTERN = "blocks.1.attn.hook_pattern"


@pytest.fixture(scope="module")
def wrapped(reasoner: Reasoner) -> Any:
    return as_nnsight(reasoner)


@pytest.fixture(scope="module")
def bridge(reasoner: Reasoner) -> Any:
    return as_transformer_lens(reasoner)


@pytest.fixture
def own(folder: Path) -> Reasoner:
    """A reasoner that a test may do anything to."""
    return me.load(folder, device="cpu")


def tiny_reasoner(model_type: str) -> Reasoner:
    start, pad, end = MARKERS
    protocol = me.protocol("monet_train", start=start, pad=pad, end=end, n_slots=3)
    return me.wrap(tiny(model_type).model, protocol=protocol)


def run_tiny(reasoner: Reasoner, model_type: str) -> Trace:
    prepared = tiny(model_type).inputs(seed=1)
    return reasoner.run(prepared, max_new_tokens=6, force_start=True)


def told(trace: Trace) -> dict[str, torch.Tensor]:
    """What the decoder received, as both libraries take it beside the embeddings."""
    positions = trace.position_ids[:, None]
    return {"position_ids": positions if len(positions) > 1 else positions[0]}


def blocks_path(reasoner: Reasoner) -> str:
    blocks = reasoner.architecture.blocks(reasoner.model)
    return next(name for name, module in reasoner.model.named_modules() if module is blocks)


def nnsight_reads(
    reasoner: Reasoner, wrapped: Any, inputs: dict[str, Any], layer: int = 1
) -> torch.Tensor:
    blocks = wrapped.get(blocks_path(reasoner))
    with torch.no_grad(), blocks.trace(fn=reasoner.model, **inputs):
        found = blocks[layer].output.save()
    return found


def nnsight_patches(
    reasoner: Reasoner, wrapped: Any, trace: Trace, slot: int, value: torch.Tensor
) -> torch.Tensor:
    blocks = wrapped.get(blocks_path(reasoner))
    with blocks.trace(trace, fn=reasoner.replay):
        blocks[1].output[0, slot] = value
        logits = wrapped.lm_head.output.save()
    return logits


@torch.no_grad()
def lens_patches(bridge: Any, trace: Trace, slot: int, value: torch.Tensor) -> torch.Tensor:
    def write(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        activation[:, slot] = value
        return activation

    logits = bridge.run_with_hooks(trace.embeds[None], fwd_hooks=[(RESID, write)], **told(trace))
    return logits[:, trace.n_prompt - 1 :]


@torch.no_grad()
def lens_reads(bridge: Any, given: torch.Tensor | str, **told: Any) -> Any:
    return bridge.run_with_cache(given, **told)[1]


def we_patch(trace: Trace, slot: int, value: torch.Tensor) -> torch.Tensor:
    edit = Edit(RESID, torch.tensor([slot]), value[None])
    return trace.reasoner.replay(trace, [[edit]]).logits


def latent_slot(trace: Trace) -> int:
    return int(trace.spans["latents"][2])


def a_value(trace: Trace) -> torch.Tensor:
    return torch.randn(trace.embeds.shape[1], generator=torch.manual_seed(0))


def assert_alike(theirs: torch.Tensor, ours: torch.Tensor) -> None:
    """Compare at the scale of the stream, which in the loud tiny models is tens or hundreds."""
    scale = ours.abs().max()
    torch.testing.assert_close(theirs / scale, ours / scale, **CLOSE)


def storages(parameters: Any) -> set[int]:
    return {parameter.untyped_storage().data_ptr() for parameter in parameters}


def test_nnsight_holds_the_reasoners_own_parameters(reasoner: Reasoner, wrapped: Any) -> None:
    theirs = [parameter.data_ptr() for parameter in wrapped.parameters()]
    assert theirs == [parameter.data_ptr() for parameter in reasoner.model.parameters()]


def test_the_bridge_holds_views_of_the_reasoners_own_parameters(
    reasoner: Reasoner, bridge: Any
) -> None:
    assert storages(bridge.parameters()) == storages(reasoner.model.parameters())
    apart = copy.deepcopy(reasoner.model)
    assert storages(apart.parameters()).isdisjoint(storages(bridge.parameters()))


def test_with_a_processor_nnsight_gets_its_richest_wrapper(
    reasoner: Reasoner, wrapped: Any
) -> None:
    assert isinstance(wrapped, TransformersModel)
    assert wrapped.task == "image-text-to-text"
    assert wrapped.processor is not reasoner.processor


def test_without_a_processor_nnsight_wraps_the_bare_modules() -> None:
    assert type(as_nnsight(tiny_reasoner("llama"))) is NNsight


def test_nnsight_reads_what_a_trace_holds(reasoner: Reasoner, wrapped: Any, trace: Trace) -> None:
    inputs = {"inputs_embeds": trace.embeds[None], **told(trace)}
    theirs = nnsight_reads(reasoner, wrapped, inputs)
    torch.testing.assert_close(theirs, trace.cache[RESID], **CLOSE)
    other = nnsight_reads(reasoner, wrapped, inputs, layer=2)
    assert not torch.allclose(other, trace.cache[RESID], atol=1e-2)


def test_the_bridge_reads_what_a_trace_holds(bridge: Any, trace: Trace) -> None:
    theirs = lens_reads(bridge, trace.embeds[None], **told(trace))
    names = [f"blocks.{i}.hook_{part}" for i in range(4) for part in ("resid_mid", "mlp_out")]
    names += [f"blocks.{i}.attn.hook_pattern" for i in range(4)] + [RESID, "blocks.2.hook_attn_out"]
    trace.cache.fetch(*names)
    for name in names:
        torch.testing.assert_close(theirs[name], trace.cache[name], **CLOSE)
    assert not torch.allclose(theirs["blocks.2.hook_resid_post"], trace.cache[RESID], atol=1e-2)


def test_positions_left_out_would_have_been_noticed(bridge: Any, trace: Trace) -> None:
    theirs = lens_reads(bridge, trace.embeds[None])
    assert not torch.allclose(theirs[RESID], trace.cache[RESID], atol=1e-2)


def test_a_latent_patched_with_nnsight_has_the_effect_of_our_edit(
    reasoner: Reasoner, wrapped: Any, trace: Trace
) -> None:
    slot, value = latent_slot(trace), a_value(trace)
    theirs = nnsight_patches(reasoner, wrapped, trace, slot, value)
    torch.testing.assert_close(theirs, we_patch(trace, slot, value), **CLOSE)
    assert not torch.allclose(theirs, we_patch(trace, slot - 1, value), atol=1e-2)


def test_a_latent_patched_in_the_bridge_has_the_effect_of_our_edit(
    bridge: Any, trace: Trace
) -> None:
    slot, value = latent_slot(trace), a_value(trace)
    theirs = lens_patches(bridge, trace, slot, value)
    torch.testing.assert_close(theirs, we_patch(trace, slot, value), **CLOSE)
    assert not torch.allclose(theirs, we_patch(trace, slot - 1, value), atol=1e-2)


def test_a_wired_models_bridge_is_told_its_wiring_by_a_mask(
    folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    wired = me.load(wired_copy(folder, tmp_path / "wired", MEDIATOR), device="cpu")
    trace = wired.run(samples[0], max_new_tokens=12)
    labels = trace.labels[None]
    bias = attention_bias(labels, labels.shape[1], wired.wiring, trace.embeds.dtype)
    bridge = as_transformer_lens(wired)
    theirs = lens_reads(bridge, trace.embeds[None], attention_mask=bias, **told(trace))
    torch.testing.assert_close(theirs[RESID], trace.cache[RESID], **CLOSE)
    unwired = lens_reads(bridge, trace.embeds[None], **told(trace))
    assert not torch.allclose(unwired[RESID], trace.cache[RESID], atol=1e-2)


def test_nnsights_processor_and_ours_make_the_same_prompt(
    reasoner: Reasoner, wrapped: Any, trace: Trace
) -> None:
    content = [{"type": "image"}, {"type": "text", "text": trace.sample.question}]
    text = reasoner.processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    image = Image.fromarray(read_image(trace.sample.images[0]))
    with torch.no_grad(), wrapped.trace(text, images=[image]):
        theirs = wrapped.get(blocks_path(reasoner))[1].output.save()
    torch.testing.assert_close(theirs, trace.cache[RESID][:, : trace.n_prompt], **CLOSE)


def test_the_bridges_processor_and_ours_make_the_same_prompt(
    reasoner: Reasoner, bridge: Any, trace: Trace
) -> None:
    content = [{"type": "image"}, {"type": "text", "text": trace.sample.question}]
    text = reasoner.processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    image = Image.fromarray(read_image(trace.sample.images[0]))
    prepared = bridge.prepare_multimodal_inputs(text, image)
    theirs = lens_reads(bridge, prepared.pop("input_ids"), **prepared)
    torch.testing.assert_close(theirs[RESID], trace.cache[RESID][:, : trace.n_prompt], **CLOSE)


def test_the_bridge_tokenizes_as_the_reasoner_does(reasoner: Reasoner, bridge: Any) -> None:
    ours = reasoner.processor.tokenizer("What digit").input_ids
    assert bridge.to_tokens("What digit").tolist() == [ours]


def test_a_text_models_tokenizer_goes_to_both(reasoner: Reasoner) -> None:
    tokenizer = reasoner.tokenizer
    model = tiny("llama", vocab=len(tokenizer)).model
    reads = me.wrap(model, processor=tokenizer, protocol=me.protocol("text"))
    ids = tokenizer("What digit", return_tensors="pt").input_ids
    trace = reads.run({"input_ids": ids}, max_new_tokens=1)
    wrapped, bridge = as_nnsight(reads), as_transformer_lens(reads)
    assert wrapped.task == "text-generation"
    assert wrapped.tokenizer is not tokenizer
    assert bridge.tokenizer is not tokenizer
    with torch.no_grad(), wrapped.trace("What digit"):
        theirs = wrapped.model.layers[1].output.save()
    assert_alike(theirs, trace.cache[RESID])
    assert_alike(lens_reads(bridge, "What digit", prepend_bos=False)[RESID], trace.cache[RESID])


def test_nnsight_watches_a_run_while_it_imagines(
    reasoner: Reasoner, wrapped: Any, trace: Trace
) -> None:
    decoder = wrapped.model.language_model
    n_calls = 1 + len(trace.fed)
    with decoder.trace(trace.sample, fn=reasoner.run, max_new_tokens=12) as tracer:
        states = [].save()
        for _ in tracer.iter[0:n_calls]:
            states.append(decoder.norm.output[0, -1].clone())
        watched = tracer.result.save()
    assert torch.equal(watched.token_ids, trace.token_ids)
    produced = torch.stack(states)[trace.spans["latents"] - trace.n_prompt]
    torch.testing.assert_close(produced, trace.latents, **CLOSE)


def test_an_edit_with_nnsight_during_a_run_changes_the_latents_after_it(
    reasoner: Reasoner, wrapped: Any, trace: Trace
) -> None:
    decoder = wrapped.model.language_model
    call = int(trace.spans["latents"][1]) - trace.n_prompt + 1  # the one that reads this slot
    with decoder.trace(trace.sample, fn=reasoner.run, max_new_tokens=12) as tracer:
        for _ in tracer.iter[call]:
            decoder.layers[1].output[:] = 0
        edited = tracer.result.save()
    moved = (edited.latents - trace.latents).abs().amax(dim=1)
    assert torch.equal(moved[:2], torch.zeros(2))
    assert (moved[2:] > 1e-2).all()


def test_a_reasoner_runs_as_before_after_both_have_had_it_twice(
    own: Reasoner, trace: Trace
) -> None:
    kinds = [type(module) for module in own.model.modules()]
    settings = own.model.config.to_dict(), own.model.generation_config.to_dict()
    padding = own.processor.tokenizer.padding_side
    inputs = {"inputs_embeds": trace.embeds[None], **told(trace)}
    for _ in range(2):
        bridge, wrapped = as_transformer_lens(own), as_nnsight(own)
        theirs = nnsight_reads(own, wrapped, inputs)
        torch.testing.assert_close(theirs, trace.cache[RESID], **CLOSE)
        theirs = lens_reads(bridge, trace.embeds[None], **told(trace))
        torch.testing.assert_close(theirs[RESID], trace.cache[RESID], **CLOSE)
    assert [type(module) for module in own.model.modules()] == kinds
    assert (own.model.config.to_dict(), own.model.generation_config.to_dict()) == settings
    assert own.model.config.get_text_config()._attn_implementation == "sdpa"
    assert own.processor.tokenizer.padding_side == padding
    again = own.run(trace.sample, max_new_tokens=12)
    assert torch.equal(again.token_ids, trace.token_ids)
    assert torch.equal(again.latents, trace.latents)


def test_a_hook_left_on_the_bridge_stays_there(own: Reasoner, trace: Trace) -> None:
    bridge = as_transformer_lens(own)
    bridge.add_hook(RESID, lambda activation, hook: torch.zeros_like(activation))
    with torch.no_grad():
        silenced = bridge(trace.embeds[None], **told(trace))[:, trace.n_prompt - 1 :]
    assert not torch.allclose(silenced[0], trace.logits, atol=1e-2)
    torch.testing.assert_close(own.replay(trace).logits[0], trace.logits, **CLOSE)


def test_folding_norms_in_the_bridge_leaves_the_reasoners_weights_alone(
    own: Reasoner, trace: Trace
) -> None:
    torch.manual_seed(0)
    for parameter in own.model.parameters():  # new norms are all ones, and folding a one is nothing
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    before = {name: value.clone() for name, value in own.model.named_parameters()}
    bridge = as_transformer_lens(own)
    bridge.enable_compatibility_mode()
    assert torch.equal(bridge.blocks[0].ln1.weight, torch.ones_like(bridge.blocks[0].ln1.weight))
    for name, value in own.model.named_parameters():
        assert torch.equal(value, before[name]), name


def test_weights_that_accelerate_keeps_elsewhere_are_shared_too(
    own: Reasoner, trace: Trace
) -> None:
    cpu_offload(own.model, execution_device=torch.device("cpu"))
    bridge = as_transformer_lens(own)
    assert all(parameter.is_meta for parameter in bridge.parameters())
    theirs = lens_reads(bridge, trace.embeds[None], **told(trace))
    torch.testing.assert_close(theirs[RESID], trace.cache[RESID], **CLOSE)
    ours = {id(m._hf_hook) for m in own.model.modules() if hasattr(m, "_hf_hook")}
    held = {id(m._hf_hook) for m in bridge.modules() if "_hf_hook" in vars(m)}
    assert held
    assert held <= ours


@pytest.fixture
def reached_out(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What tried to start a process or to reach another machine; nothing does."""
    tried: list[object] = []

    def refuse(*given: object, **_: object) -> None:
        tried.append(given)
        raise OSError("no processes and no network in this test")

    for name in ("Popen", "call", "check_call", "check_output", "run"):
        monkeypatch.setattr(subprocess, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def test_nothing_is_installed_and_nobody_is_asked(own: Reasoner, reached_out: list[object]) -> None:
    as_transformer_lens(own)
    as_nnsight(own)
    assert reached_out == []


def test_an_installation_would_have_been_noticed(
    reached_out: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert not helpers._ensure_torchvision()
    assert "torchvision" in str(reached_out)


def test_a_package_the_adapter_cannot_do_without_is_named(
    own: Reasoner, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = type(own.model).__name__

    class Needy(SUPPORTED_ARCHITECTURES[name]):
        def prepare_model(self, model: Any) -> None:
            raise ImportError("No module named 'flash_linear_attention'")

    monkeypatch.setitem(SUPPORTED_ARCHITECTURES, name, Needy)
    with pytest.raises(ModelError, match=r"flash_linear_attention.*not installed for you"):
        as_transformer_lens(own)


def test_without_nnsight_it_says_how_to_get_it(
    own: Reasoner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nnsight", None)
    with pytest.raises(ModelError, match="pip install nnsight"):
        as_nnsight(own)


@pytest.mark.parametrize("model_type", [m for m in MODEL_TYPES if m not in BRIDGED])
def test_an_architecture_without_an_adapter_is_refused_by_name(model_type: str) -> None:
    reasoner = tiny_reasoner(model_type)
    with pytest.raises(ModelError, match=rf"{type(reasoner.model).__name__}.*GPT2LMHeadModel"):
        as_transformer_lens(reasoner)


@pytest.mark.parametrize("model_type", BRIDGED)
def test_a_bridge_of_any_architecture_reads_a_prompt_as_we_do(model_type: str) -> None:
    reasoner = tiny_reasoner(model_type)
    trace = run_tiny(reasoner, model_type)
    bridge = as_transformer_lens(reasoner)
    assert isinstance(bridge, TransformerBridge)
    assert storages(bridge.parameters()) == storages(reasoner.model.parameters())
    prompt = tiny(model_type).inputs(seed=1)
    theirs = lens_reads(bridge, prompt.pop("input_ids"), **prompt)
    n = trace.n_prompt
    assert_alike(theirs[RESID], trace.cache[RESID][:, :n])
    assert_alike(theirs[PATTERN], trace.cache[PATTERN][:, :, :n, :n])


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_nnsight_reads_a_prompt_of_any_architecture_as_we_do(model_type: str) -> None:
    reasoner = tiny_reasoner(model_type)
    trace = run_tiny(reasoner, model_type)
    theirs = nnsight_reads(reasoner, as_nnsight(reasoner), tiny(model_type).inputs(seed=1))
    assert_alike(theirs, trace.cache[RESID][:, : trace.n_prompt])


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_nnsight_patches_a_replay_of_any_architecture_as_we_do(model_type: str) -> None:
    reasoner = tiny_reasoner(model_type)
    trace = run_tiny(reasoner, model_type)
    slot, value = latent_slot(trace), a_value(trace)
    theirs = nnsight_patches(reasoner, as_nnsight(reasoner), trace, slot, value)
    assert_alike(theirs, we_patch(trace, slot, value))
    assert not torch.allclose(theirs, we_patch(trace, slot - 1, value), atol=1e-2)


@pytest.mark.parametrize("model_type", BY_VECTORS)
def test_a_bridge_patches_a_run_told_by_its_vectors_as_we_do(model_type: str) -> None:
    reasoner = tiny_reasoner(model_type)
    trace = run_tiny(reasoner, model_type)
    slot, value = latent_slot(trace), a_value(trace)
    theirs = lens_patches(as_transformer_lens(reasoner), trace, slot, value)
    assert_alike(theirs, we_patch(trace, slot, value))
    assert not torch.allclose(theirs, we_patch(trace, slot - 1, value), atol=1e-2)


def test_gemmas_bridge_is_told_which_positions_are_images_by_a_mask() -> None:
    reasoner = tiny_reasoner("gemma3")
    trace = run_tiny(reasoner, "gemma3")
    images = trace.prefill().image_mask.long()
    bridge = as_transformer_lens(reasoner)
    theirs = lens_reads(bridge, trace.embeds[None], token_type_ids=images, **told(trace))
    assert_alike(theirs[RESID], trace.cache[RESID])
    blind = lens_reads(bridge, trace.embeds[None], **told(trace))
    assert not torch.allclose(blind[RESID], trace.cache[RESID], atol=1e-2)
