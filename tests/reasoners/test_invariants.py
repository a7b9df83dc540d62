"""What holds for every family on every architecture, whatever the weights say.

Everything is in float64, where one pass and many agree to the last digits.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mindseye as me
from mindseye.reasoners.presets import PRESETS
from tests.tiny import FIRST_WORD, MARKERS, WIDTH, Tiny, tiny

pytestmark = pytest.mark.model

START, PAD, END = MARKERS
N_SLOTS = 4
LIMIT = 16
EXACT = {"atol": 1e-9, "rtol": 1e-9}

ARCHITECTURES = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llava_onevision",
    "internvl",
    "smolvlm",
    "gemma3",
    "llama",
    "gpt2",
)
FEEDING = tuple(name for name, preset in PRESETS.items() if preset.feeds_back)
SPEAKING = tuple(name for name in PRESETS if name not in FEEDING)
UNMAPPED = tuple(name for name in FEEDING if PRESETS[name].map is None)
SHOWING = tuple(name for name in UNMAPPED if PRESETS[name].visible == "sampled")

MARKS: dict[str, dict[str, Any]] = {
    "covt": {"pad": MARKERS[:2]},
    "lavit": {"pad": MARKERS},
    "mull": {"pad": PAD, "n_slots": N_SLOTS},
    "text": {"answer_marks": ()},  # without a tokenizer it never ends, so it is all imagination
}
"""What ids stand for the tokens of families that feed nothing back."""

every_architecture = pytest.mark.parametrize("model_type", ARCHITECTURES)
every_family = pytest.mark.parametrize("name", PRESETS)
every_feeding_family = pytest.mark.parametrize("name", FEEDING)


@functools.cache
def exact(model_type: str) -> Tiny:
    made = tiny(model_type, seed=1, vocab=24)
    made.model.double()
    return made


@functools.cache
def modules() -> dict[str, Any]:
    """What the presets name: CODI's projection, and a vector near some of the states."""
    draw = torch.Generator().manual_seed(2)
    project = nn.Linear(WIDTH, WIDTH).double()
    with torch.no_grad():
        project.weight.copy_(torch.randn(WIDTH, WIDTH, generator=draw) / WIDTH**0.5)
    return {"prj": project, "lvr_latent_end_emb": torch.randn(WIDTH, generator=draw).double()}


@functools.cache
def reasoner(name: str, model_type: str) -> me.Reasoner:
    changes = MARKS.get(name, {"start": START, "pad": PAD, "end": END, "n_slots": N_SLOTS})
    chosen = me.protocol(name, **changes)
    return me.wrap(exact(model_type).model, protocol=chosen, modules=modules())


@functools.cache
def runs(name: str, model_type: str) -> list[me.Trace]:
    """Runs on three prompts; families that feed states back begin with a segment."""
    ours = reasoner(name, model_type)
    return [
        ours.run(inputs, max_new_tokens=LIMIT, force_start=name in FEEDING)
        for inputs in prompts(model_type)
    ]


def prompts(model_type: str) -> list[dict[str, Tensor]]:
    """Prompts with one image, two and none, as far as the model sees."""
    return [prompt(model_type, seed, n_images) for seed, n_images in enumerate((1, 2, 0))]


def prompt(model_type: str, seed: int, n_images: int = 1, n_text: int = 6) -> dict[str, Tensor]:
    inputs = exact(model_type).inputs(seed, n_text, n_images)
    return {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}


@every_architecture
@every_family
def test_an_open_loop_replay_equals_the_stepwise_run(name: str, model_type: str) -> None:
    for trace in runs(name, model_type):
        replay = reasoner(name, model_type).replay(trace)
        torch.testing.assert_close(replay.logits[0], trace.logits, **EXACT)


@every_architecture
@every_feeding_family
def test_forced_to_start_a_run_imagines(name: str, model_type: str) -> None:
    assert sum(len(trace.latents) for trace in runs(name, model_type)) >= N_SLOTS
    for trace in runs(name, model_type):
        assert trace.segments
        assert trace.latent_positions.tolist() == [s for g in trace.segments for s in g.slots]
        assert torch.equal(trace.embeds[trace.latent_positions], trace.fed_latents)
        assert torch.equal(trace.fed[trace.fed_is_latent], trace.fed_latents)


@every_architecture
@every_feeding_family
def test_every_latent_is_the_post_norm_state_of_the_position_before(
    name: str, model_type: str
) -> None:
    for trace in runs(name, model_type):
        states = reasoner(name, model_type).replay(trace).states[0]
        sources = states[trace.latent_positions - 1]
        torch.testing.assert_close(trace.latents, sources, **EXACT)
        fed = sources if name in UNMAPPED else modules()["prj"](sources)
        torch.testing.assert_close(trace.fed_latents, fed, **EXACT)
        moved = (fed - states[trace.latent_positions]).abs().amax(dim=-1)
        assert (moved > 0.01).all()


