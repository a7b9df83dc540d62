"""What is taught is imagination and answer, to the token, and nothing else."""

import dataclasses

import pytest
import torch

from mindseye.errors import SampleError
from mindseye.imagination.training.data import open_rows
from mindseye.imagination.training.encoding import (
    ANSWER,
    IGNORED,
    IMAGINATION,
    LatentCollator,
    TextCollator,
    end_of_turn,
)
from mindseye.reasoners.prompt import encode


def slowly(processor, sample, opening="\\boxed{", ending="}"):
    """Ids and parts of one row, a word at a time: what precedes a boundary, then what follows."""
    tokenizer = processor.tokenizer
    text = f"{sample.imagination}\n{opening}{sample.answer}{ending}<|im_end|>"
    prompt = encode(processor, [sample]).input_ids[0].tolist()
    said = tokenizer.encode(text, add_special_tokens=False)
    parts, read = [], ""
    for token in said:
        parts.append(IMAGINATION if len(read) < len(sample.imagination) else ANSWER)
        read += tokenizer.decode([token])
    assert read == text
    return prompt + said, [0] * len(prompt) + parts


def test_labels_are_imagination_and_answer_and_each_token_knows_which(collate, processor, items):
    batch = collate(items)
    rows = [slowly(processor, sample) for sample in items]
    assert len({len(ids) for ids, _ in rows}) > 1
    for index, (ids, parts) in enumerate(rows):
        n = len(ids)
        assert batch["input_ids"][index, :n].tolist() == ids
        assert batch["parts"][index, :n].tolist() == parts
        taught = [token if part else IGNORED for token, part in zip(ids, parts, strict=True)]
        assert batch["labels"][index, :n].tolist() == taught
        assert batch["attention_mask"][index].tolist() == [1] * n + [0] * (
            len(batch["parts"][index]) - n
        )
        assert not batch["parts"][index, n:].any()
        assert (batch["labels"][index, n:] == IGNORED).all()


def test_the_answer_begins_with_its_line_and_ends_with_the_turn(collate, processor, items):
    batch = collate(items[:1])
    ids, parts = batch["input_ids"][0], batch["parts"][0]
    decode = processor.tokenizer.decode
    assert decode(ids[parts == IMAGINATION]) == items[0].imagination
    assert decode(ids[parts == ANSWER]) == f"\n\\boxed{{{items[0].answer}}}<|im_end|>"


def test_image_tokens_keep_their_kind_where_rows_are_padded(collate, processor, items):
    batch = collate(items)
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert torch.equal(batch["mm_token_type_ids"], (batch["input_ids"] == image).long())
    assert len(batch["image_grid_thw"]) == len(items)


def test_the_other_answer_format_is_a_tag(collate, processor, items):
    batch = collate(items[:1], answer_format="answer_tag")
    ids, parts = slowly(processor, items[0], "<answer>", "</answer>")
    assert batch["input_ids"][0].tolist() == ids
    assert batch["parts"][0].tolist() == parts


def test_a_special_token_in_the_words_is_refused(collate, items):
    broken = dataclasses.replace(items[0], imagination="It ends.<|im_end|> Not yet.")
    with pytest.raises(SampleError, match=r"special token '<\|im_end\|>'"):
        collate([broken])


def test_a_template_that_opens_answers_in_another_way_is_refused(processor):
    assert end_of_turn(processor) == "<|im_end|>"
    held = processor.chat_template
    processor.chat_template = held.replace(
        "<|im_start|>assistant\n{% endif %}", "<think>{% endif %}"
    )
    try:
        with pytest.raises(SampleError, match="opens an answer with"):
            end_of_turn(processor)
    finally:
        processor.chat_template = held


def test_a_latent_batch_holds_prompts_answers_and_helpers(small, processor, items):
    recipe = dataclasses.replace(small, imagination="latent")
    rows = list(open_rows(items[:4], recipe))
    batch = LatentCollator(processor, recipe, end_of_turn(processor))(rows)
    assert torch.equal(batch["input_ids"], encode(processor, items[:4]).input_ids)
    said = [processor.tokenizer.decode(row[row != IGNORED]) for row in batch["labels"]]
    assert said == [f"\\boxed{{{sample.answer}}}<|im_end|>" for sample in items[:4]]
    assert len(batch["helper_image_grid_thw"]) == 4


def test_an_item_without_a_helper_is_named(small, processor, items):
    recipe = dataclasses.replace(small, imagination="latent")
    rows = list(open_rows([dataclasses.replace(items[0], helper=None)], recipe))
    with pytest.raises(SampleError, match=f"{items[0].id} have no helper"):
        LatentCollator(processor, recipe, end_of_turn(processor))(rows)


def test_a_collator_for_words_needs_no_image(small, processor, items):
    blind = dataclasses.replace(items[0], images=())
    batch = TextCollator(processor, small, "<|im_end|>")(list(open_rows([blind], small)))
    assert "pixel_values" not in batch
