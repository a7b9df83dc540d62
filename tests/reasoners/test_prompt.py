from __future__ import annotations

import dataclasses
import unicodedata
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from mindseye.errors import SampleError
from mindseye.reasoners import Reasoner
from mindseye.reasoners.prompt import Prompt, encode
from mindseye.reasoners.spans import PAD, SPANS, positions
from mindseye.samples import Sample
from mindseye.tasks.digits import KINDS, Digits

pytestmark = pytest.mark.model

BATCHING = {"atol": 1e-5, "rtol": 1e-5}  # padding changes the shapes of float32 sums

PIXELS = Digits().samples(1)[0].image


def said(reasoner: Reasoner, prompt: Prompt, row: int, span: str) -> str:
    ids = prompt.input_ids[row, positions(prompt.labels[row], span)]
    return reasoner.processor.tokenizer.decode(ids)


def ask(question: str, *images: object) -> Sample:
    return Sample(images=images or (PIXELS,), question=question, answer="1")


def order_of(labels: torch.Tensor) -> list[str]:
    names = (*SPANS, "pad")
    return [names[label] for label, _ in groupby(labels.tolist())]


def test_a_prompts_spans_stand_in_order_and_cover_every_position(reasoner: Reasoner) -> None:
    for sample in Digits(kinds=KINDS).samples(8):
        prompt = encode(reasoner.processor, [sample])
        assert order_of(prompt.labels[0]) == ["system", "image", "question", "header"]


def test_the_question_decoded_from_its_span_is_the_question(reasoner: Reasoner) -> None:
    for sample in Digits(kinds=KINDS).samples(8):
        prompt = encode(reasoner.processor, [sample])
        assert said(reasoner, prompt, 0, "question") == sample.question


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zs", "Zl", "Zp")), min_size=1)
)
@example("assistant")
@example("user")
@example("a")
@example("system")
@example("Wie heißt die Farbe? 🎨🖼️")
@example("两个格子里是什么颜色?")
def test_any_question_is_found_whatever_the_template_says_around_it(
    reasoner: Reasoner, question: str
) -> None:
    assume(unicodedata.normalize("NFC", question) == question)
    # Hypothesis also tries strings that our sources hold, markers among them; those are refused.
    assume(not any(marker in question for marker in reasoner.tokenizer.all_special_tokens))
    prompt = encode(reasoner.processor, [ask(question)])
    assert said(reasoner, prompt, 0, "question") == question
    assert said(reasoner, prompt, 0, "header") == "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("question", [" Which digit? ", "Which\ndigit?", "\nWhich digit?\n"])
def test_white_space_around_a_question_belongs_to_it(reasoner: Reasoner, question: str) -> None:
    prompt = encode(reasoner.processor, [ask(question)])
    assert said(reasoner, prompt, 0, "question") == question


def test_the_system_span_holds_the_templates_system_turn_and_the_header_its_last(
    reasoner: Reasoner,
) -> None:
    prompt = encode(reasoner.processor, [ask("Which digit?")])
    system = said(reasoner, prompt, 0, "system")
    assert system.startswith("<|im_start|>system\nImagine, then answer.<|im_end|>\n")
    assert system.endswith("<|im_start|>user\n<|vision_start|>")
    assert said(reasoner, prompt, 0, "header") == "<|im_end|>\n<|im_start|>assistant\n"


def test_the_image_span_holds_every_placeholder_and_what_closes_it(reasoner: Reasoner) -> None:
    prompt = encode(reasoner.processor, [ask("Which digit?")])
    n_patches = int(prompt.features["image_grid_thw"].prod()) // 4
    image = said(reasoner, prompt, 0, "image")
    assert image == "<|image_pad|>" * n_patches + "<|vision_end|>"
    assert int(prompt.features["mm_token_type_ids"].sum()) == n_patches


def test_two_images_share_one_span_before_the_question(reasoner: Reasoner) -> None:
    other = np.tile(PIXELS, (2, 1, 1))
    prompt = encode(reasoner.processor, [ask("Which digit?", PIXELS, other)])
    assert len(prompt.features["image_grid_thw"]) == 2
    assert order_of(prompt.labels[0]) == ["system", "image", "question", "header"]
    assert said(reasoner, prompt, 0, "question") == "Which digit?"
    n_patches = int(prompt.features["image_grid_thw"].prod(dim=1).sum()) // 4
    assert said(reasoner, prompt, 0, "image").count("<|image_pad|>") == n_patches
    one = encode(reasoner.processor, [ask("Which digit?", PIXELS)])
    assert prompt.labels.shape[1] > one.labels.shape[1]


