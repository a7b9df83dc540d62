"""A perturbation is held to what it declares, and asked for in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from mindseye import plugins
from mindseye.errors import EditError, UnknownNameError
from mindseye.interventions.perturbations import (
    Perturbation,
    find_perturbation,
    noise,
    perturbation,
)
from mindseye.interventions.perturbations.perturbing import Touched, changed_parts
from mindseye.plugins import find, register
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.interventions.perturbations.scenes import rng
from tests.strategies import samples

SCENE = Digits().samples(1)[0]
PARTS: dict[Touched, dict[str, Any]] = {
    "image": {"images": (np.zeros((64, 64, 3), np.uint8),)},
    "question": {"question": "Which digit was in the red cell?"},
    "options": {"options": ("1", "2")},
    "answer": {"answer": "another"},
    "regions": {"regions": {"target": (0, 0, 5, 5)}},
    "imagination": {"helper": np.zeros((2, 2, 3), np.uint8)},
}


@pytest.fixture(autouse=True)
def forget_offers() -> Iterator[None]:
    held = dict(plugins._offers)
    yield
    plugins._offers.clear()
    plugins._offers.update(held)


def made(change: Callable[..., Any], **declared: Any) -> Perturbation:
    def changed(sample, *, rng):
        """Change a sample."""
        return change(sample)

    return perturbation("made", **declared)(changed)


def test_a_decorated_function_is_found_by_its_name_and_does_what_it_did() -> None:
    @perturbation("fog")
    def fog(sample: Sample, *, strength: float = 0.5, rng: np.random.Generator) -> Sample:
        """Lay fog over the picture.

        Args:
            strength: How much of it, 0 to 1.
        """
        white = sample.image + (255 - sample.image) * strength
        return replace(sample, images=(white.astype(np.uint8),))

    assert find("perturbation", "fog") is fog
    assert fog.summary == "Lay fog over the picture."
    assert [(each.name, each.meaning) for each in fog.parameters] == [
        ("strength", "How much of it, 0 to 1.")
    ]
    assert (fog(SCENE, strength=1.0, rng=rng()).image == 255).all()


def test_running_a_definition_again_replaces_it() -> None:
    def define() -> Perturbation:
        @perturbation("fog")
        def fog(sample: Sample, *, rng: np.random.Generator) -> Sample:
            return sample

        return fog

    define()
    second = define()
    assert find("perturbation", "fog") is second


def test_the_name_of_another_perturbation_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match="perturbation 'noise' belongs to"):

        @perturbation("noise")
        def louder(sample: Sample, *, rng: np.random.Generator) -> Sample:
            return sample


@pytest.mark.parametrize("part", PARTS)
def test_touching_a_part_that_was_not_declared_is_refused(part: Touched) -> None:
    others = [each for each in PARTS if each != part]
    sly = made(lambda sample: replace(sample, **PARTS[part]), touches=others)
    with pytest.raises(EditError, match=rf"'made' changed the {part}, though it declares to touch"):
        sly(SCENE, rng=rng())


@pytest.mark.parametrize("part", PARTS)
def test_touching_a_part_that_was_declared_is_allowed(part: Touched) -> None:
    honest = made(lambda sample: replace(sample, **PARTS[part]), touches=(part,))
    assert changed_parts(SCENE, honest(SCENE, rng=rng())) == {part}


def test_all_parts_that_were_touched_are_named() -> None:
    sly = made(
        lambda sample: replace(sample, question="?", answer="!"), keeps_grid=False, touches=()
    )
    with pytest.raises(EditError, match=r"changed the answer and the question.*only nothing"):
        sly(SCENE, rng=rng())


@pytest.mark.parametrize(
    "images",
    [(), (SCENE.image[:32],), (SCENE.image, SCENE.image)],
    ids=["none", "smaller", "two"],
)
def test_another_grid_is_refused_unless_it_was_declared(images: Any) -> None:
    def change(sample: Sample) -> Sample:
        return replace(sample, images=images)

    with pytest.raises(EditError, match=r"declares that it keeps the grid, but 64x64 and 7 words"):
        made(change)(SCENE, rng=rng())
    assert made(change, keeps_grid=False)(SCENE, rng=rng()).images == images


def test_another_number_of_words_is_another_grid() -> None:
    shorter = made(lambda sample: replace(sample, question="Which?"), touches=("question",))
    with pytest.raises(EditError, match=r"64x64 and 7 words became 64x64 and 1 words"):
        shorter(SCENE, rng=rng())


def test_a_result_that_is_no_sample_is_refused() -> None:
    with pytest.raises(EditError, match=r"'made' returned a ndarray; expected a Sample"):
        made(lambda sample: sample.image)(SCENE, rng=rng())


@pytest.mark.parametrize(
    "image",
    [SCENE.image / 255, SCENE.image[..., 0], SCENE.image[:0]],
    ids=["floats", "grey", "empty"],
)
def test_an_image_of_the_wrong_shape_or_type_is_refused(image: Any) -> None:
    with pytest.raises(
        EditError, match=r"'made' made an image that cannot be used.*expected uint8"
    ):
        made(lambda sample: replace(sample, images=(image,)))(SCENE, rng=rng())


def test_the_original_cannot_be_written_on() -> None:
    before = SCENE.image.copy()

    def scribble(sample: Sample) -> Sample:
        sample.images[0][:] = 0  # type: ignore[index]
        return sample

    with pytest.raises(ValueError, match="read-only"):
        made(scribble)(SCENE, rng=rng())
    assert np.array_equal(SCENE.image, before)


def test_an_image_that_was_left_is_the_callers_own_again() -> None:
    after = made(lambda sample: replace(sample, answer="!"), touches=("answer",))(SCENE, rng=rng())
    assert after.images[0] is SCENE.images[0]


def test_a_function_without_a_generator_is_refused() -> None:
    with pytest.raises(EditError, match="'quiet' takes no rng; all chance comes from"):

        @perturbation("quiet")
        def quiet(sample: Sample) -> Sample:
            return sample


def test_a_parameter_by_place_is_refused() -> None:
    with pytest.raises(EditError, match="'placed' takes 'dose' by place"):

        @perturbation("placed")
        def placed(sample: Sample, dose: float = 1.0, *, rng: np.random.Generator) -> Sample:
            return sample


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_part_is_answered_with_the_known_ones() -> None:
    with pytest.raises(EditError, match=r"declares to touch 'picture'; the parts .* are image, "):
        perturbation("odd", touches=("picture",))  # type: ignore[arg-type]


def test_a_line_of_text_gives_a_perturbation_and_all_it_is_told() -> None:
    assert find_perturbation("noise:sigma=0.3") == (noise, {"sigma": 0.3})
    assert find_perturbation("noise") == (noise, {"sigma": 0.1})


def test_what_python_tells_wins_over_the_line() -> None:
    assert find_perturbation("noise:sigma=0.3", {"sigma": 0.5})[1] == {"sigma": 0.5}


def test_a_pool_goes_to_what_needs_one_and_to_nothing_else() -> None:
    pool, other = [SCENE], [SCENE, SCENE]
    assert find_perturbation("another_image", pool=pool)[1]["pool"] is pool
    assert find_perturbation("another_image", {"pool": other}, pool=pool)[1]["pool"] is other
    assert "pool" not in find_perturbation("noise", pool=pool)[1]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"No perturbation 'nois'; there are: .*noise"):
        find_perturbation("nois:sigma=1")


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ("noise:sgma=1", r"'noise' has no parameter 'sgma'.*Did you mean 'sigma'\?"),
        ("noise:sigma=much", "sigma='much'; expected a number. Standard deviation"),
        ("another_image", "'another_image' needs pool"),
        ("another_image:pool=all", "which only Python can give"),
    ],
)
def test_a_line_with_a_fault_is_refused(asked: str, wrong: str) -> None:
    with pytest.raises(EditError, match=wrong):
        find_perturbation(asked)


def test_a_plain_function_under_a_perturbations_name_is_refused() -> None:
    register("perturbation", "plain")(lambda sample: sample)
    with pytest.raises(EditError, match="'plain' is a function that declares nothing"):
        find_perturbation("plain")


@given(samples(n_images=2))
def test_a_sample_differs_from_itself_in_nothing_whatever_holds_its_images(sample: Sample) -> None:
    pillow = replace(sample, images=tuple(Image.fromarray(np.asarray(i)) for i in sample.images))
    assert changed_parts(sample, pillow) == frozenset()
