"""The digits world. Every answer is derived again here, from pixels and words."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import SampleError
from mindseye.samples import Pair, Sample
from mindseye.tasks.digits import CELL, COLOURS, KINDS, Digits
from tests import strategies

ROWS = {2: ["top", "bottom"]}
COLUMNS = {2: ["left", "right"]}

# Where the cell that ends up at (row, column) comes from, in a grid of n by n.
ORIGINS = {
    "Turn the picture a quarter clockwise.": lambda row, column, n: (n - 1 - column, row),
    "Turn the picture a quarter anticlockwise.": lambda row, column, n: (column, n - 1 - row),
    "Turn the picture upside down.": lambda row, column, n: (n - 1 - row, n - 1 - column),
    "Mirror the picture left to right.": lambda row, column, n: (row, n - 1 - column),
    "Mirror the picture top to bottom.": lambda row, column, n: (n - 1 - row, column),
}


def flat(sample: Sample) -> dict[str, object]:
    """A sample as values that compare with `==`."""
    fields = {field.name: getattr(sample, field.name) for field in dataclasses.fields(sample)}
    images = tuple(image.tobytes() for image in sample.images)
    return fields | {"images": images, "helper": sample.helper.tobytes()}


def cells(image: np.ndarray) -> np.ndarray:
    """Cut an image into its cells: (row, column, height, width, rgb)."""
    n = len(image) // CELL
    return image.reshape(n, CELL, n, CELL, 3).swapaxes(1, 2)


def changed_cells(pair: Pair) -> list[int]:
    """Which cells, in reading order, differ in any pixel."""
    differs = (cells(pair.clean.image) != cells(pair.reference.image)).any(axis=(2, 3, 4))
    return np.flatnonzero(differs).tolist()


def target_cell(sample: Sample) -> int:
    left, top, right, bottom = sample.regions["target"]
    assert (right - left, bottom - top) == (CELL, CELL)
    return top // CELL * (len(sample.image) // CELL) + left // CELL


def colour_seen(cell: np.ndarray) -> str:
    """The name of a cell's colour, read off its corner."""
    return {rgb: name for name, rgb in COLOURS.items()}[tuple(int(c) for c in cell[0, 0])]


def handwriting_seen(cell: np.ndarray) -> int:
    """The scikit-learn image a cell shows: the nearest to its ink, shrunk back to 8 by 8."""
    ground = cell[0, 0].astype(float)
    opacity = ((cell - ground) / (255 - ground)).mean(axis=2)[4:28, 4:28]
    shrunk = opacity.reshape(8, 3, 8, 3).mean(axis=(1, 3))
    return int(np.square(known_images() - shrunk).sum(axis=(1, 2)).argmin())


@functools.cache
def known_images() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().images / 16


@functools.cache
def known_labels() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().target


def seen(sample: Sample) -> list[tuple[str, str]]:
    """Colour and digit of each cell, in reading order, from pixels alone."""
    flattened = cells(sample.image).reshape(-1, CELL, CELL, 3)
    return [(colour_seen(c), str(known_labels()[handwriting_seen(c)])) for c in flattened]


def place_named(text: str, n: int) -> tuple[int, int]:
    row, column = text.split()
    return ROWS[n].index(row), COLUMNS[n].index(column)


def cell_asked_for(sample: Sample) -> int:
    """Work out the cell a question is about, from its words and the picture."""
    n = len(sample.image) // CELL
    asked, last = sample.question.removesuffix("?"), sample.question.removesuffix("?").split()[-1]
    match sample.kind:
        case "zoom":
            colour = asked.split()[-2]
            return [c for c, _ in seen(sample)].index(colour)
        case "colour_of":
            return [d for _, d in seen(sample)].index(last)
        case "transform":
            sentence = asked[: asked.index(".") + 1]
            row, column = ORIGINS[sentence](*place_named(asked.split(" at the ")[1], n), n)
        case _:
            row, column = place_named(asked.split(" at the ")[1], n)
    return row * n + column


def turned(image: np.ndarray, question: str) -> np.ndarray:
    """Move an image pixel by pixel, by the first sentence of a question."""
    n, origin = len(image), ORIGINS[question[: question.index(".") + 1]]
    moved = np.empty_like(image)
    for row in range(n):
        for column in range(n):
            moved[row, column] = image[origin(row, column, n)]
    return moved