@every_architecture
@pytest.mark.parametrize("name", SHOWING)
def test_what_is_visible_at_a_slot_is_what_its_latent_is_read_as(
    name: str, model_type: str
) -> None:
    n_read = 0
    for trace in runs(name, model_type):
        read = reasoner(name, model_type).unembed(trace.latents).argmax(dim=-1)
        steps = trace.latent_positions - trace.n_prompt
        sampled, visible = trace.sampled_ids[steps], trace.token_ids[steps]
        assert torch.equal(read, sampled)
        chosen = steps > 0  # the first id of these runs is forced
        assert torch.equal(visible[chosen], sampled[chosen])
        n_read += int(chosen.sum())
    assert n_read > 3


@every_architecture
@every_family
def test_without_imagination_a_run_is_stock_generation_without_the_openers(
    name: str, model_type: str
) -> None:
    ours = reasoner(name, model_type)
    for inputs in prompts(model_type):
        mute = ours.run(inputs, max_new_tokens=LIMIT, imagine=False)
        assert mute.token_ids.tolist() == stock(model_type, inputs, ours.tokens.openers)
        assert mute.segments == ()


@every_architecture
def test_an_opener_that_the_model_would_say_is_kept_from_it(model_type: str) -> None:
    n_kept = 0
    for inputs in (prompt(model_type, seed) for seed in range(8)):
        said, asked = stock(model_type, inputs), inputs["input_ids"].tolist()[0]
        opener = next((i for i in said[:-1] if i >= FIRST_WORD and i not in asked), None)
        if opener is None:
            continue
        chosen = me.protocol("lvr_steps", start=opener, pad=PAD, end=END, n_slots=N_SLOTS)
        ours = me.wrap(exact(model_type).model, protocol=chosen)
        assert ours.run(inputs, max_new_tokens=LIMIT).segments
        for prompted in (inputs, ended_by(opener, inputs)):
            mute = ours.run(prompted, max_new_tokens=LIMIT, imagine=False)
            assert mute.token_ids.tolist() == stock(model_type, prompted, (opener,))
            assert not mute.fed_is_latent.any()
        n_kept += 1
    assert n_kept > 3


def stock(model_type: str, inputs: dict[str, Tensor], banned: Sequence[int] = ()) -> list[int]:
    """What stock generation says."""
    said = exact(model_type).model.generate(
        **inputs, do_sample=False, max_new_tokens=LIMIT, suppress_tokens=list(banned) or None
    )
    return said[0, inputs["input_ids"].shape[1] :].tolist()


@every_architecture
@every_family
def test_visible_ids_in_place_of_the_latents_matter_only_where_states_are_fed(
    name: str, model_type: str
) -> None:
    ours, n_changed = reasoner(name, model_type), 0
    for trace in runs(name, model_type):
        slots = trace.latent_positions
        shown = ours.embed(trace.token_ids[slots - trace.n_prompt]).detach()
        replay = ours.replay(trace, [(me.Edit("hook_embed", slots, shown),)])
        moved = (replay.logits[0] - trace.logits).abs().amax(dim=-1)
        after = int(slots[0]) - trace.n_prompt + 1 if len(slots) else len(moved)
        assert not (moved[:after] > 1e-9).any()
        n_changed += int((moved[after:] > 0.01).sum())
        assert name in FEEDING or not (moved > 1e-9).any()
    assert (n_changed > 3) == (name in FEEDING)


@dataclass(frozen=True)
class Crowd:
    """Eight prompts for one batch.

    Attributes:
        n_images: Of each; those of one batch must join.
        opened: How many end in a start marker.
    """

    n_images: tuple[int, ...]
    opened: int = 0

    def prompts(self, model_type: str) -> list[dict[str, Tensor]]:
        found = []
        for row in range(8):
            n_images = self.n_images[row % len(self.n_images)]
            asked = prompt(model_type, row, n_images, n_text=1 + (row * 3) % 8)
            found.append(ended_by(START, asked) if row < self.opened else asked)
        return found


