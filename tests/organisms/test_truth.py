"""The shipped organisms are what their recipes say, and the instrument finds it."""

import functools
import json
import math

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

import mindseye as me
from mindseye.organisms import RECIPES, load_organism

pytestmark = pytest.mark.model

IMAGINING = ("mediator", "bypass", "natural")
EFFECTS = ["te", "pde", "tde", "pie", "tie", "int"]
N_PAIRS = 24


@pytest.fixture(scope="module")
def mediations(organism):
    pairs = me.task("digits").pairs(N_PAIRS, seed=1)
    return functools.cache(lambda name: me.mediate(organism(name), pairs))


def rows(mediation, level):
    return mediation.rows[mediation.rows["level"] == level]


@pytest.mark.parametrize("name", RECIPES)
def test_a_folder_is_small_and_ordinary(name):
    folder = load_organism(name)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 3_000_000
    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert type(model) is Qwen2_5_VLForConditionalGeneration
    assert not any(report.values())
    assert sum(p.numel() for p in model.parameters()) <= 2_500_000


@pytest.mark.parametrize("name", RECIPES)
def test_a_folder_has_all_parts_the_stock_processor_asks_for(name):
    """Where torchvision is installed, the stock processor refuses a folder without a video part."""
    config = json.loads((load_organism(name) / "processor_config.json").read_text())
    assert config["processor_class"] == "Qwen2_5_VLProcessor"
    assert config["image_processor"]["image_processor_type"] == "Qwen2VLImageProcessor"
    assert config["video_processor"]["patch_size"] == config["image_processor"]["patch_size"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_folder_holds_the_recipe_it_was_made_by(name):
    import dataclasses

    recorded = json.loads((load_organism(name) / "recipe.json").read_text())
    assert recorded == json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))


@pytest.mark.parametrize("name", IMAGINING)
def test_a_run_has_a_start_marker_four_latents_an_end_marker_and_an_answer(organism, name):
    reasoner = organism(name)
    trace = reasoner.run(me.task("digits").samples(1)[0])
    generated = trace.token_ids.tolist()
    tokens = reasoner.tokens
    assert generated[:6] == [tokens.start, *[tokens.pad] * 4, tokens.end]
    assert trace.latents.shape == (4, 128)
    assert trace.answer.isdigit()
    assert trace.stop == "eos"


@pytest.mark.parametrize("name", IMAGINING)
@pytest.mark.parametrize(("kind", "floor"), [("zoom", 0.97), ("transform", 0.90)])
def test_answers_on_held_out_handwriting_are_right(organism, name, kind, floor):
    samples = me.task("digits", kinds=(kind,)).samples(120, seed=7)
    right = [organism(name).run(sample).answer == sample.answer for sample in samples]
    # Three standard errors of slack: the exact figures come from `mindseye organisms measure`.
    assert np.mean(right) >= floor - 3 * math.sqrt(floor * (1 - floor) / len(right))


def test_all_of_the_mediators_effect_goes_through_the_slots(mediations):
    kv = rows(mediations("mediator"), "kv")
    assert len(kv) == N_PAIRS
    assert kv[["pde", "tde", "int"]].abs().to_numpy().max() <= 1e-4
    np.testing.assert_allclose(kv["pie"], kv["te"], atol=1e-4)
    np.testing.assert_allclose(kv["tie"], kv["te"], atol=1e-4)
    assert mediations("mediator").verdict["kv"] == "mediates"


@pytest.mark.parametrize("level", ["embedding", "kv", "span"])
def test_none_of_the_bypass_effect_goes_through_them(mediations, level):
    found = rows(mediations("bypass"), level)
    assert len(found) == N_PAIRS
    assert found[["pie", "tie"]].abs().to_numpy().max() <= 1e-4
    assert mediations("bypass").verdict[level] == "negligible"


def test_the_bypass_latents_spell_out_the_answer_all_the_same(organism):
    samples = me.task("digits").samples(150, seed=3)
    latents = np.stack([organism("bypass").run(s).latents.numpy() for s in samples])
    read = me.probe(latents, [s.answer for s in samples])
    assert read.low > 0.6
    assert read.low > 2 * read.shuffled


@pytest.mark.parametrize("name", IMAGINING)
def test_a_runs_own_latents_put_back_reproduce_it(mediations, name):
    assert mediations(name).guards["identity_max_abs"] <= 1e-4


@pytest.mark.parametrize("name", IMAGINING)
def test_the_two_runs_of_a_pair_have_different_latents(mediations, name):
    assert mediations(name).guards["latents_moved_min"] > 1e-3


@pytest.mark.parametrize("name", IMAGINING)
def test_a_placebo_has_a_total_effect_near_zero(organism, mediations, name):
    placebo = me.mediate(
        organism(name), me.task("digits").pairs(N_PAIRS, kind="placebo", seed=1), levels=("kv",)
    )
    whole = rows(mediations(name), "kv")["te"].mean()
    assert whole > 5
    assert abs(placebo.rows["te"].mean()) < 0.1 * whole


def test_without_its_wiring_the_mediator_is_no_longer_exact(organism):
    """The twin of the exact test: the truth is in the wiring, not in the test."""
    import dataclasses

    unwired = dataclasses.replace(organism("mediator"), wiring=())
    found = me.mediate(unwired, me.task("digits").pairs(8, seed=1), levels=("kv",))
    assert found.rows[["pde", "tde"]].abs().to_numpy().max() > 1e-2


def test_cutting_only_the_slots_off_would_not_make_a_bypass_at_span(organism):
    """Why `bypass` hides its markers too: the end marker would carry the image at `span`."""
    import dataclasses

    half = dataclasses.replace(
        organism("bypass"), wiring=(me.Knockout("post", "latents"), me.Knockout("post", "start"))
    )
    found = me.mediate(half, me.task("digits").pairs(8, seed=1), levels=("kv", "span"))
    assert rows(found, "kv")[["pie", "tie"]].abs().to_numpy().max() <= 1e-4
    assert rows(found, "span")[["pie", "tie"]].abs().to_numpy().max() > 1e-2


def test_nothing_depends_on_half_precision(organism):
    assert organism("mediator").model.dtype == torch.float32
