"""The organisms that differ in how they imagine: shipped weights, and what was measured on them."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

import mindseye as me
from mindseye.engine.words import runs_saying
from mindseye.imagination.miniature import KINDS, MINIATURES, miniature
from mindseye.organisms import DESIGNS, weights_of
from mindseye.reasoners import LatentProtocol

pytestmark = pytest.mark.model

TRAININGS = [name for arm in MINIATURES for name in DESIGNS[arm].trainings]


def arm_and_seed(name):
    arm, _, seed = name.partition("-")
    return arm, int(seed or 0)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_folder_holds_the_recipe_that_it_is_made_by(name):
    recorded = json.loads((weights_of(name) / "recipe.json").read_text())
    assert recorded == json.loads(json.dumps(miniature(*arm_and_seed(name)).to_dict()))


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_imagines_in_its_own_way(organism, name):
    ours, arm = organism(name), arm_and_seed(name)[0]
    runs = ours.run_batch(me.task("digits", kinds=KINDS).samples(4))
    assert all(run.parsed and run.answer.isdigit() for run in runs)
    assert all(run.emitted for run in runs) == (arm != "direct")
    assert ours.protocol == miniature(arm).protocol
    assert isinstance(ours.protocol, LatentProtocol)
    if arm == "natural":
        assert {run.latents.shape for run in runs} == {(4, 128)}


@pytest.mark.parametrize("name", ["capimagine", "captioner"])
@pytest.mark.parametrize(("kind", "floor"), [("zoom", 0.97), ("transform", 0.97), ("sort", 0.93)])
def test_answers_in_words_are_right_on_held_out_handwriting(organism, name, kind, floor):
    samples = me.task("digits", kinds=(kind,)).samples(120, seed=7)
    right = [run.answer == run.sample.answer for run in organism(name).run_batch(samples)]
    # Three standard errors of slack: the exact figures come from `mindseye organisms measure`.
    assert np.mean(right) >= floor - 3 * math.sqrt(floor * (1 - floor) / len(right))


def follows(reasoner, kind, n=24):
    """Return how often the answer is what the other picture's words end with, where they differ."""
    followed = []
    for pair in me.task("digits", kinds=(kind,)).pairs(n, seed=7):
        own, other = (reasoner.run(sample) for sample in (pair.clean, pair.reference))
        (told,) = runs_saying(own, other.words)
        if own.answer != other.answer:
            followed.append(told.answer == other.answer)
    return np.mean(followed)


def test_where_words_and_picture_disagree_the_answer_follows_words_that_were_needed(organism):
    assert follows(organism("capimagine"), "sort") > 0.9


def test_words_that_were_not_needed_are_not_read(organism):
    assert follows(organism("capimagine"), "zoom") < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_all_that_a_captioner_answers_from(organism, kind):
    pairs = me.task("digits", kinds=(kind,)).pairs(4, seed=7)
    rows = me.mediate(organism("captioner"), pairs, levels=("words",), pins={}).rows
    assert len(rows) == len(pairs)
    assert (rows[["pde", "tde", "int"]] == 0).all(axis=None)
    assert rows["tie"].tolist() == rows["pie"].tolist() == rows["te"].tolist()
    assert (rows["te"] > 1).all()


def test_a_fresh_process_loads_words_and_answers():
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import mindseye as me; run = me.load('organism:capimagine').run("
            "me.task('digits').samples(1)[0]); print(run.reasoner.read(run.words), run.answer)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split("\n")[-2].endswith("It shows a 8. 8")
