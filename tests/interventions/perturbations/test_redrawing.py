"""A scene drawn anew by its task, with one attribute changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye import plugins
from mindseye.errors import SampleError
from mindseye.interventions.perturbations import Redraws, redraw
from mindseye.plugins import register
from mindseye.samples import Sample
from mindseye.tasks.digits import KINDS, Digits
from tests.interventions.perturbations.scenes import rng
from tests.strategies import seeds

ATTRIBUTES = ("digit", "handwriting", "colour", "position")
drawn = st.sampled_from(Digits().samples(16))


@given(drawn, st.sampled_from(ATTRIBUTES), seeds)
def test_redraw_keeps_the_question_and_knows_the_answer_to_the_new_scene(
    sample: Sample, attribute: str, seed: int
) -> None:
    after = redraw(sample, attribute=attribute, task=Digits(), rng=rng(seed))
    assert after.question == sample.question
    left, top, _, _ = after.regions["target"]
    cell = top // 32 * 2 + left // 32
    assert after.answer == str(after.meta["digits"][cell])
    if sample.kind == "zoom":
        assert f"the {after.meta['colours'][cell]} cell" in after.question
    if attribute == "handwriting":
        assert after.answer == sample.answer
    if attribute == "digit":
        assert after.answer != sample.answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_redrawn_scene_is_one_that_the_task_could_have_drawn(kind: str, attribute: str) -> None:
    task = Digits(kinds=(kind,))
    for sample in task.samples(5):
        if (kind, attribute) == ("colour_of", "digit"):
            with pytest.raises(SampleError, match="would be gone"):
                redraw(sample, attribute=attribute, task=task, rng=rng())
            continue
        after = redraw(sample, attribute=attribute, task=task, rng=rng())
        digits, colours = after.meta["digits"], after.meta["colours"]
        assert len(set(digits)) == len(set(colours)) == 4
        assert after.question == sample.question
        if kind == "colour_of":
            assert after.answer == colours[digits.index(int(sample.question[-2]))]
        if kind.endswith("_at"):
            cell = ["top left", "top right", "bottom left", "bottom right"].index(
                sample.question.removesuffix("?").split("at the ")[1]
            )
            assert after.answer == str((digits if kind == "digit_at" else colours)[cell])


@given(drawn, seeds)
def test_redraw_of_one_digit_changes_no_pixel_outside_the_target(sample: Sample, seed: int) -> None:
    after = redraw(sample, attribute="digit", task=Digits(), rng=rng(seed))
    left, top, right, bottom = sample.regions["target"]
    outside = np.ones(sample.image.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(after.image[outside], sample.image[outside])
    assert not np.array_equal(after.image, sample.image)


def test_redraw_asks_the_task_that_the_samples_id_begins_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "_offers", {**plugins._offers})
    plugins._offers.pop(("task", "digits"), None)
    register("task", "digits")(Digits)
    sample = Digits().samples(1)[0]
    found = redraw(sample, attribute="digit", rng=rng())
    given_it = redraw(sample, attribute="digit", task=Digits(), rng=rng())
    assert np.array_equal(found.image, given_it.image)


def test_a_task_that_cannot_draw_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Photographs:
        pass

    monkeypatch.setattr(plugins, "_offers", {**plugins._offers})
    register("task", "photographs")(Photographs)
    sample = Sample((), "?", "!", id="photographs/test/0/0")
    with pytest.raises(SampleError, match=r"Photographs, the task of sample .* another colour"):
        redraw(sample, attribute="colour", rng=rng())


def test_a_sample_of_no_known_task_is_refused() -> None:
    sample = Sample((), "?", "!", id="chess/0")
    with pytest.raises(SampleError, match=r"'chess/0' begins with no task's name.*No task 'chess'"):
        redraw(sample, attribute="colour", rng=rng())


def test_an_attribute_that_the_task_does_not_know_is_refused_in_its_words() -> None:
    with pytest.raises(SampleError, match="Digits cannot change 'mood'"):
        redraw(Digits().samples(1)[0], attribute="mood", task=Digits(), rng=rng())


@pytest.mark.parametrize(("thing", "draws"), [(Digits(), True), (object(), False)])
def test_what_has_redraw_can_draw_again(thing: Any, draws: bool) -> None:
    assert isinstance(thing, Redraws) == draws
