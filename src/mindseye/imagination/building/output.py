"""Writing what came out of a build: as a whole, in place of what was there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mindseye.errors import MindseyeError, OutputError
from mindseye.imagination.building.items import Item, Picture
from mindseye.imagination.building.pictures import encoded
from mindseye.imagination.building.stages import Outcome

__all__ = [
    "DATASET",
    "PARQUET",
    "Kept",
    "StoredImages",
    "fresh_folder",
    "need_datasets",
    "with_files",
]

DATASET = "dataset"
PARQUET = "dataset.parquet"
_FRESH = ".fresh"
_ROWS = 64
"""Rows in memory at once: each holds whole pictures."""

StoredImages = Literal["embedded", "paths"]
"""Whether the data set holds the pictures, or says where they are."""


def need_datasets() -> Any:
    """Return the `datasets` library.

    Raises:
        MindseyeError: It is not installed.
    """
    try:
        import datasets
    except ImportError as fault:
        raise MindseyeError(
            "The data builder needs the package datasets, which is not installed. Run: "
            "pip install 'mindseye[train]'"
        ) from fault
    return datasets


class Kept:
    """The data set of kept items, written a few rows at a time.

    Its `helper` is an item's last helper image, for latents to be taught on the same items.

    Args:
        folder: Where to write it.
        images: Whether it holds the pictures or their paths, which `with_files` checks.
    """

    def __init__(self, folder: Path, images: StoredImages) -> None:
        datasets = need_datasets()
        text = datasets.Value("string")
        picture = datasets.Image() if images == "embedded" else text
        self._features = datasets.Features(
            {
                "id": text,
                "source": text,
                "images": datasets.List(picture),
                "helper": picture,
                "question": text,
                "imagination": text,
                "answer": text,
                "captions": datasets.List(text),
                "verdict": text,
                "reason": text,
                "place": text,
            }
        )
        self._folder = folder
        self._embedded = images == "embedded"
        self._rows: list[dict[str, Any]] = []
        self._any = False
        self._writer = pq.ParquetWriter(folder / PARQUET, self._features.arrow_schema)

    def add(self, item: Item, outcome: Outcome) -> None:
        """Add an item.

        Raises:
            SampleError: A picture of it cannot be read.
        """
        self._rows.append(
            {
                "id": item.id,
                "source": item.source,
                "images": [self._stored(image) for image in item.images],
                "helper": self._stored(item.helpers[-1].image),
                "question": item.question,
                "imagination": outcome.imagination,
                "answer": item.answer,
                "captions": list(outcome.captions),
                "verdict": outcome.reason,
                "reason": outcome.said,
                "place": item.place,
            }
        )
        if len(self._rows) >= _ROWS:
            self._flush()

    def finish(self) -> None:
        """Write the rest, and the folder that `datasets.load_from_disk` opens."""
        datasets = need_datasets()
        self._flush()
        self._writer.close()
        cache = self._folder / ".cache"
        with _silenced(datasets):
            found = self._load(datasets, cache)
            # Without rows the library would write no shard, and could not open that again.
            n_shards = None if self._any else 1
            found.save_to_disk(str(self._folder / DATASET), num_shards=n_shards)
        del found  # it maps the cache
        shutil.rmtree(cache, ignore_errors=True)

    def close(self) -> None:
        """Let the file go, finished or not."""
        self._writer.close()

    def _load(self, datasets: Any, cache: Path) -> Any:
        """Open the Parquet file with the library, which refuses one without rows."""
        if not self._any:
            nothing = {name: [] for name in self._features}
            return datasets.Dataset.from_dict(nothing, features=self._features)
        try:
            return datasets.Dataset.from_parquet(
                str(self._folder / PARQUET), features=self._features, cache_dir=str(cache)
            )
        except datasets.exceptions.DatasetGenerationError as fault:
            raise fault.__cause__ if isinstance(fault.__cause__, OSError) else fault from fault

    def _flush(self) -> None:
        if not self._rows:
            return
        self._any = True
        table = pa.Table.from_pylist(self._rows, schema=self._features.arrow_schema)
        self._writer.write_table(table)
        self._rows.clear()

    def _stored(self, image: Picture) -> Any:
        if self._embedded:
            name = image.name if isinstance(image, Path) else None
            return {"bytes": encoded(image), "path": name}
        assert isinstance(image, Path)
        return str(image.resolve())


def with_files(items: Iterable[Item]) -> Iterator[Item]:
    """Pass items on whose pictures paths can name.

    Raises:
        MindseyeError: A picture has no file.
    """
    for item in items:
        if not all(isinstance(image, Path) for image in (*item.images, item.helpers[-1].image)):
            raise MindseyeError(
                f"Item {item.id!r} has an image without file, and store_images='paths' was given; "
                "expected files. Pass store_images='embedded'."
            )
        yield item


@contextmanager
def _silenced(datasets: Any) -> Iterator[None]:
    """Keep the library's progress bars out of ours."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


@contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder within `out`; what it holds in the end takes its place in `out`.

    If anything fails, `out` is as it was. A build killed halfway through writes it all again from
    its journal.

    Raises:
        OutputError: It cannot be written.
    """
    fresh = out / _FRESH
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        yield fresh
        for made in sorted(fresh.iterdir()):
            target = out / made.name
            if target.is_dir():
                shutil.rmtree(target)
            made.replace(target)
        fresh.rmdir()
    except OutputError:
        raise
    except OSError as fault:
        shutil.rmtree(fresh, ignore_errors=True)
        raise OutputError(
            f"The output {str(out)!r} cannot be written ({fault.strerror or fault}). All answers "
            "are safe in its journal: make room on the disk, and run the same build again."
        ) from fault
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
