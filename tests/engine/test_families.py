"""Branches of every family's runs, of wired models and of sliding windows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

import mindseye as me
from mindseye.engine import Branch, compute, snapshot
from mindseye.engine.exact.branches import first_position
from mindseye.engine.exact.plain import compute_plainly
from mindseye.errors import EditError
from mindseye.reasoners import Knockout
from mindseye.reasoners.presets import PRESETS
from tests.engine.branches_strategy import (
    EXACT,
    Ground,
    branches,
    model,
    noise,
    prompt,
    reasoner,
)
from tests.models import MEDIATOR, wired_copy
from tests.tiny import EOS, MARKERS, PAD, WIDTH

pytestmark = pytest.mark.model

FAMILIES = (*(name for name, preset in PRESETS.items() if preset.feeds_back), "mull")
MAPPED = [("codi", {}), ("lvr_steps", {"map": "lvr_head"})]


def imagined(model_type: str, family: str, *, opened: bool = False, **changes) -> me.Trace:
    """A run of 18 tokens, in which most families have more than one segment."""
    ours = reasoner(model_type, family, segments="many", **changes)
    asked = prompt(model_type, seed=5)
    if opened:
        asked = ended_by_start(asked)
    forced = not opened and ours.protocol.start is not None
    return ours.run(asked, max_new_tokens=18, force_start=forced, past_key_values=True)


def ended_by_start(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    last = {"input_ids": MARKERS[0], "attention_mask": 1}
    shape = inputs["input_ids"].shape
    return {
        key: torch.cat([value, torch.full((1, 1), last.get(key, 0))], dim=1)
        if value.shape == shape
        else value
        for key, value in inputs.items()
    }


def assert_branches_are_replays(trace: me.Trace) -> None:
    """At every position that a replay reads, so at markers, slots and words alike."""
    slots = trace.latent_positions
    drawn = [
        [],
        [me.Edit("hook_embed", slots[:1], noise((1, WIDTH), 1))],
        [me.Edit("blocks.1.hook_resid_mid", slots[-1:], noise((1, WIDTH), 2))],
        [me.Edit("ln_final.hook_normalized", slots, noise((len(slots), WIDTH), 3))],
    ]
    wanted = trace.reasoner.replay(trace, drawn).logits
    read = range(trace.n_prompt - 1, len(trace.labels))
    held = snapshot(trace, trace.n_prompt - 1)
    found = compute(held, [Branch(each) for each in drawn], read=list(read)).logits
    torch.testing.assert_close(found, wanted, **EXACT)
    torch.testing.assert_close(found[0], trace.logits, **EXACT)
    assert ((found[1:] - found[0]).abs().amax(dim=(1, 2)) > 1e-3).all()


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "gemma3", "gpt2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_branches_of_a_familys_run_are_its_replays(family: str, model_type: str) -> None:
    trace = imagined(model_type, family)
    assert trace.segments
    assert_branches_are_replays(trace)


def test_some_of_these_runs_have_several_segments() -> None:
    counts = [len(imagined("qwen2_5_vl", family).segments) for family in FAMILIES]
    assert sum(count > 1 for count in counts) >= 3


@pytest.mark.parametrize("where", ["fed", "slots"])
@pytest.mark.parametrize(("family", "changes"), MAPPED)
def test_where_states_go_through_a_map_branches_do_too(family, changes, where) -> None:
    trace = imagined("qwen2_5_vl", family, map_at=where, **changes)
    assert_branches_are_replays(trace)
    place = int(trace.latent_positions[0])
    held = snapshot(trace, place)
    read = compute(held, [Branch()], read=[place]).logits[0, 0]
    bare = trace.reasoner.unembed(held.states[0])
    mapped = (read - bare).abs().max() > 1e-3
    assert bool(mapped) == (where == "slots")


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "llama"])
def test_a_segment_that_the_prompt_opened_is_like_any_other(model_type: str) -> None:
    trace = imagined(model_type, "lvr_steps", opened=True)
    assert trace.segments[0].slots[0] == trace.n_prompt
    assert_branches_are_replays(trace)


@pytest.fixture(scope="session")
def wired(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> me.Reasoner:
    place = tmp_path_factory.mktemp("wired_for_engine") / "m"
    return me.load(wired_copy(folder, place, MEDIATOR), device="cpu")


@pytest.fixture(scope="session")
def organised(organism, wired: me.Reasoner) -> dict[str, me.Trace]:
    """A kept run of every wired model."""
    pair = me.task("digits").pairs(1, seed=4)[0]
    ours = {"mediator": organism("mediator"), "bypass": organism("bypass"), "random": wired}
    return {
        name: each.run(pair.clean, max_new_tokens=10, past_key_values=True)
        for name, each in ours.items()
    }


@pytest.mark.parametrize("name", ["mediator", "bypass", "random"])
@settings(max_examples=15)
@given(data=st.data())
def test_branches_obey_the_wiring(organised, name: str, data: st.DataObject) -> None:
    """In float32, as they come; rounding is relative to the loudest logit."""
    trace = organised[name]
    assert trace.emitted
    read = [len(trace.labels) - 1]
    drawn = data.draw(st.lists(branches(Ground(trace), read), min_size=1, max_size=3))
    start = min([*read, *(first_position(trace, each) for each in drawn)])
    try:
        wanted = compute_plainly(trace, drawn, read=read).logits.detach()
    except EditError:
        with pytest.raises(EditError, match="nothing to read"):
            compute(snapshot(trace, start), drawn)
        return
    found = compute(snapshot(trace, start), drawn).logits
    loudest = float(trace.logits.abs().max())
    torch.testing.assert_close(found, wanted, atol=1e-5 * loudest, rtol=1e-5)


@pytest.mark.parametrize("name", ["mediator", "random"])
def test_what_a_wiring_cuts_carries_nothing_in_a_branch(organised, name: str) -> None:
    """Keys of the question are not read after the segment; those of the slots are."""
    trace = organised[name]
    layer, places = len(trace.reasoner.model.model.language_model.layers) - 1, trace.spans
    hook = f"blocks.{layer}.attn.hook_v"
    drawn = []
    for spot in (places["question"][-1:], trace.latent_positions[-1:]):
        value = trace.reasoner.replay(trace, record=[hook]).activations[hook][0, spot]
        drawn.append(Branch([me.Edit(hook, spot, value + 5)]))
    held = snapshot(trace, int(places["question"][-1]))
    found = compute(held, [*drawn, Branch()]).logits[:, 0]
    moved = (found[:2] - found[2]).abs().amax(dim=-1)
    assert moved[0] == 0
    assert moved[1] > 1e-3


def windowed(window: int | None) -> me.Reasoner:
    """The tiny Qwen2 whose layers from the second on read a few positions back only."""
    stock = model("qwen2").model
    plain = stock.config.to_dict()
    for name in ("layer_types", "use_sliding_window", "sliding_window", "max_window_layers"):
        plain.pop(name, None)
    sliding = {"use_sliding_window": True, "sliding_window": window, "max_window_layers": 1}
    made = Qwen2ForCausalLM(Qwen2Config(**plain, **(sliding if window else {}))).double().eval()
    made.load_state_dict(stock.state_dict())
    made.generation_config.eos_token_id, made.generation_config.pad_token_id = EOS, PAD
    start, pad, end = MARKERS
    chosen = me.protocol("monet_train", start=start, pad=pad, end=end, n_slots=3, segments="one")
    return me.wrap(made, protocol=chosen)


@pytest.mark.parametrize("window", [1, 5])
def test_a_sliding_window_of_qwen_is_the_stock_one(window: int) -> None:
    ours = windowed(window)
    assert ours.model.config.layer_types.count("sliding_attention") == 2
    asked = prompt("qwen2", seed=2, n_text=9)
    trace = ours.run(asked, max_new_tokens=10, force_start=True)
    with torch.no_grad():
        stock = ours.model(inputs_embeds=trace.embeds[None]).logits[0, trace.n_prompt - 1 :]
    torch.testing.assert_close(trace.logits, stock, **EXACT)
    torch.testing.assert_close(ours.replay(trace).logits[0], stock, **EXACT)
    whole = windowed(None).run(asked, max_new_tokens=10, force_start=True)
    assert (whole.logits[0] - trace.logits[0]).abs().max() > 1e-3


@settings(max_examples=25)
@given(data=st.data())
def test_branches_read_through_a_sliding_window(data: st.DataObject) -> None:
    trace = WINDOWED
    read = [len(trace.labels) - 1]
    drawn = data.draw(st.lists(branches(Ground(trace), read), min_size=1, max_size=3))
    start = min([*read, *(first_position(trace, each) for each in drawn)])
    try:
        wanted = compute_plainly(trace, drawn, read=read).logits.detach()
    except EditError:
        with pytest.raises(EditError, match="nothing to read"):
            compute(snapshot(trace, start), drawn)
        return
    torch.testing.assert_close(compute(snapshot(trace, start), drawn).logits, wanted, **EXACT)


WINDOWED = windowed(5).run(
    prompt("qwen2", seed=2, n_text=9), max_new_tokens=10, force_start=True, past_key_values=True
)


@pytest.mark.parametrize("n_images", [1, 2])
def test_gemmas_window_and_its_images_are_the_stock_ones(n_images: int) -> None:
    """An image is longer than what the window leaves, and is read in both directions."""
    asked = prompt("gemma3", seed=3, n_images=n_images)
    trace = reasoner("gemma3").run(asked, max_new_tokens=1)
    with torch.no_grad():
        stock = model("gemma3").model(**asked).logits[0, -1]
    torch.testing.assert_close(trace.logits[0], stock, **EXACT)
    held = snapshot(trace, 0)
    read = compute(held, [Branch()], read=range(trace.n_prompt)).logits[0]
    with torch.no_grad():
        every = model("gemma3").model(**asked).logits[0]
    torch.testing.assert_close(read, every, **EXACT)


def test_a_knockout_of_gemmas_image_leaves_each_token_only_its_own_and_earlier_text() -> None:
    trace = imagined("gemma3", "monet_train")
    cut = Knockout("answer", "image", layers=(0, 2))
    held = snapshot(trace, first_position(trace, Branch(knockouts=(cut,))))
    found = compute(held, [Branch(knockouts=(cut,)), Branch()]).logits[:, 0]
    wanted = trace.reasoner.replay(trace, knockouts=[cut]).logits[0, -1]
    torch.testing.assert_close(found[0], wanted, **EXACT)
