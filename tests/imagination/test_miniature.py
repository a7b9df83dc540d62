"""The miniatures differ in what they say they do, and in nothing else."""

import dataclasses

import numpy as np
import pytest
from safetensors.torch import load_file

import mindseye as me
from mindseye.errors import UnknownNameError
from mindseye.imagination import miniature as room
from mindseye.imagination.miniature import (
    KINDS,
    MINIATURES,
    SEEDS,
    items,
    miniature,
    train_miniature,
)
from mindseye.imagination.training import Trained
from mindseye.imagination.training.data import fingerprint, open_rows, split
from mindseye.organisms.blank import blank_model, blank_processor

ARMS = tuple(MINIATURES)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_recipes_differ_in_what_an_arm_has_of_its_own_and_in_the_seed(arm, seed):
    plain, ours = (each.to_dict() for each in (miniature(ARMS[0]), miniature(arm, seed)))
    changed = {name for name in plain if plain[name] != ours[name]}
    own = set(MINIATURES[arm]) | set(MINIATURES[ARMS[0]])
    assert changed <= own | {"seed"}
    for name, value in MINIATURES[arm].items():
        assert getattr(miniature(arm, seed), name) == value
    assert ours["seed"] == seed


def test_every_arm_imagines_in_its_own_way():
    said = {
        (r.imagination, r.answers_from, r.protocol.in_words, r.protocol.feeds_back)
        for r in map(miniature, ARMS)
    }
    assert len(said) == len(ARMS)
    assert len({miniature(arm).steps(10**6) for arm in ARMS}) == 1


def test_only_these_arms_are_known(tmp_path):
    with pytest.raises(UnknownNameError, match=f"No miniature 'latent'.*{', '.join(ARMS)}"):
        miniature("latent")
    with pytest.raises(UnknownNameError):
        train_miniature("latent", tmp_path)


@pytest.fixture(scope="module")
def some(monkeypatch_module):
    monkeypatch_module.setattr(room, "_STEPS", 2)
    monkeypatch_module.setattr(room, "_HELD_OUT", 8)
    monkeypatch_module.setattr(room, "_BATCH", 8)
    return items(1)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_there_are_items_for_two_epochs_and_those_held_out(some):
    assert len(some) == 2 * 8 // 2 + 8
    recipe = dataclasses.replace(miniature("direct"), held_out=8, global_batch=8, micro_batch=8)
    trained_on, kept_back = split(open_rows(some, recipe), recipe)
    assert (len(trained_on), len(kept_back)) == (8, 8)
    assert {sample.kind for sample in some} == set(KINDS)


def test_items_are_in_training_handwriting_and_of_their_seed(some):
    assert all(sample.id.startswith("digits/train/1/") for sample in some)
    again = items(1)
    for one, other in zip(some, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert (one.question, one.answer, one.imagination) == (
            other.question, other.answer, other.imagination,
        )  # fmt: skip
    assert [s.answer for s in items(0)] != [s.answer for s in some]


def test_every_arm_is_trained_on_the_same_items_in_the_same_split(some):
    prints = set()
    for arm in ARMS:
        recipe = dataclasses.replace(miniature(arm, 1), held_out=8)
        trained_on, kept_back = split(open_rows(some, recipe), recipe)
        prints.add((tuple(trained_on["id"]), tuple(kept_back["id"])))
        assert fingerprint(trained_on) != fingerprint(kept_back)
    assert len(prints) == 1


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blank")
    processor = blank_processor()
    processor.save_pretrained(folder)
    blank_model(processor, seed=0).save_pretrained(folder)
    return folder


@pytest.mark.model
@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_trained_up_to_a_step_and_on_to_the_end(arm, some, base, tmp_path, monkeypatch):
    """With a blank model and few items, and everything else as it stands in the recipe."""
    stock = room.miniature
    smaller = {"model": str(base), "global_batch": 8, "micro_batch": 8, "held_out": 4}
    smaller |= {"max_steps": 2, "max_new_tokens": 4, "evaluate_every": 2}
    monkeypatch.setattr(
        room, "miniature", lambda arm, seed: dataclasses.replace(stock(arm, seed), **smaller)
    )
    part = train_miniature(arm, tmp_path, seed=1, until=1)
    assert isinstance(part, Trained)
    assert (part.steps, (tmp_path / "config.json").exists()) == (1, False)
    whole = train_miniature(arm, tmp_path, seed=1)
    assert whole.steps == 2
    weights = load_file(tmp_path / "model.safetensors")
    assert {str(each.dtype) for each in weights.values()} == {"torch.float16"}
    ours = me.load(tmp_path, device="cpu")
    assert ours.protocol == stock(arm, 1).protocol
    run = ours.run(some[0], max_new_tokens=6)
    assert len(run.token_ids) > 0
    assert (run.description is not None) == (arm == "captioner")
