"""The shipped weights are what their recipes say, and make every organism answer well."""

import dataclasses
import functools
import json
import math

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

import mindseye as me
from mindseye.errors import ModelError, UnknownNameError
from mindseye.organisms import DESIGNS, RECIPES, open_organism, weights_of

pytestmark = pytest.mark.model

IN_WORDS_OR_NOT_AT_ALL = ("base", "direct", "capimagine", "captioner")
IMAGINING = tuple(name for name in DESIGNS if name not in IN_WORDS_OR_NOT_AT_ALL)
TRAINED_FOR = ("mediator", "bypass", "natural")
"""Organisms with weights of their own."""

N_PAIRS = 16


@pytest.fixture(scope="module")
def mediations(organism):
    pairs = me.task("digits").pairs(N_PAIRS, seed=1)
    return functools.cache(lambda name: me.mediate(organism(name), pairs))


def rows(mediation, level):
    return mediation.rows[mediation.rows["level"] == level]


@pytest.mark.parametrize("name", RECIPES)
def test_a_folder_is_small_and_ordinary(name):
    folder = weights_of(name)
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
    config = json.loads((weights_of(name) / "processor_config.json").read_text())
    assert config["processor_class"] == "Qwen2_5_VLProcessor"
    assert config["image_processor"]["image_processor_type"] == "Qwen2VLImageProcessor"
    assert config["video_processor"]["patch_size"] == config["image_processor"]["patch_size"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_folder_holds_the_recipe_it_was_made_by(name):
    recorded = json.loads((weights_of(name) / "recipe.json").read_text())
    assert recorded == json.loads(json.dumps(dataclasses.asdict(RECIPES[name])))


@pytest.mark.parametrize("name", RECIPES)
def test_a_folder_by_itself_is_wired_as_its_recipe_was_at_first(name):
    loaded = me.load(weights_of(name), protocol="mirage" if name == "base" else None)
    assert loaded.wiring == RECIPES[name].circuits[0].wiring
    assert loaded.blend is None


def test_every_design_runs_on_shipped_weights_that_were_taught_its_circuit():
    """The constant one excepted, which answers from what bypasses it."""
    made_here = {name: plan for name, plan in DESIGNS.items() if plan.weights in RECIPES}
    for name, plan in made_here.items():
        taught = RECIPES[plan.weights].circuits
        if plan.weights == "bypass":
            assert set(taught[0].wiring) <= set(plan.circuit.wiring)
        else:
            assert plan.circuit in taught, name
    assert {plan.weights for plan in made_here.values()} == set(RECIPES)


def test_an_organism_is_its_weights_with_its_parts_connected(organism):
    folder, finish = open_organism("relay")
    assert folder == weights_of("versatile")
    plain = me.load(folder)
    connected = finish(plain)
    assert connected.wiring == DESIGNS["relay"].circuit.wiring != plain.wiring
    assert connected.protocol.map == "feed"
    assert connected.model is plain.model
    assert organism("relay").wiring == connected.wiring
    assert organism("relay").name == "organism:relay"


@pytest.mark.parametrize("name", IMAGINING)
def test_what_a_design_connects_is_in_the_loaded_organism(organism, name):
    ours, plan = organism(name), DESIGNS[name]
    assert ours.wiring == plan.circuit.wiring
    assert (ours.blend is None) == (plan.blend is None)
    assert (ours.protocol.map is None) == (plan.circuit.feeds == "state")


def test_what_is_fed_is_the_state_the_state_with_a_constant_or_the_constant(organism):
    sample = me.task("digits").samples(1)[0]
    runs = {name: organism(name).run(sample) for name in ("feedback", "anisotropic", "relay")}
    assert torch.equal(runs["feedback"].latents, runs["feedback"].fed_latents)
    offset = runs["anisotropic"].fed_latents - runs["anisotropic"].latents
    assert (offset.abs() - 10).abs().max() < 1e-4
    ours = organism("relay")
    pad = ours.embed(torch.tensor(ours.tokens.pad)).detach()
    assert torch.equal(runs["relay"].fed_latents, pad.expand(4, -1))
    assert runs["relay"].latents.std(dim=0).max() > 1e-3


def test_what_there_is_not_is_refused_with_what_there_is(monkeypatch, tmp_path):
    with pytest.raises(UnknownNameError, match="mediator, feedback, bypass"):
        open_organism("unicorn")
    with pytest.raises(UnknownNameError, match="base, mediator, bypass, versatile, nat"):
        weights_of("feedback")
    monkeypatch.setattr("mindseye.organisms.__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ModelError, match="mindseye organisms train versatile --out"):
        open_organism("feedback")


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


FLOORS = {"zoom": 0.97, "transform": 0.90}


@pytest.mark.parametrize("name", TRAINED_FOR)
@pytest.mark.parametrize("kind", FLOORS)
def test_answers_on_held_out_handwriting_are_right(organism, name, kind):
    assert_right(organism(name), kind, FLOORS[kind], n=120)


@pytest.mark.parametrize("name", sorted(set(IMAGINING) - set(TRAINED_FOR)))
def test_organisms_on_shared_weights_answer_well_too(organism, name):
    """A second route never changes what is said, so a few circuits stand for all of them."""
    assert_right(organism(name), "zoom", 0.85, n=30)


def assert_right(reasoner, kind, floor, n):
    samples = me.task("digits", kinds=(kind,)).samples(n, seed=7)
    right = [
        run.answer == run.sample.answer
        for place in range(0, n, 30)
        for run in reasoner.run_batch(samples[place : place + 30])
    ]
    # Three standard errors of slack: the exact figures come from `mindseye organisms measure`.
    assert np.mean(right) >= floor - 3 * math.sqrt(floor * (1 - floor) / len(right))


def test_all_of_the_mediators_effect_goes_through_the_slots(mediations):
    kv = rows(mediations("mediator"), "kv")
    assert len(kv) == N_PAIRS
    assert kv[["pde", "tde", "int"]].abs().to_numpy().max() <= 1e-4
    np.testing.assert_allclose(kv["pie"], kv["te"], atol=1e-4)
    np.testing.assert_allclose(kv["tie"], kv["te"], atol=1e-4)
    assert mediations("mediator").verdict == "mediates"


@pytest.mark.parametrize("level", ["embedding", "kv", "span"])
def test_none_of_the_bypass_effect_goes_through_them(mediations, level):
    found = rows(mediations("bypass"), level)
    assert len(found) == N_PAIRS
    assert found[["pie", "tie"]].abs().to_numpy().max() <= 1e-4
    assert mediations("bypass").verdicts[level].word == "negligible"
    assert mediations("bypass").verdict == "negligible"


def test_the_bypass_latents_spell_out_the_answer_all_the_same(organism):
    samples = me.task("digits").samples(150, seed=3)
    latents = np.stack([run.latents.numpy() for run in organism("bypass").run_batch(samples)])
    read = me.probe(latents, [s.answer for s in samples])
    assert read.low > 0.6
    assert read.low > 2 * read.shuffled


@pytest.mark.parametrize("name", TRAINED_FOR)
def test_guards_hold(mediations, name):
    guards = mediations(name).guards
    assert guards["identity_max_abs"] <= 1e-4
    assert guards["edits_missed_max_abs"] == guards["not_a_number"] == 0
    assert guards["latents_moved_min"] > 1e-3
    assert guards["pins_fired_min"] > 1e-3


@pytest.mark.parametrize("name", TRAINED_FOR)
def test_a_placebo_has_a_total_effect_near_zero(organism, mediations, name):
    pairs = me.task("digits").pairs(N_PAIRS, kind="placebo", seed=1)
    placebo = me.mediate(organism(name), pairs, levels=("kv",), pins={})
    whole = rows(mediations(name), "kv")["te"].mean()
    assert whole > 5
    assert abs(placebo.rows["te"].mean()) < 0.1 * whole


def test_without_its_wiring_the_mediator_is_no_longer_exact(organism):
    """The twin of the exact test: the truth is in the wiring, not in the test."""
    unwired = dataclasses.replace(organism("mediator"), wiring=())
    found = me.mediate(unwired, me.task("digits").pairs(8, seed=1), levels=("kv",), pins={})
    assert found.rows[["pde", "tde"]].abs().to_numpy().max() > 1e-2


def test_cutting_only_the_slots_off_would_not_make_a_bypass_at_span(organism):
    """Why `bypass` hides its markers too: the end marker would carry the image at `span`."""
    half = dataclasses.replace(
        organism("bypass"), wiring=(me.Knockout("post", "latents"), me.Knockout("post", "start"))
    )
    pairs = me.task("digits").pairs(8, seed=1)
    found = me.mediate(half, pairs, levels=("kv", "span"), pins={})
    assert rows(found, "kv")[["pie", "tie"]].abs().to_numpy().max() <= 1e-4
    assert rows(found, "span")[["pie", "tie"]].abs().to_numpy().max() > 1e-2


def test_nothing_depends_on_half_precision(organism):
    assert organism("mediator").model.dtype == torch.float32