def ended_by(token: int, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    seq = inputs["input_ids"].shape
    last = {"input_ids": token, "attention_mask": 1}
    return {
        key: torch.cat([value, torch.full((1, 1), last.get(key, 0))], dim=1)
        if value.shape == seq
        else value
        for key, value in inputs.items()
    }


def crowd(model_type: str, opened: int = 0) -> list[dict[str, Tensor]]:
    joins_several = model_type not in ("llava_onevision", "smolvlm")
    return Crowd((1, 2) if joins_several else (1,), opened).prompts(model_type)


BATCHED = ("monet_vllm", "lvr_steps", "mirage", "codi")


@every_architecture
@pytest.mark.parametrize("name", BATCHED)
def test_a_row_of_a_batch_is_what_it_would_be_alone(name: str, model_type: str) -> None:
    ours = reasoner(name, model_type)
    opened = 5 if PRESETS[name].prompt_start else 0
    given = crowd(model_type, opened)
    assert len({inputs["input_ids"].shape[1] for inputs in given}) > 3
    asked: dict[str, Any] = {"max_new_tokens": 12, "force_start": not opened}
    together = ours.run_batch(given, **asked)
    assert_same_runs(together, [ours.run(inputs, **asked) for inputs in given])
    for trace in together:
        torch.testing.assert_close(ours.replay(trace).logits[0], trace.logits, **EXACT)
    modes = [tuple(trace.fed_is_latent.tolist()) for trace in together]
    assert sum(map(any, modes)) > 3
    assert len(set(modes)) > 1  # rows are in different states at the same step


@every_architecture
@pytest.mark.parametrize("name", ["monet_vllm", "lvr_steps", "text"])
def test_a_batch_draws_what_single_runs_in_the_same_order_draw(name: str, model_type: str) -> None:
    ours, given = reasoner(name, model_type), crowd(model_type)[:4]
    asked: dict[str, Any] = {"max_new_tokens": 10, "sampling": me.Sampling(0.9, top_k=12)}
    together = ours.run_batch(given, **asked, generator=torch.Generator().manual_seed(3))
    draw = torch.Generator().manual_seed(3)
    assert_same_runs(together, [ours.run(inputs, **asked, generator=draw) for inputs in given])
    other = ours.run_batch(given, **asked, generator=torch.Generator().manual_seed(4))
    greedy = ours.run_batch(given, max_new_tokens=10)
    for changed in (other, greedy):
        assert any(
            a.token_ids.tolist() != b.token_ids.tolist()
            for a, b in zip(together, changed, strict=True)
        )


@every_architecture
@every_family
def test_a_closed_loop_replay_without_edits_is_the_run_again(name: str, model_type: str) -> None:
    ours = reasoner(name, model_type)
    drawn = ours.run(
        prompts(model_type)[0],
        max_new_tokens=LIMIT,
        force_start=name in FEEDING,
        sampling=me.Sampling(),
        generator=torch.Generator().manual_seed(0),
    )
    for trace in (runs(name, model_type)[1], drawn):
        again = ours.replay(trace, [(), ()], mode="closed_loop")
        assert_same_runs(again, [trace, trace])


@every_architecture
@pytest.mark.parametrize("name", ["monet_train", "lvr_steps", "coconut", "codi"])
def test_later_latents_react_to_an_edited_one_in_a_closed_loop_only(
    name: str, model_type: str
) -> None:
    ours = reasoner(name, model_type)
    for trace in runs(name, model_type):
        segment = trace.segments[0]
        assert len(segment.slots) == N_SLOTS
        edited = segment.slots[1]
        noise = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(7)).double()
        edit = me.Edit("hook_embed", torch.tensor([edited]), noise)

        opened = ours.replay(trace, [(edit,)], record=["hook_embed"])
        fed = opened.activations["hook_embed"][0]
        torch.testing.assert_close(fed[edited], noise[0], **EXACT)
        others = torch.arange(len(fed)) != edited
        assert torch.equal(fed[others], trace.embeds[others])

        (closed,) = ours.replay(trace, [(edit,)], mode="closed_loop")
        reacting = closed.segments[0]
        assert reacting.slots == segment.slots
        torch.testing.assert_close(reacting.latents[:2], segment.latents[:2], **EXACT)
        moved = (reacting.latents[2:] - segment.latents[2:]).abs().amax(dim=-1)
        assert (moved > 0.01).all()
        recomputed = ours.replay(closed, [(edit,)]).logits[0]
        torch.testing.assert_close(recomputed, closed.logits, **EXACT)


def assert_same_runs(found: Sequence[me.Trace], wanted: Sequence[me.Trace]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert one.sampled_ids.tolist() == other.sampled_ids.tolist()
        assert one.labels.tolist() == other.labels.tolist()
        assert one.stop == other.stop
        assert one.latent_positions.tolist() == other.latent_positions.tolist()
        torch.testing.assert_close(one.latents, other.latents, **EXACT)
        torch.testing.assert_close(one.embeds, other.embeds, **EXACT)
        torch.testing.assert_close(one.logits, other.logits, **EXACT)
