"""A run can be broken off anywhere, and what it leaves is an ordinary folder."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import mindseye as me
from mindseye.errors import ModelError, SampleError
from mindseye.imagination.training.recipe import PAPER, LatentPlan
from mindseye.imagination.training.running import dry_run, train
from tests.tiny import tiny

pytestmark = pytest.mark.model

FORMS = {
    "full": {},
    "lora": {"tuning": "lora"},
    "latent": {"imagination": "latent"},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_run_broken_off_and_resumed_equals_an_unbroken_one(small, items, tmp_path, form):
    recipe = dataclasses.replace(small, **FORMS[form])
    whole = train(recipe, items, tmp_path / "whole")
    part = train(recipe, items, tmp_path / "parts", until=3)
    assert (part.steps, whole.steps) == (3, 6)
    assert not (tmp_path / "parts" / "config.json").exists()
    resumed = train(recipe, items, tmp_path / "parts")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    for name in ("checkpoint-6/optimizer.pt", "checkpoint-6/scheduler.pt"):
        states = [
            torch.load(tmp_path / run / "checkpoints" / name, weights_only=True)
            for run in ("whole", "parts")
        ]
        assert str(states[0]) == str(states[1])
    logs = [run.to_frame().sort_values(["step", "name"]) for run in (whole, resumed)]
    told = ["loss", "answer_loss", "grad_norm", "learning_rate", "eval_loss", "eval_accuracy"]
    one, other = (log[log.name.isin(told)].value.tolist() for log in logs)
    assert one == other


def test_a_resumed_run_is_not_simply_a_new_one(small, items, tmp_path):
    """The twin: without its checkpoint the second half starts from the base."""
    train(small, items, tmp_path / "parts", until=3)
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "checkpoint-3")
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "checkpoint-2")
    begun = train(small, items, tmp_path / "parts", until=1)
    assert begun.log[0]["step"] == 1


def test_a_checkpoint_that_was_cut_off_is_passed_over(small, items, tmp_path):
    train(small, items, tmp_path, until=3)
    (tmp_path / "checkpoints" / "checkpoint-3" / "trainer_state.json").unlink()
    assert train(small, items, tmp_path).steps == 6


def test_a_finished_run_is_not_repeated(small, items, tmp_path):
    first = train(small, items, tmp_path)
    written = (tmp_path / "model.safetensors").stat().st_mtime_ns
    again = train(small, items, tmp_path)
    assert again == first
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == written


def test_another_recipe_or_other_data_is_refused_and_may_start_anew(small, items, tmp_path):
    train(small, items, tmp_path, until=1)
    faster = dataclasses.replace(small, learning_rate=1e-2)
    with pytest.raises(ModelError, match="learning_rate differ"):
        train(faster, items, tmp_path)
    with pytest.raises(ModelError, match="data differ"):
        train(small, items[1:], tmp_path)
    assert train(faster, items, tmp_path, resume=False, until=1).steps == 1


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({}, "model.safetensors"),
        ({"tuning": "lora", "keep": "adapter"}, "adapter_model.safetensors"),
    ],
    ids=["full", "lora"],
)
def test_the_checkpoint_that_answers_best_is_kept(
    small, items, tmp_path, monkeypatch, changes, file
):
    shares = iter([0.25, 0.75, 0.5])
    monkeypatch.setattr(
        "mindseye.imagination.training.scoring.HeldOut.accuracy", lambda *_: next(shares)
    )
    result = train(dataclasses.replace(small, **changes), items, tmp_path)
    assert (result.best_step, result.accuracy) == (4, 0.75)
    best = load_file(tmp_path / "checkpoints" / "checkpoint-4" / file)
    last = load_file(tmp_path / "checkpoints" / "checkpoint-6" / file)
    kept = load_file(tmp_path / file)
    assert all(torch.equal(kept[name], best[name]) for name in best)
    assert not all(torch.equal(kept[name], last[name]) for name in last)


def test_the_folder_loads_in_a_fresh_process_and_imagines_in_words(small, items, tmp_path):
    recipe = dataclasses.replace(small, max_steps=2, system="Look, then answer.")
    train(recipe, items, tmp_path)
    code = (
        "import sys, json, mindseye as me\n"
        "r = me.load(sys.argv[1], device='cpu')\n"
        "t = r.run(me.task('digits').samples(1)[0], max_new_tokens=4)\n"
        "print(json.dumps([r.protocol.name, r.protocol.answer_marks, r.protocol.prompt.system,"
        " t.n_prompt > 0]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout.splitlines()[-1]) == [
        "text", ["\\boxed{"], "Look, then answer.", True,
    ]  # fmt: skip
    assert not list(tmp_path.glob("*.bin"))
    assert json.loads((tmp_path / "recipe.json").read_text()) == recipe.to_dict()


def test_a_latent_folder_loads_and_imagines_in_latents(small, items, tmp_path):
    latent = LatentPlan(n_slots=4, trigger="forced", alignment_axis="slots")
    recipe = dataclasses.replace(small, imagination="latent", latent=latent, tuning="lora")
    train(recipe, items, tmp_path)
    trace = me.load(tmp_path, device="cpu").run(items[0], max_new_tokens=8)
    assert len(trace.latents) == 4


def test_the_papers_recipe_takes_three_steps_on_a_small_random_model():
    result = dry_run(PAPER)
    assert result.steps == 3
    assert {"imagination_loss", "answer_loss", "eval_accuracy"} <= set(result.to_frame().name)


def test_the_steps_planned_are_the_steps_taken(small, items, tmp_path):
    recipe = dataclasses.replace(small, max_steps=None, epochs=1.5, held_out=0, evaluate_every=99)
    assert train(recipe, items, tmp_path).steps == recipe.steps(len(items)) == 6


def test_a_model_that_reads_text_only_is_refused(small, items, base, tmp_path):
    shutil.copytree(base, tmp_path / "blind")
    text = tiny("llama", vocab=600).model
    (tmp_path / "blind" / "model.safetensors").unlink()
    text.save_pretrained(tmp_path / "blind")
    with pytest.raises(ModelError, match="reads text only"):
        train(dataclasses.replace(small, model=str(tmp_path / "blind")), items, tmp_path / "out")


def test_what_cannot_be_trained_is_refused_before_the_model_is_loaded(small, items, tmp_path):
    broken = dataclasses.replace(small, model=str(tmp_path / "nothing"))
    with pytest.raises(SampleError, match="have no answer"):
        train(broken, [dataclasses.replace(items[0], answer="")], tmp_path / "out")
    with pytest.raises(ModelError, match="nothing' is neither a folder nor a hub id"):
        train(broken, items, tmp_path / "out")
    odd = dataclasses.replace(small, global_batch=3)
    with pytest.raises(ModelError, match="expected a multiple of 2"):
        train(odd, items, tmp_path / "odd")


def test_limits_on_images_reach_the_saved_processor(small, items, tmp_path):
    recipe = dataclasses.replace(small, max_steps=1, held_out=0, max_pixels=32 * 32)
    train(recipe, items, tmp_path)
    size = dict(me.load(tmp_path, device="cpu").processor.image_processor.size)
    assert (size["shortest_edge"], size["longest_edge"]) == (256, 1024)