def test_a_path_a_pil_image_and_an_array_make_the_same_prompt(
    reasoner: Reasoner, tmp_path: Path
) -> None:
    picture = Image.fromarray(PIXELS)
    path = tmp_path / "scene.png"
    picture.save(path)
    wanted = encode(reasoner.processor, [ask("Which digit?", PIXELS)])
    for source in (picture, path, str(path)):
        prompt = encode(reasoner.processor, [ask("Which digit?", source)])
        for name in ("input_ids", "attention_mask", "labels"):
            assert torch.equal(getattr(prompt, name), getattr(wanted, name))
        assert prompt.features.keys() == wanted.features.keys() >= {"pixel_values"}
        for name, feature in wanted.features.items():
            assert torch.equal(prompt.features[name], feature), name
    changed = encode(reasoner.processor, [ask("Which digit?", 255 - PIXELS)])
    assert not torch.equal(changed.features["pixel_values"], wanted.features["pixel_values"])


def test_unequal_prompts_are_padded_on_the_left_and_labelled_as_when_alone(
    reasoner: Reasoner,
) -> None:
    samples = [ask("Which?"), ask("Which digit is in the red cell?"), ask("A B", PIXELS, PIXELS)]
    batch = encode(reasoner.processor, samples)
    length = batch.labels.shape[1]
    for row, sample in enumerate(samples):
        alone = encode(reasoner.processor, [sample])
        n_pad = length - alone.labels.shape[1]
        assert batch.labels[row].tolist() == [PAD] * n_pad + alone.labels[0].tolist()
        assert batch.attention_mask[row].tolist() == [0] * n_pad + [1] * (length - n_pad)
        assert torch.equal(batch.input_ids[row, n_pad:], alone.input_ids[0])
    assert sum(PAD in row for row in batch.labels.tolist()) == 2


def test_a_padded_prompt_embeds_and_sits_where_the_same_prompt_alone_does(
    reasoner: Reasoner,
) -> None:
    samples = [ask("Which?"), ask("Which digit is in the red cell?", 255 - PIXELS)]
    model, architecture = reasoner.model, reasoner.architecture
    batch = encode(reasoner.processor, samples)
    with torch.no_grad():
        together = architecture.prefill(model, batch)
        for row, sample in enumerate(samples):
            prompt = encode(reasoner.processor, [sample])
            alone = architecture.prefill(model, prompt)
            begin = batch.labels.shape[1] - prompt.labels.shape[1]
            torch.testing.assert_close(together.embeds[row, begin:], alone.embeds[0], **BATCHING)
            assert torch.equal(together.position_ids[:, row, begin:], alone.position_ids[:, 0])
            assert torch.equal(together.image_mask[row, begin:], alone.image_mask[0])
            assert not together.image_mask[row, :begin].any()
    image = positions(batch.labels[0], "image")[0]
    assert not torch.allclose(together.embeds[0, image], together.embeds[1, image], atol=1e-2)


def test_an_image_of_an_impossible_shape_is_refused_and_names_its_sample(
    reasoner: Reasoner,
) -> None:
    strip = np.zeros((2, 2000, 3), np.uint8)
    refused = r"processor refused a batch of 1 samples \('strip' first\)"
    with pytest.raises(SampleError, match=refused):
        encode(reasoner.processor, [dataclasses.replace(ask("Which digit?", strip), id="strip")])


def test_a_template_that_drops_the_question_is_refused(reasoner: Reasoner) -> None:
    class Deaf:
        chat_template = "one that says the same to everybody"
        image_processor = reasoner.processor.image_processor
        tokenizer = reasoner.processor.tokenizer

        def apply_chat_template(self, *_: object, **__: object) -> str:
            return "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|im_end|>"

        def __call__(self, *args: object, **kwargs: object) -> object:
            return reasoner.processor(*args, **kwargs)

    with pytest.raises(SampleError, match="does not show the question 'Which digit\\?' as it is"):
        encode(Deaf(), [ask("Which digit?")])


@pytest.mark.parametrize("marker", ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>"])
def test_a_question_that_spells_out_a_placeholder_is_refused_or_asked_as_text(
    reasoner: Reasoner, marker: str
) -> None:
    try:
        prompt = encode(reasoner.processor, [ask(f"What is {marker} for?")])
    except SampleError:
        return
    placeholders = prompt.input_ids[0] == reasoner.model.config.image_token_id
    assert torch.equal(placeholders, prompt.features["mm_token_type_ids"][0] == 1)
    assert int(placeholders.sum()) == int(prompt.features["image_grid_thw"].prod()) // 4
    assert said(reasoner, prompt, 0, "question") == f"What is {marker} for?"
