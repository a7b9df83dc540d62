"""From a datasets folder, or from samples, to the rows of a run, checked before it starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindseye.errors import MindseyeError, SampleError
from mindseye.imagination.training.recipe import Recipe
from mindseye.samples import ImageSource, Sample, read_image

__all__ = ["Data", "fingerprint", "open_rows", "split", "to_sample"]

Data = str | Path | Iterable[Sample] | Any
"""A folder that `datasets` saved, a `datasets.Dataset`, or samples with their imagination."""

_COLUMNS = ("images", "question", "answer")
_MANY = 5

_BUILT = "dataset"
"""Where the data set lies in the folder of a build, beside its report."""


def open_rows(data: Data, recipe: Recipe) -> Any:
    """Return the data as a `datasets.Dataset`, less what the recipe leaves out.

    Args:
        data: Where it is; the builder's folder has the columns id, source, images, helper,
            question, imagination and answer. Only latents want `helper`, an image.
        recipe: Says which columns it needs.

    Raises:
        SampleError: A column is missing, no row is left, or rows lack what is to be learned.
    """
    rows = _load(data, recipe)
    needed = [*_COLUMNS, *_taught(recipe)]
    if recipe.keep_column is not None:
        needed.append(recipe.keep_column)
    missing = [name for name in needed if name not in rows.column_names]
    if missing:
        raise SampleError(
            f"The training data has the columns {', '.join(rows.column_names)}; expected also "
            f"{', '.join(missing)}. Build it with mindseye capimagine build, or name another "
            "column in the recipe."
        )
    if recipe.keep_column is not None:
        kept = np.flatnonzero(np.asarray(rows[recipe.keep_column][:], dtype=bool))
        rows = rows.select(kept, keep_in_memory=True)  # no cache beside the data
    if len(rows) == 0:
        raise SampleError(
            "The training data has no row; expected at least one with question and answer. Check "
            "the folder, and keep_column if the recipe names one."
        )
    _check_texts(rows, recipe)
    unread = {"helper"} & set(rows.column_names) - set(needed)
    return rows.remove_columns(list(unread))  # or it would be decoded with every row


def to_sample(row: Mapping[str, Any], recipe: Recipe) -> Sample:
    """Return a row as a sample.

    Raises:
        SampleError: It has no question, or no image that can be read.
    """
    helper = row.get("helper")
    return Sample(
        images=tuple(row["images"] or ()),
        question=row["question"],
        answer=row["answer"],
        helper=None if helper is None else read_image(helper),
        imagination=row.get(recipe.imagination_column),
        id=str(row.get("id", "")),
    )


def split(rows: Any, recipe: Recipe) -> tuple[Any, Any]:
    """Return training rows and held-out rows; the second is none if the recipe holds none out.

    Raises:
        SampleError: Nothing would be left to train on.
    """
    if recipe.held_out == 0:
        return rows, None
    if recipe.held_out >= len(rows):
        raise SampleError(
            f"The recipe holds out {recipe.held_out} items of {len(rows)}; expected fewer than "
            "there are. Lower held_out, or pass held_out=... to train."
        )
    # Not train_test_split, which writes indices into the data's own folder.
    order = np.random.default_rng(recipe.seed).permutation(len(rows))
    chosen = np.sort(order[recipe.held_out :]), np.sort(order[: recipe.held_out])
    train, held_out = (rows.select(indices, keep_in_memory=True) for indices in chosen)
    return train, held_out


def fingerprint(rows: Any) -> str:
    """Return a hash of every text of the rows, by which a resumed run knows its data."""
    digest = hashlib.sha256()
    for row in _texts(rows):
        digest.update(repr(sorted(row.items())).encode())
    return digest.hexdigest()


def _load(data: Data, recipe: Recipe) -> Any:
    try:
        import datasets
    except ImportError as fault:
        raise MindseyeError(
            "Training needs the package datasets, which is not installed. Run: "
            "pip install 'mindseye[train]'"
        ) from fault
    if isinstance(data, datasets.Dataset):
        return data
    if isinstance(data, str | Path):
        built = Path(data) / _BUILT
        try:
            found = datasets.load_from_disk(str(built if built.is_dir() else data))
        except (OSError, ValueError) as fault:
            raise SampleError(
                f"{str(data)!r} cannot be read as training data ({fault}); expected a folder that "
                "mindseye capimagine build or datasets' save_to_disk wrote. Check the path."
            ) from fault
        if isinstance(found, datasets.DatasetDict):
            raise SampleError(
                f"{str(data)!r} holds the splits {', '.join(map(str, found))}; expected "
                "one. Pass the folder of one of them."
            )
        return found
    return _from_samples(list(data), recipe)


def _from_samples(samples: list[Sample], recipe: Recipe) -> Any:
    import datasets

    columns: dict[str, list[Any]] = {
        "id": [sample.id for sample in samples],
        "images": [[_as_image(image) for image in sample.images] for sample in samples],
        "question": [sample.question for sample in samples],
        recipe.imagination_column: [sample.imagination for sample in samples],
        "answer": [sample.answer for sample in samples],
    }
    features: dict[str, Any] = dict.fromkeys(columns, datasets.Value("string"))
    features["images"] = datasets.List(datasets.Image())
    if recipe.imagination == "latent":
        columns["helper"] = [s.helper if s.helper is None else _as_image(s.helper) for s in samples]
        features["helper"] = datasets.Image()
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _as_image(source: ImageSource) -> str | Image.Image:
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    return source if isinstance(source, Image.Image) else str(source)


def _taught(recipe: Recipe) -> tuple[str, ...]:
    if recipe.imagination == "text":
        return (recipe.imagination_column,)
    helped = recipe.imagination == "latent" and recipe.latent.needs_helper
    return ("helper",) if helped else ()


def _check_texts(rows: Any, recipe: Recipe) -> None:
    """Refuse rows without question, answer or words, by name, before hours are spent on the rest.

    Raises:
        SampleError: There are some.
    """
    wanted = ["question", "answer"]
    if recipe.imagination == "text":
        wanted.append(recipe.imagination_column)
    for name in wanted:
        empty = [
            str(row.get("id") or number)
            for number, row in enumerate(_texts(rows))
            if not str(row[name] if row[name] is not None else "").strip()
        ]
        if empty:
            listed = ", ".join(empty[:_MANY]) + (", …" if len(empty) > _MANY else "")
            raise SampleError(
                f"{len(empty)} of {len(rows)} training items have no {name} ({listed}); every item "
                "needs one, for it is what the model learns. Remove them, or build the data again."
            )


def _texts(rows: Any) -> Any:
    """Return the rows without their images, which need not be decoded."""
    plain = [name for name, kind in rows.features.items() if getattr(kind, "dtype", "") == "string"]
    return rows.select_columns(plain)
