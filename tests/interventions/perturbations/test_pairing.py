"""Pairs of samples and their perturbed selves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mindseye import plugins
from mindseye.errors import EditError, SampleError, UnknownNameError
from mindseye.interventions.perturbations import jpeg, noise, perturbation, perturbed_pairs
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.interventions.perturbations.scenes import lettered, rng

SCENES = Digits().samples(8)
ZOOM = Digits(kinds=("zoom",)).samples(24)


def test_the_sample_is_the_clean_side_and_the_perturbed_one_the_reference() -> None:
    pairs = perturbed_pairs(SCENES, "noise:sigma=0.2", rng=rng())
    assert [pair.clean for pair in pairs] == SCENES
    for sample, pair in zip(SCENES, pairs, strict=True):
        assert pair.id == pair.reference.id == f"{sample.id}/noise"
        assert not np.array_equal(pair.reference.image, sample.image)
        assert pair.reference.question == sample.question


def test_ids_are_unique_also_of_samples_without_one() -> None:
    nameless = [replace(sample, id="") for sample in SCENES]
    assert len({pair.id for pair in perturbed_pairs(nameless, "grey", rng=rng())}) == len(SCENES)


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ("jpeg", "placebo"),
        ("crop_jitter", "placebo"),
        ("noise", "noise"),
        ("mask_target", "mask_target"),
        ("another_image", "another_image"),
        ("another_image:donors=other_answer", "minimal"),
    ],
)
def test_the_kind_says_what_became_of_the_answer(asked: str, kind: str) -> None:
    pool = ZOOM
    pairs = perturbed_pairs(ZOOM, asked, rng=rng(), **({"pool": pool} if "image" in asked else {}))
    assert {pair.kind for pair in pairs if pair.kind != "minimal"} | {kind} == {kind}
    for pair in pairs:
        assert (pair.kind == "minimal") == (pair.clean.answer != pair.reference.answer)
        assert (pair.foil is None) == (pair.kind == "minimal")
        assert pair.answers[0] == pair.clean.answer != pair.answers[1]
    if kind == "minimal":
        assert {pair.kind for pair in pairs} == {"minimal"}


def test_a_renumbered_answer_makes_a_minimal_pair() -> None:
    (pair,) = perturbed_pairs([lettered()], "permute_options", rng=rng())
    assert pair.kind == "minimal"
    assert pair.answers == ("C", pair.reference.answer)


def test_a_redrawn_scene_makes_a_minimal_pair_where_the_answer_changes() -> None:
    scenes = Digits().samples(12)
    pairs = perturbed_pairs(scenes, "redraw:attribute=digit", rng=rng(), task=Digits())
    assert {pair.kind for pair in pairs} == {"minimal"}


def test_the_samples_themselves_are_the_pool_if_none_is_given() -> None:
    given = perturbed_pairs(SCENES, "another_image", rng=rng(), pool=SCENES)
    own = perturbed_pairs(SCENES, "another_image", rng=rng())
    for a, b in zip(given, own, strict=True):
        assert np.array_equal(a.reference.image, b.reference.image)


def test_a_perturbation_itself_does_as_well_as_its_name() -> None:
    by_name = perturbed_pairs(SCENES, "noise:sigma=0.2", rng=rng())
    by_hand = perturbed_pairs(SCENES, noise, rng=rng(), sigma=0.2)
    for a, b in zip(by_name, by_hand, strict=True):
        assert np.array_equal(a.reference.image, b.reference.image)
        assert a.foil == b.foil


def test_what_python_tells_wins_over_the_text() -> None:
    (pair, *_) = perturbed_pairs(SCENES, "noise:sigma=0.9", rng=rng(), sigma=0.0)
    assert np.array_equal(pair.reference.image, pair.clean.image)


def test_a_pair_does_not_depend_on_how_many_come_after_it() -> None:
    few, many = (perturbed_pairs(SCENES[:n], "crop_jitter", rng=rng(3), foil="x") for n in (3, 8))
    for a, b in zip(few, many, strict=False):
        assert np.array_equal(a.reference.image, b.reference.image)
        assert a.id == b.id


def test_giving_foils_leaves_the_pictures_as_they_are() -> None:
    drawn = perturbed_pairs(SCENES, "noise", rng=rng())
    given = perturbed_pairs(SCENES, "noise", rng=rng(), foil=["x"] * len(SCENES))
    for a, b in zip(drawn, given, strict=True):
        assert np.array_equal(a.reference.image, b.reference.image)
    assert {pair.foil for pair in given} == {"x"}


def test_two_samples_of_one_picture_get_different_noise() -> None:
    one, two = perturbed_pairs([SCENES[0], SCENES[0]], "noise", rng=rng(), foil="x")
    assert not np.array_equal(one.reference.image, two.reference.image)


def test_a_foil_is_another_option_where_there_are_options() -> None:
    sample = lettered()
    foils = {perturbed_pairs([sample], "jpeg", rng=rng(seed))[0].foil for seed in range(40)}
    assert foils == {"A", "B", "D"}
    worded = replace(sample, answer="dog")
    foils = {perturbed_pairs([worded], "jpeg", rng=rng(seed))[0].foil for seed in range(40)}
    assert foils == {"cat", "grey mouse", "cow"}


def test_a_foil_is_another_samples_answer_to_the_same_kind_of_question() -> None:
    mixed = [
        *Digits(kinds=("colour_of",)).samples(20),
        *Digits(kinds=("digit_at",)).samples(20),
    ]
    for pair in perturbed_pairs(mixed, "jpeg", rng=rng()):
        assert pair.foil is not None
        assert pair.foil != pair.clean.answer
        assert pair.foil.isdigit() == pair.clean.answer.isdigit()


def test_a_foil_of_another_kind_will_do_where_there_is_none_of_the_same() -> None:
    one = replace(SCENES[0], kind="lonely", answer="never")
    pair = perturbed_pairs([one, *SCENES[1:]], "jpeg", rng=rng())[0]
    assert pair.foil in {sample.answer for sample in SCENES[1:]}


def test_a_sample_without_a_foil_is_refused() -> None:
    with pytest.raises(SampleError, match=r"has no options, and no other sample .* Pass foil="):
        perturbed_pairs(SCENES[:1], jpeg, rng=rng())


def test_a_given_foil_that_is_the_answer_is_refused() -> None:
    with pytest.raises(SampleError, match="on both sides and no other foil"):
        perturbed_pairs(SCENES[:1], jpeg, rng=rng(), foil=SCENES[0].answer)


def test_foils_that_are_not_as_many_as_samples_are_refused() -> None:
    with pytest.raises(SampleError, match="There are 2 foils for 8 samples"):
        perturbed_pairs(SCENES, jpeg, rng=rng(), foil=["1", "2"])


@pytest.mark.parametrize("asked", ["smaller", "drop_image"])
def test_what_changes_the_size_of_images_makes_no_pair(asked: str) -> None:
    with pytest.raises(EditError, match=rf"'{asked}' made images of .* from \[\(64, 64, 3\)\]"):
        perturbed_pairs(SCENES, asked, rng=rng())


@pytest.mark.parametrize("asked", ["another_question", "paraphrase"])
def test_what_changes_words_only_makes_pairs(asked: str) -> None:
    worded = [replace(sample, meta={"paraphrases": ["What is it?"]}) for sample in SCENES]
    pairs = perturbed_pairs(worded, asked, rng=rng())
    assert all(pair.reference.question != pair.clean.question for pair in pairs)


def test_no_samples_make_no_pairs() -> None:
    assert perturbed_pairs([], "noise", rng=rng()) == []


@pytest.mark.parametrize(
    ("asked", "fault"), [("fgo", UnknownNameError), ("noise:dose=1", EditError)]
)
def test_a_fault_is_found_also_without_samples(asked: str, fault: Any) -> None:
    with pytest.raises(fault):
        perturbed_pairs([], asked, rng=rng())


def test_somebody_elses_perturbation_makes_pairs_like_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "_offers", {**plugins._offers})

    @perturbation("mirror", changes_answer="no", touches=("image", "regions"))
    def mirror(sample: Sample, *, rng: np.random.Generator) -> Sample:
        return replace(sample, images=(sample.image[:, ::-1].copy(),), regions={})

    pairs = perturbed_pairs(SCENES, "mirror", rng=rng())
    assert {pair.kind for pair in pairs} == {"placebo"}
    assert np.array_equal(pairs[0].reference.image, SCENES[0].image[:, ::-1])
