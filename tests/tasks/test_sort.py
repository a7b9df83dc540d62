"""The kind that takes several steps: which digit is the second largest."""

import numpy as np
import pytest

from mindseye.errors import SampleError
from mindseye.tasks.digits import CELL, KINDS, Digits

WORLD = Digits(kinds=("sort",))


def digits(sample):
    return list(sample.meta["digits"])


def cells(image):
    """Return the four cells of a scene in reading order."""
    return [image[y : y + CELL, x : x + CELL] for y in (0, CELL) for x in (0, CELL)]


def test_the_answer_is_the_second_largest_digit_and_the_words_sort_them():
    for sample in WORLD.samples(60):
        order = sorted(digits(sample))
        assert sample.answer == str(order[2])
        assert sample.imagination == (
            f"From small to large I see {', '.join(map(str, order))}. "
            f"The second largest is {order[2]}."
        )


def test_the_helper_shows_the_cells_in_order_and_the_target_is_the_answers():
    for sample in WORLD.samples(20):
        scene = cells(sample.images[0])
        order = np.argsort(digits(sample))
        assert np.array_equal(sample.helper, np.hstack([scene[cell] for cell in order]))
        left, top, right, bottom = sample.regions["target"]
        assert np.array_equal(sample.images[0][top:bottom, left:right], scene[order[2]])


def test_minimal_pairs_change_the_answer():
    for pair in WORLD.pairs(60):
        assert pair.clean.answer != pair.reference.answer
        for side in (pair.clean, pair.reference):
            assert side.answer == str(sorted(digits(side))[2])


def test_placebo_pairs_keep_it_though_a_digit_changes():
    pairs = WORLD.pairs(60, kind="placebo")
    for pair in pairs:
        assert pair.clean.answer == pair.reference.answer != pair.foil
        assert int(pair.foil) not in digits(pair.clean) + digits(pair.reference)
    changed = [digits(pair.clean) != digits(pair.reference) for pair in pairs]
    assert changed == [False, True] * 30


def test_scenes_are_drawn_again_with_an_answer_that_fits():
    for sample in WORLD.samples(20):
        for attribute in ("digit", "handwriting", "colour", "position"):
            again = WORLD.redraw(sample, attribute, rng=np.random.default_rng(1))
            assert again.answer == str(sorted(digits(again))[2])
            left, top, *_ = again.regions["target"]
            cell = 2 * (top // CELL) + left // CELL
            assert str(digits(again)[cell]) == again.answer


def said(words):
    """Return the digits that words name, and the one they end with."""
    *listed, last = [int(char) for char in words if char.isdigit()]
    return listed, last


def test_words_are_said_otherwise():
    for seed, sample in enumerate(WORLD.samples(40)):
        rng = np.random.default_rng(seed)
        words = WORLD.reword(sample, "paraphrase", rng=rng)
        assert words != sample.imagination
        assert sorted(words) == sorted(sample.imagination)
        listed, last = said(WORLD.reword(sample, "attribute", rng=rng))
        assert str(last) == sample.answer
        assert sorted(listed) == listed != sorted(digits(sample))
        listed, last = said(WORLD.reword(sample, "contradiction", rng=rng))
        assert listed == sorted(listed)
        assert sample.answer != str(last) == str(listed[2])


def test_other_kinds_are_drawn_as_they_were_before_there_was_this_one():
    """Shipped weights and every published figure hang on it."""
    assert "sort" not in KINDS
    first = Digits().samples(3)
    assert [sample.answer for sample in first] == ["8", "7", "5"]
    assert first[0].question == "Which digit is in the red cell?"


def test_a_scene_of_one_cell_has_nothing_to_sort():
    with pytest.raises(SampleError, match="size=1 offers zoom, colour_of"):
        Digits(size=1, kinds=("sort",))
