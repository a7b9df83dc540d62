"""The loss is the weighted mean over the whole batch, however it is cut; what is frozen stays."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import cosine_similarity, cross_entropy
from transformers import Qwen2_5_VLForConditionalGeneration

from mindseye.errors import EngineError
from mindseye.imagination.training.data import open_rows, to_sample
from mindseye.imagination.training.encoding import ANSWER, IMAGINATION
from mindseye.imagination.training.recipe import LatentPlan
from mindseye.imagination.training.running import build_trainer, train
from mindseye.imagination.training.scoring import HeldOut
from mindseye.imagination.training.trainer import ImaginationTrainer
from mindseye.organisms.losses import Lesson, Pupil
from mindseye.reasoners import load, wrap
from mindseye.reasoners.architectures import ARCHITECTURES
from mindseye.reasoners.prompt import encode
from mindseye.reasoners.stream import Stream

pytestmark = pytest.mark.model


def trainer_of(recipe, samples, out):
    return build_trainer(recipe, open_rows(samples, recipe), None, out, None)


def one_step(trainer, step=None):
    """Loss and gradients of one optimiser step, before it is taken."""
    trainer.state.max_steps = 6
    trainer.state.global_step = step or 0
    batches = iter(trainer.get_train_dataloader())
    n = trainer.args.gradient_accumulation_steps
    found, items = trainer.get_batch_samples(batches, n, trainer.args.device)
    trainer.current_gradient_accumulation_steps = n
    loss = sum(trainer.training_step(trainer.model, inputs, items) for inputs in found)
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    return loss, gradients


def distance(one, other):
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


WORDS = {"imagination_weight": 0.3, "answer_weight": 2.0}
LATENTS = {"imagination": "latent", **WORDS}
ALIGNED = {"imagination": "latent", "latent": LatentPlan("monet", 4, alignment_weight=2.0)}


@pytest.mark.parametrize(
    ("changes", "step"),
    [({}, 0), (WORDS, 0), (LATENTS, 0), (LATENTS, 5), (ALIGNED, 0)],
    ids=["words", "weighted words", "copied", "fed back", "aligned"],
)  # fmt: skip
def test_an_accumulated_step_is_the_step_of_one_large_batch(small, items, tmp_path, changes, step):
    recipe = dataclasses.replace(small, **changes)
    whole = dataclasses.replace(recipe, micro_batch=4)
    cut = dataclasses.replace(recipe, micro_batch=1)
    loss, gradients = one_step(trainer_of(whole, items, tmp_path), step)
    other, others = one_step(trainer_of(cut, items, tmp_path), step)
    assert other.item() == pytest.approx(loss.item(), abs=1e-5)
    assert distance(gradients, others) < 1e-5


def test_scaling_each_micro_batch_by_its_own_tokens_is_another_step(
    small, items, tmp_path, monkeypatch
):
    loss, gradients = one_step(
        trainer_of(dataclasses.replace(small, micro_batch=4), items, tmp_path)
    )
    wrong = trainer_of(dataclasses.replace(small, micro_batch=1), items, tmp_path)
    monkeypatch.setattr(ImaginationTrainer, "_get_num_items_in_batch", lambda *_: None)
    monkeypatch.setattr(ImaginationTrainer, "loss_is_scaled_for_ga", False)
    other, others = one_step(wrong)
    assert abs(other.item() - loss.item()) > 1e-3
    assert distance(gradients, others) > 1e-3


def test_the_loss_is_the_weighted_mean_of_plain_cross_entropies(small, items, collate, tmp_path):
    recipe = dataclasses.replace(small, micro_batch=4, **WORDS)
    trainer = trainer_of(recipe, items[:4], tmp_path)
    batch = collate(items[:4])
    parts = batch.pop("parts")
    with torch.no_grad():
        log_probs = trainer.model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    log_probs = log_probs.log_softmax(dim=-1)
    total = {IMAGINATION: 0.0, ANSWER: 0.0}
    count = {IMAGINATION: 0, ANSWER: 0}
    for row in range(4):
        for place in range(1, parts.shape[1]):
            part = int(parts[row, place])
            if part:
                token = batch["input_ids"][row, place]
                total[part] -= log_probs[row, place - 1, token].item()
                count[part] += 1
    by_hand = (0.3 * total[1] + 2 * total[2]) / (0.3 * count[1] + 2 * count[2])
    loss, _ = one_step(trainer)
    assert loss.item() == pytest.approx(by_hand, abs=1e-5)
    logs = {}
    trainer.log(logs)
    assert logs["imagination_loss"] == pytest.approx(total[1] / count[1], abs=1e-5)
    assert logs["answer_loss"] == pytest.approx(total[2] / count[2], abs=1e-5)


def first_stage(pupil, lesson, helpers):
    """Mirage's: slots are given the helper's features, and the states before them pulled there."""
    shown = helpers.features["pixel_values"], helpers.features["image_grid_thw"]
    images = pupil.model.model.get_image_features(*shown).pooler_output
    taught = torch.stack(
        [torch.stack([part.mean(dim=0) for part in image.tensor_split(4)]) for image in images]
    )
    answers, embed = lesson.answers, pupil.model.get_input_embeddings()
    start, end = (
        torch.full_like(answers[:, :1], t) for t in (pupil.tokens.start, pupil.tokens.end)
    )
    given = embed(answers[:, :-1].clamp(min=0))
    stream = Stream.open(pupil.model, pupil.architecture, lesson.prompt)
    fed = torch.cat([embed(start), taught, embed(end), given], dim=1)
    spans = ["start", *["latents"] * 4, "end", *["answer"] * given.shape[1]]
    states = torch.cat([stream.states[:, -1:], stream.feed(fed, spans)], dim=1)
    logits = pupil.model.lm_head(states)
    tokens = cross_entropy(logits[:, 0], start[:, 0])
    tokens = tokens + cross_entropy(logits[:, 6:].flatten(0, 1), answers.flatten())
    return 0.1 * tokens + (1 - cosine_similarity(states[:, 1:5], taught, dim=-1)).mean()


@pytest.mark.parametrize("name", ["copy", "imagine"])
def test_latents_are_taught_as_mirage_teaches_them(small, items, tmp_path, name):
    recipe = dataclasses.replace(small, imagination="latent", micro_batch=4)
    trainer = trainer_of(recipe, items[:4], tmp_path)
    rows = list(trainer.train_dataset)
    batch = trainer.data_collator(rows)
    samples = [to_sample(row, recipe) for row in rows]
    processor = trainer.processing_class
    tokens = recipe.protocol.tokens(processor.tokenizer, len(processor.tokenizer))
    pupil = Pupil(trainer.model, processor, ARCHITECTURES["qwen2_5_vl"], tokens)
    lesson = Lesson(encode(processor, samples), batch["labels"])
    helpers = encode(processor, [dataclasses.replace(s, images=(s.helper,)) for s in samples])
    with torch.no_grad():
        found = trainer.model(latent_batch=batch, stage=name)
        by_hand = first_stage(pupil, lesson, helpers) if name == "copy" else pupil.imagine(lesson)
    taught = (batch["labels"] != -100).sum()
    ours = -found["start"].mean() - found["answer"].sum() / taught
    if name == "copy":
        ours = 0.1 * ours + found["misaligned"].mean()
    torch.testing.assert_close(ours, by_hand, atol=1e-5, rtol=1e-5)


def test_latents_are_aligned_with_those_that_saw_the_helper(small, items, tmp_path):
    recipe = dataclasses.replace(small, **ALIGNED, micro_batch=4)
    trainer = trainer_of(recipe, items[:4], tmp_path)
    batch = trainer.data_collator(list(trainer.train_dataset))
    unhelped = {name: value for name, value in batch.items() if not name.startswith("helper_")}
    itself = {f"helper_{name}": value for name, value in unhelped.items() if name != "labels"}
    with torch.no_grad():
        helped = trainer.model(latent_batch=batch, stage="align")
        same = trainer.model(latent_batch=unhelped | itself, stage="align")
        alone = trainer.model(latent_batch=unhelped, stage="imagine")
    assert helped["misaligned"].min() > 1e-3
    assert same["misaligned"].abs().max() < 1e-5
    for name in ("start", "answer"):
        torch.testing.assert_close(helped[name], alone[name])


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_what_was_saved(
    small, items, tmp_path, monkeypatch
):
    def broken(self, model, inputs, *args, **kwargs):
        loss = stock(self, model, inputs, *args, **kwargs)
        return loss * math.nan if self.state.global_step == 3 else loss

    stock = ImaginationTrainer.compute_loss
    monkeypatch.setattr(ImaginationTrainer, "compute_loss", broken)
    with pytest.raises(EngineError, match=r"stopped at step 4: the loss became nan.*checkpoints"):
        train(small, items, tmp_path)
    kept = tmp_path / "checkpoints" / "checkpoint-2"
    saved = Qwen2_5_VLForConditionalGeneration.from_pretrained(kept, dtype=torch.float32)
    assert all(parameter.isfinite().all() for parameter in saved.parameters())
    assert not (tmp_path / "config.json").exists()
    monkeypatch.undo()
    assert train(small, items, tmp_path).steps == 6


def test_a_gradient_that_is_no_number_stops_the_run_too(small, items, tmp_path):
    trainer = trainer_of(small, items, tmp_path)
    trainer.model.lm_head.weight.register_hook(lambda gradient: gradient * math.inf)
    before = copy.deepcopy(trainer.model.state_dict())
    with pytest.raises(EngineError, match="the norm of the gradients became"):
        trainer.train()
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("train_vision", [False, True])
def test_the_vision_tower_moves_only_if_it_is_trained(small, base, items, tmp_path, train_vision):
    recipe = dataclasses.replace(small, held_out=0, max_steps=2, train_vision=train_vision)
    train(recipe, items, tmp_path)
    stock = Qwen2_5_VLForConditionalGeneration
    before, after = (stock.from_pretrained(f, dtype=torch.float32) for f in (base, tmp_path))
    moved = {
        name
        for name, parameter in after.named_parameters()
        if not torch.equal(parameter, before.get_parameter(name))
    }
    assert any("language_model" in name for name in moved)
    assert any(".visual." in name for name in moved) == train_vision


def test_lora_leaves_the_base_alone_and_merges_to_equal_logits(
    small, base, items, collate, tmp_path
):
    recipe = dataclasses.replace(small, tuning="lora", held_out=0, max_steps=3, lora_dropout=0.0)
    trainer = trainer_of(recipe, items, tmp_path / "apart")
    trainer.train()
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    tuned = trainer.model.get_base_model()
    for name, parameter in tuned.named_parameters():
        if "lora_" not in name:
            assert torch.equal(parameter, stock.get_parameter(name.replace(".base_layer", "")))
    train(recipe, items, tmp_path / "merged")
    train(dataclasses.replace(recipe, keep="adapter"), items, tmp_path / "kept")
    batch = {k: v for k, v in collate(items[:2]).items() if k not in ("parts", "labels")}
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).logits
        assert (expected - stock(**batch).logits).abs().max() > 1e-3
        for folder in ("merged", "kept"):
            logits = load(tmp_path / folder, device="cpu").model(**batch).logits
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert "visual" not in " ".join(
        name for name, _ in trainer.model.named_parameters() if "lora_" in name
    )
    assert json.loads((tmp_path / "kept" / "adapter_config.json").read_text())["r"] == 4
    assert isinstance(trainer.model, PeftModel)


@pytest.mark.parametrize("imagination", ["text", "latent"])
def test_accuracy_counts_what_a_reasoner_would_answer(small, items, tmp_path, imagination):
    latent = LatentPlan(n_slots=4, trigger="forced")
    recipe = dataclasses.replace(
        small, imagination=imagination, latent=latent, max_steps=40, learning_rate=3e-3,
        held_out=0, max_new_tokens=50, global_batch=2, evaluation_batch=2,
    )  # fmt: skip
    few = items[:3]
    trainer = trainer_of(recipe, few, tmp_path)
    trainer.train()
    held = HeldOut(open_rows(few, recipe), recipe, trainer.processing_class)
    trainer.model.eval()
    accuracy = held.accuracy(trainer.model, trainer.accelerator)
    reasoner = wrap(trainer.model, trainer.processing_class, recipe.protocol)
    traces = [reasoner.run(sample, max_new_tokens=50) for sample in few]
    right = [
        trace.parsed and trace.answer == s.answer for trace, s in zip(traces, few, strict=True)
    ]
    assert accuracy == pytest.approx(sum(right) / 3)
    assert accuracy > 0
