"""A recipe says everything, refuses what it does not know, and survives JSON."""

import dataclasses
from pathlib import Path

import pytest

from mindseye.errors import ModelError, UnknownNameError
from mindseye.imagination import training
from mindseye.imagination.training.recipe import ORIGINS, PAPER, LatentPlan, Recipe


def test_a_recipe_survives_a_file(tmp_path):
    recipe = Recipe(tuning="lora", imagination_weight=0.5, latent=LatentPlan(n_slots=3))
    recipe.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == recipe


def test_fields_left_out_take_their_defaults():
    assert Recipe.from_dict({}) == PAPER


def test_the_paper_recipe_is_the_papers_where_it_speaks():
    assert PAPER.model == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert (PAPER.global_batch, PAPER.micro_batch) == (128, 1)
    assert (PAPER.imagination_weight, PAPER.answer_weight) == (1, 1)


def test_the_papers_recipe_file_is_the_papers_recipe():
    folder = Path(training.__file__).parent / "configs"
    assert Recipe.load(folder / "paper.json") == PAPER


def test_seventeen_thousand_items_make_133_steps_an_epoch():
    assert dataclasses.replace(PAPER, epochs=1.0).steps(17_000) == 133
    assert PAPER.steps(17_000) == 399
    assert dataclasses.replace(PAPER, max_steps=7).steps(17_000) == 7


def test_every_field_says_whose_choice_it_is():
    assert set(ORIGINS) == {field.name for field in dataclasses.fields(Recipe)}
    assert all(origin.startswith(("paper", "ours")) for origin in ORIGINS.values())
    assert ORIGINS["learning_rate"].startswith("ours")


@pytest.mark.parametrize("data", [{"lerning_rate": 1}, {"latent": {"slots": 3}}])
def test_an_unknown_key_is_named(data):
    with pytest.raises(UnknownNameError, match=r"lerning_rate|latent\.slots"):
        Recipe.from_dict(data)


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ({"global_batch": "many"}, "global_batch = 'many'"),
        ({"global_batch": 0}, "global_batch must be at least 1"),
        ({"tuning": "qlora"}, "tuning = 'qlora'"),
        ({"answer_weight": -1}, "loss weights"),
        ({"imagination_weight": 0, "answer_weight": 0}, "not both 0"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"imagination": "latent"}, "gradient checkpointing throws away"),
        (
            {"imagination": "latent", "gradient_checkpointing": False, "tuning": "lora"},
            "latent.trigger to 'forced'",
        ),
        ([], "given as list"),
    ],
)
def test_what_no_run_could_follow_is_refused(data, wrong):
    with pytest.raises(ModelError, match=wrong):
        Recipe.from_dict(data)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(ModelError, match="no recipe file"):
        Recipe.load(tmp_path / "recipe.json")


def test_the_mark_that_ends_imagination_is_what_opens_the_taught_answer():
    assert PAPER.protocol.answer_marks == ("\\boxed{",)
    tagged = dataclasses.replace(PAPER, answer_format="answer_tag", system="Look.").protocol
    assert (tagged.answer_marks, tagged.answers) == (("<answer>",), ("answer_tag",))
    assert tagged.prompt.system == "Look."
