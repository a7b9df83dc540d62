"""Forms beside imagination in words to a picture: none at all, and answers from words alone."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import mindseye as me
from mindseye.errors import ModelError
from mindseye.imagination.training.data import open_rows
from mindseye.imagination.training.encoding import ANSWER, IGNORED, IMAGINATION
from mindseye.imagination.training.loading import load_base
from mindseye.imagination.training.recipe import ANSWER_FORMATS, Recipe
from mindseye.imagination.training.running import build_trainer, dry_run, train
from mindseye.imagination.training.scoring import HeldOut
from mindseye.organisms import weights_of
from mindseye.plugins import names
from mindseye.reasoners import wrap
from mindseye.reasoners.prompt import encode

NONE = {"imagination": "none", "answer_format": "plain"}
WORDS = {"answers_from": "words", "answer_format": "hash"}
WEIGHTS = {"imagination_weight": 0.3, "answer_weight": 2.0}
END = "<|im_end|>"

model = pytest.mark.model


# What is taught -----------------------------------------------------------------------------------


def tokens(processor, *said):
    """Ids and parts of texts that are tokenized in one piece, each with a part of its own."""
    text = "".join(each for each, _ in said)
    ids, parts, read = processor.tokenizer.encode(text, add_special_tokens=False), [], ""
    for token in ids:
        begin = len(read)
        for each, part in said:
            if begin < len(each):
                parts.append(part)
                break
            begin -= len(each)
        read += processor.tokenizer.decode([token])
    assert read == text
    return ids, parts


def assert_row(batch, index, prompt, ids, parts):
    n = len(prompt) + len(ids)
    assert batch["input_ids"][index, :n].tolist() == prompt + ids
    assert batch["parts"][index, :n].tolist() == [0] * len(prompt) + parts
    taught = [token if part else IGNORED for token, part in zip(ids, parts, strict=True)]
    assert batch["labels"][index, :n].tolist() == [IGNORED] * len(prompt) + taught
    assert batch["attention_mask"][index].tolist() == [1] * n + [0] * (
        batch["input_ids"].shape[1] - n
    )
    assert (batch["labels"][index, n:] == IGNORED).all()
    assert not batch["parts"][index, n:].any()


def prompt_of(processor, sample):
    return encode(processor, [sample]).input_ids[0].tolist()


@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_who_imagines_nothing_is_taught_the_answer_alone(collate, processor, items, answer_format):
    batch = collate(items[:4], imagination="none", answer_format=answer_format)
    opening, ending, _ = ANSWER_FORMATS[answer_format]
    for index, sample in enumerate(items[:4]):
        said = (f"{opening}{sample.answer}{ending}{END}", ANSWER)
        assert_row(batch, index, prompt_of(processor, sample), *tokens(processor, said))


def test_who_imagines_nothing_needs_no_words(collate, items):
    bare = [dataclasses.replace(each, imagination=None) for each in items[:2]]
    one, other = (collate(each, **NONE) for each in (bare, items[:2]))
    assert torch.equal(one["input_ids"], other["input_ids"])


@pytest.mark.parametrize("answer_format", ["boxed", "answer_tag", "hash"])
def test_who_answers_from_words_is_taught_to_tell_and_then_to_answer(
    collate, processor, items, answer_format
):
    batch = collate(items[:5], answers_from="words", answer_format=answer_format)
    opening, ending, _ = ANSWER_FORMATS[answer_format]
    assert len(batch["input_ids"]) == 10
    for index, sample in enumerate(items[:5]):
        told = (sample.imagination, IMAGINATION), (f"\n{opening}{END}", ANSWER)
        assert_row(batch, 2 * index, prompt_of(processor, sample), *tokens(processor, *told))
        given, _ = tokens(processor, (f"{sample.imagination}\n{opening}", 0))
        answered, parts = tokens(processor, (f"{sample.answer}{ending}{END}", ANSWER))
        unseen = prompt_of(processor, dataclasses.replace(sample, images=()))
        row = given + answered, [0] * len(given) + parts
        assert_row(batch, 2 * index + 1, unseen, *row)


def test_the_second_row_of_an_item_shows_no_picture(collate, processor, items):
    batch = collate(items[:3], **WORDS)
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    counts = (batch["input_ids"] == image).sum(dim=1).tolist()
    assert counts[1::2] == [0, 0, 0]
    assert min(counts[::2]) > 0
    assert len(batch["image_grid_thw"]) == 3
    assert torch.equal(batch["mm_token_type_ids"], (batch["input_ids"] == image).long())


@model
def test_what_is_taught_is_what_is_run(collate, processor, small, items):
    """The rows of an item are the two prompts of a run that is told its words."""
    recipe = dataclasses.replace(small, **WORDS)
    base, _ = load_base(recipe)
    ours = wrap(base, processor, recipe.protocol)
    sample = items[0]
    words = processor.tokenizer.encode(f"{sample.imagination}\n#", add_special_tokens=False)
    run = ours.run(sample, saying=words, max_new_tokens=len(words) + 2)
    batch = collate([sample], **WORDS)
    n = run.n_prompt + len(words)
    assert batch["input_ids"][1, :n].tolist() == run.all_ids[:n]
    assert ours.read(run.words) == sample.imagination


# How it is trained --------------------------------------------------------------------------------


def one_step(recipe, samples, out):
    """Loss, gradients and log of one optimiser step, before it is taken."""
    trainer = build_trainer(recipe, open_rows(samples, recipe), None, out, None)
    trainer.state.max_steps, trainer.state.global_step = 6, 0
    n = trainer.args.gradient_accumulation_steps
    batches = iter(trainer.get_train_dataloader())
    found, items = trainer.get_batch_samples(batches, n, trainer.args.device)
    trainer.current_gradient_accumulation_steps = n
    loss = sum(trainer.training_step(trainer.model, inputs, items) for inputs in found)
    logs = {}
    trainer.log(logs)
    gradients = {
        name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None
    }
    return loss.item(), gradients, logs


@model
@pytest.mark.parametrize("form", [NONE, NONE | WEIGHTS, WORDS, WORDS | WEIGHTS])
def test_an_accumulated_step_is_the_step_of_one_large_batch(small, items, tmp_path, form):
    recipe = dataclasses.replace(small, **form)
    (loss, one, log), (other_loss, other, other_log) = (
        one_step(dataclasses.replace(recipe, micro_batch=n), items, tmp_path) for n in (4, 1)
    )
    assert other_loss == pytest.approx(loss, abs=1e-5)
    assert one.keys() == other.keys()
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-5
    for name in ("answer_loss", "imagination_loss"):
        assert (name in log) == (name in other_log)
        assert log.get(name, 0) == pytest.approx(other_log.get(name, 0), abs=1e-5)
    assert ("imagination_loss" in log) == (recipe.imagination == "text")


@model
@pytest.mark.parametrize("form", [NONE, WORDS | WEIGHTS])
def test_the_loss_is_the_weighted_mean_of_plain_cross_entropies(
    small, items, collate, tmp_path, form
):
    recipe = dataclasses.replace(small, micro_batch=4, **form)
    loss, _, logs = one_step(recipe, items[:4], tmp_path)
    batch = collate(items[:4], **form)
    parts = batch.pop("parts")
    stock, _ = load_base(recipe)
    with torch.no_grad():
        logits = stock(**{k: v for k, v in batch.items() if k != "labels"}).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch["input_ids"][:, 1:], reduction="none"
    )
    totals = {part: losses[parts[:, 1:] == part] for part in (IMAGINATION, ANSWER)}
    weights = {IMAGINATION: recipe.imagination_weight, ANSWER: recipe.answer_weight}
    by_hand = sum(weights[p] * each.sum() for p, each in totals.items()) / sum(
        weights[p] * len(each) for p, each in totals.items()
    )
    assert loss == pytest.approx(by_hand.item(), abs=1e-5)
    assert logs["answer_loss"] == pytest.approx(totals[ANSWER].mean().item(), abs=1e-5)


@model
@pytest.mark.parametrize("form", [NONE, WORDS])
def test_every_form_is_tried_on_a_small_random_model(form):
    recipe = Recipe(**form, gradient_checkpointing=False)
    result = dry_run(recipe, steps=2)
    assert result.steps == 2
    logged = set(result.to_frame().name)
    assert {"answer_loss", "eval_answer_loss", "eval_accuracy"} <= logged
    assert ("imagination_loss" in logged) == (form is WORDS)


@model
@pytest.mark.parametrize("form", [NONE, WORDS])
def test_a_run_broken_off_and_resumed_equals_an_unbroken_one(small, items, tmp_path, form):
    recipe = dataclasses.replace(small, max_steps=4, **form)
    whole = train(recipe, items, tmp_path / "whole")
    assert train(recipe, items, tmp_path / "parts", until=3).steps == 3
    resumed = train(recipe, items, tmp_path / "parts")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    told = ["loss", "answer_loss", "eval_answer_loss", "eval_accuracy"]
    logs = [run.to_frame().sort_values(["step", "name"]) for run in (whole, resumed)]
    one, other = (log[log.name.isin(told)].value.tolist() for log in logs)
    assert one == other


@model
def test_accuracy_of_answers_from_words_is_what_a_reasoner_answers(small, items, tmp_path):
    """Learned by heart: three items, each told and answered in passes of their own."""
    few = items[:2]
    recipe = dataclasses.replace(
        small, **WORDS, max_steps=60, learning_rate=3e-3, held_out=0, max_new_tokens=40,
        global_batch=2, evaluation_batch=2,
    )  # fmt: skip
    trainer = build_trainer(recipe, open_rows(few, recipe), None, tmp_path, None)
    trainer.train()
    trainer.model.eval()
    held = HeldOut(open_rows(few, recipe), recipe, trainer.processing_class)
    accuracy = held.accuracy(trainer.model, trainer.accelerator)
    ours = wrap(trainer.model, trainer.processing_class, recipe.protocol)
    runs = [ours.run(sample, max_new_tokens=40) for sample in few]
    right = [run.parsed and run.answer == s.answer for run, s in zip(runs, few, strict=True)]
    assert accuracy == sum(right) / 2
    assert accuracy == 1
    for run, sample in zip(runs, few, strict=True):
        assert ours.read(run.words) == sample.imagination
        assert len(run.spans["image"]) == 0
        assert run.description is not None


# What it leaves -----------------------------------------------------------------------------------


@model
def test_the_folder_loads_in_a_fresh_process_and_answers_from_words(small, items, tmp_path):
    train(dataclasses.replace(small, max_steps=1, held_out=0, **WORDS), items, tmp_path)
    code = (
        "import sys, json, mindseye as me\n"
        "r = me.load(sys.argv[1], device='cpu')\n"
        "t = r.run(me.task('digits').samples(1)[0], max_new_tokens=4)\n"
        "p = r.protocol\n"
        "print(json.dumps([p.name, p.answer_marks, p.answers_from, p.answers,"
        " len(t.spans['image']), len(t.description.spans['image']) > 0]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    wanted = ["text", ["#"], "words", ["after_hash"], 0, True]
    assert json.loads(run.stdout.splitlines()[-1]) == wanted


@model
@pytest.mark.parametrize("answer_format", ["plain", "boxed"])
def test_a_folder_that_imagines_nothing_loads_and_answers_at_once(
    small, items, tmp_path, answer_format
):
    form = {"imagination": "none", "answer_format": answer_format}
    train(dataclasses.replace(small, max_steps=1, held_out=0, **form), items, tmp_path)
    ours = me.load(tmp_path, device="cpu")
    run = ours.run(items[0], max_new_tokens=4)
    opening, _, parser = ANSWER_FORMATS[answer_format]
    assert ours.protocol.name == "direct"
    assert (ours.protocol.answer_opening, ours.protocol.answers) == (opening, (parser,))
    assert (run.segments, run.emitted, run.words) == ((), False, ())
    assert len(run.spans["image"]) > 0


@model
def test_training_may_start_from_an_organism():
    recipe = Recipe(model="organism:base", **NONE, gradient_checkpointing=False, max_pixels=None)
    found, _ = load_base(recipe)
    shipped = me.load("organism:base", protocol="text").model.state_dict()
    assert weights_of("base").is_dir()
    for name, weight in found.state_dict().items():
        torch.testing.assert_close(weight, shipped[name].float(), atol=0, rtol=0)


# The recipe ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ({"imagination": "none", "answers_from": "words"}, "it imagines in none"),
        (
            {"imagination": "latent", "answers_from": "words", "gradient_checkpointing": False},
            "it imagines in none",
        ),
        ({"answer_format": "plain"}, "nothing to end the words by"),
        ({"answer_format": "bare"}, "answer_format = 'bare'"),
        ({"imagination": "silent"}, "imagination = 'silent'"),
        ({"answers_from": "memory"}, "answers_from = 'memory'"),
    ],
)
def test_what_no_run_could_follow_is_refused(data, wrong):
    with pytest.raises(ModelError, match=wrong):
        Recipe.from_dict(data)


@pytest.mark.parametrize("form", [NONE, WORDS])
def test_a_form_survives_a_file(tmp_path, form):
    Recipe(**form).save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == Recipe(**form)


@pytest.mark.parametrize(("name", "written"), ANSWER_FORMATS.items())
def test_what_is_taught_as_an_answer_is_read_as_one(name, written):
    from mindseye.reasoners.answers import parse_answer

    recipe = Recipe(imagination="none", answer_format=name)
    said = f"{written.opening}7{written.ending}"
    assert parse_answer(said, recipe.protocol.answers, (), "7") == "7"
    assert recipe.protocol.answer_opening == written.opening
    assert recipe.protocol.answers[0] in names("answer")
    assert not recipe.protocol.in_words
