from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from mindseye.errors import MindseyeError, SampleError
from mindseye.samples import Pair, Sample, read_image
from tests import strategies

GREY = np.full((4, 6, 3), 128, np.uint8)


def sample(answer: str = "3", image: object = GREY, **fields: object) -> Sample:
    return Sample(**{"images": (image,), "question": "Which?", "answer": answer} | fields)


def noise_file(folder: Path) -> Path:
    """A PNG too varied to be compressed, so that half of its bytes are half of its pixels."""
    path = folder / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    return path


# Samples


@pytest.mark.parametrize("question", ["", "   ", "\n\t"])
def test_an_empty_question_is_refused(question: str) -> None:
    with pytest.raises(SampleError, match=r"'s7' has the empty question .*Give it one"):
        sample(question=question, id="s7")


def test_a_sample_may_have_no_images_and_then_says_so_when_asked_for_one() -> None:
    bare = sample(images=(), id="s7")
    assert bare.images == ()
    assert bare.question == "Which?"
    with pytest.raises(SampleError, match=r"'s7' has no image; what was asked of it takes one"):
        _ = bare.image


def test_a_pair_may_be_about_words_alone_but_not_about_one_image_and_none() -> None:
    assert Pair(sample("3", images=()), sample("5", images=())).answers == ("3", "5")
    with pytest.raises(SampleError, match=r"'p1' has images of 6x4 \(clean\) and"):
        Pair(sample("3"), sample("5", images=()), id="p1")


def test_bad_samples_are_value_errors_and_ours() -> None:
    assert issubclass(SampleError, ValueError)
    assert issubclass(SampleError, MindseyeError)


def test_a_sample_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample().question = "What?"


def test_the_image_of_a_sample_is_its_first() -> None:
    white = np.full((2, 2, 3), 255, np.uint8)
    np.testing.assert_array_equal(sample(images=(GREY, white)).image, GREY)


def test_a_sample_reads_its_image_from_a_file(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(sample(image=tmp_path / "grey.png").image, GREY)


@given(strategies.samples())
def test_the_image_of_any_sample_is_rgb_bytes(drawn: Sample) -> None:
    assert drawn.image.dtype == np.uint8
    assert drawn.image.shape[2:] == (3,)


@given(strategies.samples(n_images=0))
def test_any_sample_without_images_lacks_an_image_and_nothing_else(drawn: Sample) -> None:
    assert drawn.answer in drawn.options
    with pytest.raises(SampleError, match="has no image"):
        _ = drawn.image


# Pairs


@given(strategies.pairs())
def test_a_pair_always_tells_two_answers_apart(pair: Pair) -> None:
    first, second = pair.answers
    assert first == pair.clean.answer
    assert first != second


def test_a_pair_is_scored_against_the_other_answer_if_there_is_one() -> None:
    assert Pair(sample("3"), sample("5"), foil="9").answers == ("3", "5")


def test_a_pair_of_equal_answers_is_scored_against_its_foil() -> None:
    assert Pair(sample("3"), sample("3"), kind="placebo", foil="9").answers == ("3", "9")


@pytest.mark.parametrize("foil", [None, "3"])
def test_a_pair_without_a_second_answer_is_refused(foil: str | None) -> None:
    with pytest.raises(SampleError, match=r"'p1' has the answer '3' on both sides .*foil='\.\.\.'"):
        Pair(sample("3"), sample("3"), foil=foil, id="p1")


def test_a_pair_of_unequal_sizes_is_refused_and_both_are_named() -> None:
    wide = np.zeros((4, 8, 3), np.uint8)
    with pytest.raises(
        SampleError, match=r"'p1' has images of 6x4 \(clean\) and 8x4 \(reference\)"
    ):
        Pair(sample("3"), sample("5", wide), id="p1")


def test_a_pair_of_unequal_numbers_of_images_is_refused() -> None:
    with pytest.raises(SampleError, match=r"6x4 \(clean\) and 6x4, 6x4 \(reference\)"):
        Pair(sample("3"), sample("5", images=(GREY, GREY)))


def test_only_the_size_of_the_second_image_may_make_a_pair_unequal() -> None:
    wide = np.zeros((4, 8, 3), np.uint8)
    with pytest.raises(SampleError, match=r"6x4, 6x4 \(clean\) and 6x4, 8x4 \(reference\)"):
        Pair(sample("3", images=(GREY, GREY)), sample("5", images=(GREY, wide)))


def test_a_pair_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="is not a file"):
        Pair(sample("3"), sample("5", tmp_path / "gone.png"))


# Images


@given(strategies.pixels())
def test_pixels_are_read_as_they_are(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(read_image(pixels), pixels)


@given(strategies.pixels())
def test_a_pillow_image_is_read_as_its_pixels(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(read_image(Image.fromarray(pixels)), pixels)


@given(strategies.pixels())
def test_a_png_gives_back_the_pixels_it_was_made_of(
    tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.png"
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_image(str(path)), pixels)


@given(arrays.arrays(np.uint8, strategies.sizes))
def test_grey_becomes_three_equal_channels(grey: np.ndarray) -> None:
    read = read_image(Image.fromarray(grey))
    np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, axis=2))


