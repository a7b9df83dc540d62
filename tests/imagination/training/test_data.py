"""Data is checked whole before a run starts, and named where it is wrong."""

import dataclasses

import datasets
import numpy as np
import pytest
from PIL import Image

from mindseye.errors import SampleError
from mindseye.imagination.building import Settings, build
from mindseye.imagination.training.data import fingerprint, open_rows, split, to_sample
from mindseye.imagination.training.recipe import PAPER

LATENT = dataclasses.replace(PAPER, imagination="latent", gradient_checkpointing=False)


def test_samples_come_back_from_rows_as_they_were(items):
    recipe = LATENT
    back = [to_sample(row, recipe) for row in open_rows(items, recipe)]
    for sample, other in zip(items, back, strict=True):
        assert (sample.question, sample.answer, sample.imagination, sample.id) == (
            other.question, other.answer, other.imagination, other.id,
        )  # fmt: skip
        assert np.array_equal(sample.image, other.image)
        assert np.array_equal(sample.helper, other.helper)


def test_a_saved_folder_is_read_and_left_as_it_is(items, tmp_path):
    open_rows(items, PAPER).save_to_disk(tmp_path / "data")
    before = sorted(path.name for path in (tmp_path / "data").iterdir())
    rows = open_rows(tmp_path / "data", PAPER)
    train, held_out = split(rows, dataclasses.replace(PAPER, held_out=4))
    assert (len(train), len(held_out)) == (11, 4)
    assert not set(train["id"]) & set(held_out["id"])
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == before


def test_a_built_folder_may_hold_paths_and_other_columns(items, tmp_path):
    Image.fromarray(items[0].image).save(tmp_path / "scene.png")
    columns = {
        "id": ["a"],
        "source": ["digits"],
        "images": [[str(tmp_path / "scene.png")]],
        "question": [items[0].question],
        "imagination": ["It is a digit."],
        "answer": [items[0].answer],
        "captions": [["one", "two"]],
        "reason": [None],
    }
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "build" / "dataset")
    rows = open_rows(tmp_path / "build", PAPER)
    assert np.array_equal(to_sample(rows[0], PAPER).image, items[0].image)
    assert fingerprint(rows)


def test_one_built_folder_teaches_words_and_latents(items, tmp_path):
    """The paper's ablation: latents on the same subset."""
    own = Settings(rewriting="own", refining=False, filtering=False)
    build(items, tmp_path, settings=own)
    latents, words = (open_rows(tmp_path, recipe) for recipe in (LATENT, PAPER))
    for sample, row in zip(items, latents, strict=True):
        assert np.array_equal(to_sample(row, LATENT).helper, sample.helper)
    assert latents["id"][:] == words["id"][:]
    assert "helper" not in words.column_names


def test_a_helper_may_be_a_path(items, tmp_path):
    Image.fromarray(items[0].helper).save(tmp_path / "helper.png")
    row = {"images": [], "question": "?", "answer": "7", "helper": str(tmp_path / "helper.png")}
    with pytest.raises(SampleError):
        to_sample(row | {"helper": str(tmp_path / "none.png")}, LATENT)
    assert np.array_equal(to_sample(row, LATENT).helper, items[0].helper)


def test_a_missing_column_is_named(items):
    rows = open_rows(items, PAPER)
    with pytest.raises(SampleError, match="expected also answer"):
        open_rows(rows.remove_columns("answer"), PAPER)
    with pytest.raises(SampleError, match="expected also helper"):
        open_rows(rows, LATENT)
    with pytest.raises(SampleError, match="expected also raw"):
        open_rows(rows, dataclasses.replace(PAPER, imagination_column="raw"))


@pytest.mark.parametrize("answer", ["", "  "])
def test_items_without_an_answer_are_refused_by_name(items, answer):
    broken = [*items[:3], dataclasses.replace(items[3], answer=answer)]
    with pytest.raises(SampleError, match=f"1 of 4 training items have no answer .{items[3].id}"):
        open_rows(broken, PAPER)


def test_words_are_asked_for_only_where_they_are_learned(items):
    wordless = [dataclasses.replace(sample, imagination=None) for sample in items]
    with pytest.raises(SampleError, match="have no imagination"):
        open_rows(wordless, PAPER)
    assert len(open_rows(wordless, LATENT)) == len(items)


def test_a_keep_column_chooses_the_same_items_for_words_and_latents(items):
    rows = open_rows(items, LATENT).add_column("kept", [i % 3 == 0 for i in range(len(items))])
    chosen = [
        open_rows(rows, dataclasses.replace(recipe, keep_column="kept"))["id"][:]
        for recipe in (PAPER, LATENT)
    ]
    assert chosen[0] == chosen[1] == [sample.id for sample in items[::3]]


def test_what_is_no_data_is_refused(items, tmp_path):
    with pytest.raises(SampleError, match="cannot be read as training data"):
        open_rows(tmp_path / "nothing", PAPER)
    rows = open_rows(items, PAPER)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "splits")
    with pytest.raises(SampleError, match="holds the splits train, test"):
        open_rows(tmp_path / "splits", PAPER)
    with pytest.raises(SampleError, match="has no row"):
        open_rows(rows.select([]), PAPER)
    with pytest.raises(SampleError, match="holds out 256 items of 15"):
        split(rows, PAPER)


def test_another_word_is_another_fingerprint(items):
    rows = open_rows(items, PAPER)
    changed = [*items[:-1], dataclasses.replace(items[-1], answer="none")]
    assert fingerprint(rows) == fingerprint(open_rows(items, PAPER))
    assert fingerprint(rows) != fingerprint(open_rows(changed, PAPER))