# Drawing


@given(strategies.digits_worlds(), st.sampled_from(["train", "test"]), st.integers(0, 9999))
def test_equal_arguments_give_equal_samples(world: Digits, split: str, seed: int) -> None:
    again = Digits(world.size, world.kinds)
    first, second = (w.samples(3, split=split, seed=seed) for w in (world, again))
    assert [flat(s) for s in first] == [flat(s) for s in second]


@given(st.integers(0, 9999))
def test_another_seed_gives_other_pictures(seed: int) -> None:
    first, second = (Digits().samples(3, seed=s) for s in (seed, seed + 1))
    assert [flat(s)["images"] for s in first] != [flat(s)["images"] for s in second]


def test_the_two_splits_of_a_seed_show_other_scenes() -> None:
    first, second = (Digits().samples(10, split=split) for split in ("train", "test"))
    assert [s.meta["digits"] for s in first] != [s.meta["digits"] for s in second]


@given(st.integers(0, 8), st.integers(0, 9999))
def test_a_sample_does_not_depend_on_how_many_follow(n: int, seed: int) -> None:
    few, many = (Digits().samples(count, seed=seed) for count in (n, 8))
    assert [flat(s) for s in few] == [flat(s) for s in many[:n]]


@pytest.mark.parametrize("kind", ["minimal", "placebo"])
def test_a_pair_does_not_depend_on_how_many_follow(kind: str) -> None:
    few, many = (Digits().pairs(count, kind=kind) for count in (3, 8))
    assert [flat(p.reference) for p in few] == [flat(p.reference) for p in many[:3]]


@pytest.mark.parametrize("kind", ["minimal", "placebo"])
def test_the_clean_side_of_a_pair_is_the_sample_of_its_number(kind: str) -> None:
    pairs, samples = Digits().pairs(6, kind=kind), Digits().samples(6)
    assert [flat(p.clean) for p in pairs] == [flat(s) for s in samples]


def test_ids_are_unique_within_split_and_seed() -> None:
    drawn = [
        sample.id
        for split in ("train", "test")
        for seed in (0, 1)
        for sample in Digits().samples(10, split=split, seed=seed)
    ]
    assert len(set(drawn)) == 40


def test_both_sides_of_a_pair_have_ids_of_their_own() -> None:
    drawn = [p for kind in ("minimal", "placebo") for p in Digits().pairs(5, kind=kind)]
    references = {p.reference.id for p in drawn}
    assert len(references) == 10
    assert not references & {p.clean.id for p in drawn}


def test_the_kinds_asked_for_come_about_evenly() -> None:
    kinds = [sample.kind for sample in Digits(kinds=KINDS).samples(500)]
    counts = [kinds.count(kind) for kind in KINDS]
    assert min(counts) > 60  # 100 expected, with a standard deviation of 9


@functools.cache
def handwriting_of(split: str, seed: int) -> frozenset[int]:
    drawn = Digits(kinds=("digit_at",)).samples(270, split=split, seed=seed)
    shown = (c for s in drawn for c in cells(s.image).reshape(-1, CELL, CELL, 3))
    return frozenset(handwriting_seen(c) for c in shown)


def test_no_handwriting_is_in_both_splits() -> None:
    assert not handwriting_of("train", 0) & handwriting_of("test", 0)


def test_handwriting_seen_again_in_its_own_split_would_be_noticed() -> None:
    assert handwriting_of("test", 0) & handwriting_of("test", 1)


def test_the_test_split_is_never_distorted() -> None:
    plain, distorted = (Digits(distortions=d).samples(5) for d in (0, 2))
    assert [flat(s) for s in plain] == [flat(s) for s in distorted]


def test_distortions_add_handwriting_to_the_train_split() -> None:
    plain, distorted = (Digits(distortions=d).samples(20, split="train") for d in (0, 2))
    assert [flat(s)["images"] for s in plain] != [flat(s)["images"] for s in distorted]


# Scenes and answers


