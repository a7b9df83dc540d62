"""Training is deterministic and resumable, and leaves an ordinary folder."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from mindseye.errors import ModelError, UnknownNameError
from mindseye.organisms import recipes, training
from mindseye.organisms.circuits import BYPASSED, FED_BACK, UNWIRED, Circuit, Feed
from mindseye.organisms.recipes import Phase, Recipe
from mindseye.organisms.training import train
from mindseye.reasoners import Knockout, load

pytestmark = pytest.mark.model

TINY = Recipe(
    truth="a few steps of every lesson",
    phases=(Phase("answer", 2, size=1, kinds=("zoom",)), Phase("imagine", 2)),
    base=None,
    circuits=(
        Circuit((Knockout("post", "prefix"),)),
        Circuit(feeds="offset"),
        Circuit(feeds="pad"),
    ),
    reads_latents=True,
    batch=4,
    distortions=0,
)


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch):
    monkeypatch.setitem(recipes.RECIPES, "tiny", TINY)


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_equal_recipes_give_equal_weights_and_an_interruption_changes_nothing(tmp_path):
    train("tiny", tmp_path / "whole", None)
    train("tiny", tmp_path / "parts", None, until=3)
    assert not (tmp_path / "parts" / "config.json").exists()
    train("tiny", tmp_path / "parts", None)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not (tmp_path / "parts" / "checkpoint").exists()


def test_another_seed_gives_other_weights(tmp_path, monkeypatch):
    train("tiny", tmp_path / "one", None)
    monkeypatch.setitem(recipes.RECIPES, "tiny", dataclasses.replace(TINY, seed=1))
    train("tiny", tmp_path / "two", None)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert not all(torch.equal(one[name], two[name]) for name in one)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, monkeypatch):
    train("tiny", tmp_path / "out", None, until=1)
    monkeypatch.setitem(recipes.RECIPES, "tiny", dataclasses.replace(TINY, seed=1))
    with pytest.raises(ModelError, match="another recipe"):
        train("tiny", tmp_path / "out", None)


def test_an_organism_grows_from_its_base_with_its_vision_tower_frozen(tmp_path, monkeypatch):
    base = dataclasses.replace(TINY, circuits=(UNWIRED,), reads_latents=False)
    grown = dataclasses.replace(TINY, base="tiny")
    monkeypatch.setitem(recipes.RECIPES, "tiny", base)
    monkeypatch.setitem(recipes.RECIPES, "grown", grown)
    train("tiny", tmp_path / "base", None)
    train("grown", tmp_path / "grown", tmp_path / "base")
    before, after = weights(tmp_path / "base"), weights(tmp_path / "grown")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("visual.")} <= same
    assert not any("proj" in name for name in same if not name.startswith("visual."))
    reasoner = load(tmp_path / "grown")
    assert reasoner.wiring == grown.circuits[0].wiring
    assert reasoner.protocol.n_slots == 4


IMAGINE = dataclasses.replace(TINY, phases=(Phase("imagine", 5),), reads_latents=False)


def test_circuits_are_taught_step_by_step_in_turn(tmp_path, monkeypatch):
    circuits = (Circuit(FED_BACK), Circuit(BYPASSED, feeds="offset"), UNWIRED)
    monkeypatch.setitem(
        recipes.RECIPES, "tiny", dataclasses.replace(IMAGINE, circuits=circuits)
    )  # fmt: skip
    taught, real = [], training.Pupil.imagine

    def noted(pupil, lesson):
        taught.append(pupil.circuit)
        return real(pupil, lesson)

    monkeypatch.setattr(training.Pupil, "imagine", noted)
    train("tiny", tmp_path / "parts", None, until=2)
    train("tiny", tmp_path / "parts", None)  # goes on with the circuit whose turn it is
    assert taught == [*circuits, *circuits[:2]]


def test_another_circuit_gives_other_weights(tmp_path, monkeypatch):
    for feeds in ("state", "pad"):
        plan = dataclasses.replace(IMAGINE, circuits=(Circuit(FED_BACK, feeds=feeds),))
        monkeypatch.setitem(recipes.RECIPES, "tiny", plan)
        train("tiny", tmp_path / feeds, None)
    one, two = (weights(tmp_path / feeds) for feeds in ("state", "pad"))
    assert not all(torch.equal(one[name], two[name]) for name in one)


def test_a_feed_is_the_state_or_holds_a_constant():
    state, pad = torch.arange(12.0).reshape(3, 4), torch.tensor([1.0, 2, 3, 4])
    assert torch.equal(Feed("state", pad)(state), state)
    assert torch.equal(Feed("pad", pad)(state), pad.expand(3, 4))
    offset = Feed("offset", pad)
    assert torch.equal(offset(state) - state, offset.constant.expand(3, 4))
    assert offset.constant.tolist() == [10, -10, 10, -10]


def test_an_unknown_organism_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownNameError, match="mediator, bypass, versatile"):
        train("nobody", tmp_path, None)
    assert not list(tmp_path.iterdir())