@given(strategies.pixels(), st.integers(0, 255))
def test_transparency_is_laid_on_white(pixels: np.ndarray, alpha: int) -> None:
    layer = np.full((*pixels.shape[:2], 1), alpha, np.uint8)
    read = read_image(Image.fromarray(np.concatenate([pixels, layer], axis=2)))
    expected = (pixels * (alpha / 255)) + 255 * (1 - alpha / 255)
    # Pillow rounds each of its two products.
    np.testing.assert_allclose(read, expected, atol=1)


@given(arrays.arrays(np.uint8, strategies.sizes, elements=st.integers(0, 2)))
def test_a_palette_image_becomes_its_colours(indices: np.ndarray) -> None:
    colours = np.array([[255, 0, 0], [0, 128, 0], [9, 8, 7]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette(colours.tobytes())
    np.testing.assert_array_equal(read_image(image), colours[indices])


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "half.png", transparency=0)
    np.testing.assert_array_equal(
        read_image(tmp_path / "half.png"), [[[255, 255, 255], [0, 0, 255]]]
    )


def test_reading_a_transparent_image_leaves_it_alone() -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    read_image(image)
    assert image.getpixel((0, 0)) == (255, 0, 0, 0)


@pytest.mark.parametrize(
    ("array", "given"),
    [
        (np.zeros((4, 6, 3), np.float32), r"dtype float32 and shape \(4, 6, 3\)"),
        (np.zeros((4, 6, 3), np.int64), r"dtype int64 and shape \(4, 6, 3\)"),
        (np.zeros((4, 6), np.uint8), r"dtype uint8 and shape \(4, 6\)"),
        (np.zeros((4, 6, 4), np.uint8), r"dtype uint8 and shape \(4, 6, 4\)"),
        (np.zeros((3, 4, 6), np.uint8), r"dtype uint8 and shape \(3, 4, 6\)"),
        (np.zeros((1, 4, 6, 3), np.uint8), r"dtype uint8 and shape \(1, 4, 6, 3\)"),
        (np.zeros((0, 6, 3), np.uint8), r"dtype uint8 and shape \(0, 6, 3\)"),
    ],
)
def test_an_array_that_is_no_rgb_image_is_refused(array: np.ndarray, given: str) -> None:
    with pytest.raises(SampleError, match=given + r".*expected uint8 of \(height, width, 3\)"):
        read_image(array)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"gone\.png' is not a file. Check the path"):
        read_image(tmp_path / "gone.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="is not a file"):
        read_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"This is a shopping list.", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.png"
    path.write_bytes(content)
    with pytest.raises(SampleError, match=r"list\.png' cannot be read .*expected a whole PNG"):
        read_image(path)


def test_a_truncated_png_is_refused(tmp_path: Path) -> None:
    path = noise_file(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SampleError, match=r"noise\.png' cannot be read .*truncated"):
        read_image(path)


def test_the_same_png_is_read_when_whole(tmp_path: Path) -> None:
    assert read_image(noise_file(tmp_path)).shape == (64, 64, 3)


def test_an_unreadable_file_keeps_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "list.png"
    path.write_text("This is a shopping list.")
    with pytest.raises(SampleError) as caught:
        read_image(path)
    assert isinstance(caught.value.__cause__, OSError)


def test_sixteen_bit_grey_keeps_its_contrast() -> None:
    ramp = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    assert len(np.unique(read_image(Image.fromarray(ramp)))) == 16


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_no_known_range_are_refused(mode: str) -> None:
    with pytest.raises(SampleError, match=f"mode '{mode}', whose range is unknown"):
        read_image(Image.new(mode, (4, 4)))


def test_an_empty_pillow_image_is_refused() -> None:
    with pytest.raises(SampleError, match=r"expected uint8 of \(height, width, 3\)"):
        read_image(Image.new("RGB", (0, 0)))


def test_a_truncated_pillow_image_is_refused(tmp_path: Path) -> None:
    path = noise_file(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SampleError, match="A PIL image cannot be read"):
        read_image(Image.open(path))


def test_a_broken_png_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "header.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x04IHDR\x00\x00\x00\x04" + b"\0" * 8)
    with pytest.raises(SampleError, match="cannot be read"):
        read_image(path)


@pytest.mark.usefixtures("unchecked_types")
def test_something_that_is_no_image_at_all_is_refused() -> None:
    with pytest.raises(SampleError, match="given as NoneType; expected a path"):
        read_image(None)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("images", ["photo.png", GREY])
def test_images_outside_a_tuple_are_refused(images: object) -> None:
    with pytest.raises(SampleError, match="expected a tuple"):
        Sample(images=images, question="Which?", answer="3")