@pytest.mark.parametrize("size", [1, 2])
def test_a_picture_has_a_cell_per_digit(size: int) -> None:
    (sample,) = Digits(size, kinds=("colour_of",)).samples(1)
    assert sample.image.shape == (size * CELL, size * CELL, 3)
    assert len(sample.meta["digits"]) == len(sample.meta["colours"]) == size**2


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_picture_shows_what_its_meta_says(size: int, split: str) -> None:
    for sample in Digits(size, kinds=("colour_of",)).samples(10, split=split):
        said = zip(sample.meta["colours"], map(str, sample.meta["digits"]), strict=True)
        assert seen(sample) == list(said)


def test_no_digit_stands_twice_in_a_scene() -> None:
    for sample in Digits().samples(50):
        assert len(set(sample.meta["digits"])) == 4


def test_no_colour_stands_twice_in_a_scene_of_four() -> None:
    for sample in Digits(2).samples(50):
        assert len(set(sample.meta["colours"])) == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_answer_is_what_the_question_points_at(kind: str, split: str) -> None:
    for sample in Digits(kinds=(kind,)).samples(40, split=split):
        colour, digit = seen(sample)[cell_asked_for(sample)]
        assert sample.answer == (colour if kind.startswith("colour") else digit)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_region_is_the_cell_asked_for(kind: str) -> None:
    for sample in Digits(kinds=(kind,)).samples(40):
        assert target_cell(sample) == cell_asked_for(sample)


def test_every_turn_is_asked_for() -> None:
    drawn = Digits(kinds=("transform",)).samples(100)
    assert {s.question[: s.question.index(".") + 1] for s in drawn} == set(ORIGINS)


# Helper images and imagination


@pytest.mark.parametrize("kind", ["zoom", "digit_at", "colour_at", "colour_of"])
def test_the_helper_of_a_looking_question_is_the_crop_of_its_cell(kind: str) -> None:
    for sample in Digits(kinds=(kind,)).samples(10):
        row, column = divmod(cell_asked_for(sample), 2)
        np.testing.assert_array_equal(sample.helper, cells(sample.image)[row, column])


def test_the_helper_of_a_turning_question_is_the_turned_picture() -> None:
    for sample in Digits(kinds=("transform",)).samples(40):
        np.testing.assert_array_equal(sample.helper, turned(sample.image, sample.question))


def test_the_turned_target_stands_in_the_helper_where_the_question_looks() -> None:
    for sample in Digits(kinds=("transform",)).samples(40):
        place = place_named(sample.question.removesuffix("?").split(" at the ")[1], 2)
        target = cells(sample.image)[divmod(target_cell(sample), 2)]
        np.testing.assert_array_equal(cells(sample.helper)[place], turned(target, sample.question))


def test_a_helper_is_no_view_of_the_picture() -> None:
    for sample in Digits().samples(10):
        assert not np.shares_memory(sample.helper, sample.image)


def test_imagination_of_a_looking_question_names_colour_and_digit() -> None:
    for sample in Digits(kinds=("zoom",)).samples(10):
        colour, digit = seen(sample)[cell_asked_for(sample)]
        assert f"the {colour} cell" in sample.imagination
        assert sample.imagination.endswith(f"shows a {digit}.")


def test_imagination_of_a_turning_question_names_the_answer_at_its_place() -> None:
    for sample in Digits(kinds=("transform",)).samples(40):
        place = sample.question.removesuffix("?").split(" at the ")[1]
        assert f"{place} {sample.answer}" in sample.imagination


# Pairs


def test_a_minimal_pair_changes_the_target_cell_only() -> None:
    for pair in Digits().pairs(40):
        assert changed_cells(pair) == [target_cell(pair.clean)]


def test_a_minimal_pair_changes_the_answer() -> None:
    for pair in Digits().pairs(40):
        assert pair.clean.answer != pair.reference.answer
        assert pair.foil is None


def test_the_new_answer_of_a_minimal_pair_is_new_to_the_scene() -> None:
    for pair in Digits().pairs(40):
        assert int(pair.reference.answer) not in pair.clean.meta["digits"]


def test_both_sides_of_a_minimal_pair_have_a_true_answer() -> None:
    for pair in Digits().pairs(20):
        for side in (pair.clean, pair.reference):
            assert seen(side)[cell_asked_for(side)][1] == side.answer


def test_a_placebo_pair_keeps_the_answer() -> None:
    for pair in Digits().pairs(40, kind="placebo"):
        assert pair.clean.answer == pair.reference.answer
        assert seen(pair.reference)[cell_asked_for(pair.reference)][1] == pair.clean.answer


