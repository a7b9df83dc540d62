"""The tiny stock models that other tests stand on: they run, they differ, they see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.tiny import EOS, IMAGE, MODEL_TYPES, SEEING, WINDOW, Tiny, tiny

every_model = pytest.mark.parametrize("model_type", MODEL_TYPES)
every_seeing_model = pytest.mark.parametrize("model_type", SEEING)
pytestmark = pytest.mark.model


@torch.no_grad()
def logits(model: Tiny, inputs: dict[str, Tensor]) -> Tensor:
    return model.model(**inputs).logits[0]


def greedy(model: Tiny, inputs: dict[str, Tensor], n_tokens: int) -> list[int]:
    """What stock `generate` adds to a prompt, the end of text forbidden."""
    out = model.model.generate(
        **inputs, do_sample=False, max_new_tokens=n_tokens, min_new_tokens=n_tokens
    )
    return out[0, inputs["input_ids"].shape[1] :].tolist()


@every_model
def test_the_stock_class_of_the_architecture_is_built_small_and_still(model_type: str) -> None:
    model = tiny(model_type).model
    assert type(model).__module__.startswith("transformers.models.")
    assert model.config.model_type == model_type
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert sum(weight.numel() for weight in model.parameters()) < 200_000


@every_model
@pytest.mark.parametrize("n_images", [0, 1, 2])
def test_the_stock_forward_takes_the_inputs_and_gives_finite_logits(
    model_type: str, n_images: int
) -> None:
    model = tiny(model_type)
    inputs = model.inputs(n_images=n_images)
    found = logits(model, inputs)
    assert found.shape == (inputs["input_ids"].shape[1], 40)
    assert found.isfinite().all()


@every_model
def test_stock_generate_runs_and_does_not_repeat_one_token(model_type: str) -> None:
    model = tiny(model_type)
    runs = [greedy(model, model.inputs(seed), 8) for seed in range(3)]
    assert {len(run) for run in runs} == {8}
    assert min(len(set(run)) for run in runs) > 2


@every_model
def test_generation_ends_at_an_id_of_the_vocabulary(model_type: str) -> None:
    model = tiny(model_type, vocab=24)
    assert model.model.generation_config.eos_token_id == EOS < model.vocab == 24


@every_model
def test_the_same_seed_gives_the_same_model_and_the_same_prompt(model_type: str) -> None:
    torch.manual_seed(0)
    once = tiny(model_type, seed=3)
    torch.manual_seed(1)
    again = tiny(model_type, seed=3)
    assert torch.equal(logits(once, once.inputs(5)), logits(again, again.inputs(5)))


@every_model
def test_building_a_model_leaves_the_global_generator_alone(model_type: str) -> None:
    before = torch.get_rng_state()
    tiny(model_type).inputs()
    assert torch.equal(torch.get_rng_state(), before)


@every_model
def test_two_seeds_give_different_logits(model_type: str) -> None:
    one, other = tiny(model_type, seed=0), tiny(model_type, seed=1)
    inputs = one.inputs()
    assert (logits(one, inputs) - logits(other, inputs)).abs().max() > 0.1


@every_model
@pytest.mark.parametrize("n_text", [1, 6])
def test_a_prompt_ends_in_as_many_words_as_asked_for(model_type: str, n_text: int) -> None:
    ids = tiny(model_type).inputs(n_text=n_text)["input_ids"][0]
    assert (ids[-n_text:] >= 10).all()
    assert (ids[:-n_text] < 10).all()


@every_model
def test_a_word_changed_early_changes_what_follows_the_prompt(model_type: str) -> None:
    model = tiny(model_type)
    inputs = model.inputs()
    words = inputs["input_ids"].clone()
    words[0, -6] = words[0, -6] % 29 + 11
    changed = logits(model, inputs | {"input_ids": words}) - logits(model, inputs)
    assert changed[-1].abs().max() > 1e-3


@every_seeing_model
@pytest.mark.parametrize("n_images", [1, 2])
def test_an_image_changed_changes_the_logits_after_it_and_none_before(
    model_type: str, n_images: int
) -> None:
    model = tiny(model_type)
    inputs = model.inputs(n_images=n_images)
    other = inputs | {"pixel_values": inputs["pixel_values"].roll(1, dims=-1)}
    change = (logits(model, inputs) - logits(model, other)).abs().amax(-1)
    first = int((inputs["input_ids"][0] == IMAGE).int().argmax())
    assert change[:first].max() < 1e-6
    assert change[-1] > 1e-3


@every_seeing_model
def test_more_images_are_more_placeholders(model_type: str) -> None:
    counts = [
        int((tiny(model_type).inputs(n_images=n)["input_ids"] == IMAGE).sum()) for n in (0, 1, 2, 3)
    ]
    assert counts[0] == 0 < counts[1]
    assert counts[3] * 2 == counts[2] * 3 > 0


@pytest.mark.parametrize("model_type", sorted(set(MODEL_TYPES) - set(SEEING)))
def test_a_text_model_is_given_no_image(model_type: str) -> None:
    model = tiny(model_type)
    assert not model.sees
    assert model.inputs(n_images=3).keys() == {"input_ids", "attention_mask"}


def test_the_window_of_gemma_matters() -> None:
    model = tiny("gemma3")
    inputs = model.inputs(n_images=0, n_text=2 * WINDOW)
    narrow = logits(model, inputs)
    for block in model.model.model.language_model.layers:
        assert block.self_attn.sliding_window in (WINDOW, None)
    model.model.config.text_config.sliding_window = 100
    change = (narrow - logits(model, inputs)).abs().amax(-1)
    assert change[:WINDOW].max() < 1e-6
    assert change[-1] > 1e-3


def test_the_placeholders_of_gemma_see_each_other_both_ways() -> None:
    model = tiny("gemma3")
    inputs = model.inputs()
    causal = inputs | {"token_type_ids": torch.zeros_like(inputs["input_ids"])}
    change = (logits(model, inputs) - logits(model, causal)).abs().amax(-1)
    assert change[2] > 1e-3  # the first placeholder, which otherwise sees none after it


def test_qwen3_adds_image_features_after_two_blocks() -> None:
    model = tiny("qwen3_vl")
    given = {}
    decoder = model.model.model.language_model
    handle = decoder.register_forward_pre_hook(
        lambda _, args, kwargs: given.update(kwargs), with_kwargs=True
    )
    logits(model, model.inputs())
    handle.remove()
    assert [tuple(features.shape) for features in given["deepstack_visual_embeds"]] == [(6, 48)] * 2
    assert given["visual_pos_masks"].sum() == 6


def test_an_unknown_architecture_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no tiny 'bert'.*qwen2_vl"):
        tiny("bert")


def test_a_vocabulary_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="above 10"):
        tiny("gpt2", vocab=10)


def test_a_prompt_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="ends in text"):
        tiny("gpt2").inputs(n_text=0)