def test_a_placebo_pair_changes_one_cell() -> None:
    for pair in Digits().pairs(40, kind="placebo"):
        assert len(changed_cells(pair)) == 1


def test_placebo_pairs_change_the_target_and_a_bystander_by_turns() -> None:
    pairs = Digits().pairs(20, kind="placebo")
    at_target = [changed_cells(pair) == [target_cell(pair.clean)] for pair in pairs]
    assert at_target == [True, False] * 10


def test_the_foil_of_a_placebo_pair_stands_in_neither_picture() -> None:
    for pair in Digits().pairs(40, kind="placebo"):
        assert int(pair.foil) not in {*pair.clean.meta["digits"], *pair.reference.meta["digits"]}


@pytest.mark.parametrize("kind", ["minimal", "placebo"])
def test_both_sides_of_a_pair_are_asked_the_same(kind: str) -> None:
    for pair in Digits().pairs(20, kind=kind):
        assert pair.clean.question == pair.reference.question
        assert pair.clean.regions == pair.reference.regions
        assert pair.kind == kind


@pytest.mark.parametrize("kind", ["minimal", "placebo"])
def test_both_sides_of_a_pair_have_the_same_grid(kind: str) -> None:
    for pair in Digits().pairs(20, kind=kind):
        assert pair.clean.image.shape == pair.reference.image.shape


def test_colours_stay_in_both_kinds_of_pairs() -> None:
    for pair in [*Digits().pairs(20), *Digits().pairs(20, kind="placebo")]:
        assert [c for c, _ in seen(pair.clean)] == [c for c, _ in seen(pair.reference)]


# Wrong arguments


@pytest.mark.parametrize("size", [0, 3, -1])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(SampleError, match=rf"size={size}; scenes have 1 or 2 cells"):
        Digits(size)


@pytest.mark.parametrize("kinds", [(), ("zoom", "riddle")])
def test_kinds_that_do_not_exist_are_answered_with_those_that_do(kinds: tuple[str, ...]) -> None:
    with pytest.raises(SampleError, match=r"got kinds=.* size=2 offers zoom, transform, digit_at"):
        Digits(kinds=kinds)


def test_a_scene_of_one_cell_has_no_places_to_ask_for() -> None:
    with pytest.raises(SampleError, match=r"size=1 offers zoom, colour_of\."):
        Digits(1, kinds=("transform",))


@pytest.mark.parametrize("draw", ["samples", "pairs"])
def test_an_unknown_split_is_refused(draw: str) -> None:
    with pytest.raises(SampleError, match=r"split='dev'; there are 'train' and 'test'"):
        getattr(Digits(), draw)(1, split="dev")


def test_an_unknown_kind_of_pair_is_refused() -> None:
    with pytest.raises(SampleError, match=r"kind='maximal'; pairs are 'minimal' or 'placebo'"):
        Digits().pairs(1, kind="maximal")


@pytest.mark.parametrize("kind", ["colour_at", "colour_of"])
def test_pairs_of_questions_for_a_colour_are_refused(kind: str) -> None:
    with pytest.raises(SampleError, match=rf"Pairs need questions for a digit; kinds are .*{kind}"):
        Digits(kinds=("zoom", kind)).pairs(1)


def test_placebo_pairs_of_one_cell_are_refused() -> None:
    with pytest.raises(SampleError, match="Placebo pairs need a bystander cell; pass size=2"):
        Digits(1, kinds=("zoom",)).pairs(1, kind="placebo")


def test_a_negative_number_of_distortions_is_refused() -> None:
    with pytest.raises(SampleError, match="distortions=-1; it takes 0 or more"):
        Digits(distortions=-1)


@pytest.mark.parametrize(("n", "seed"), [(-3, 0), (1, -1)])
def test_negative_numbers_and_seeds_are_refused(n: int, seed: int) -> None:
    with pytest.raises(SampleError, match=f"n={n} and seed={seed}"):
        Digits().samples(n, seed=seed)


def test_a_wrong_split_is_refused_even_for_no_samples() -> None:
    with pytest.raises(SampleError, match="'train' and 'test'"):
        Digits().samples(0, split="dev")
