"""The report of a build: a table of its items, its counts as JSON, and a page to look at."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from mindseye.imagination.building.items import Item, Picture, Words
from mindseye.imagination.building.journal import Spent
from mindseye.imagination.building.pictures import thumbnail
from mindseye.imagination.building.reading import Fault
from mindseye.imagination.building.stages import STAGES, Outcome

__all__ = ["Example", "example", "write_reports"]

SCHEMA_VERSION = 1
_LONGEST = 224
_MOST_FAULTS = 200
"""On the page; `report.json` lists all."""

_PACKAGES = ("mindseye", "datasets")


@dataclass(frozen=True, slots=True)
class Shown:
    """A step as the page shows it: words, or a picture and the words that took its place."""

    text: str
    picture: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """An item as the page shows it."""

    item: Item
    outcome: Outcome
    pictures: tuple[str, ...]
    steps: tuple[Shown, ...]


def example(item: Item, outcome: Outcome) -> Example:
    """Return what the page shows of an item."""
    captions = iter(outcome.captions)
    steps = tuple(
        Shown(step.text)
        if isinstance(step, Words)
        else Shown(next(captions, ""), _small(step.image))
        for step in item.steps
    )
    return Example(item, outcome, tuple(_small(image) for image in item.images), steps)


def write_reports(
    folder: Path,
    rows: pd.DataFrame,
    counts: pd.DataFrame,
    faults: Sequence[Fault],
    spent: Mapping[str, Spent],
    settings: Mapping[str, Any],
    examples: Sequence[Example],
) -> None:
    """Write `items.parquet`, `report.json` and `report.html` into a folder.

    Nothing in them says when or how often the build was interrupted, so that they are the same for
    a build that was and one that was not.
    """
    stages = {name: asdict(spent[name]) for name in STAGES if name in spent}
    found = {
        "schema_version": SCHEMA_VERSION,
        "versions": {name: version(name) for name in _PACKAGES},
        "settings": dict(settings),
        "counts": counts.to_dict("records"),
        "spent": stages,
        "faults": [asdict(fault) for fault in faults],
    }
    rows.to_parquet(folder / "items.parquet", index=False)
    (folder / "report.json").write_text(f"{json.dumps(found, indent=2)}\n", "utf-8")
    page = _template().render(
        found=found,
        n_items=len(rows),
        outcomes=rows["outcome"].value_counts().to_dict(),
        faults=faults[:_MOST_FAULTS],
        examples=examples,
    )
    (folder / "report.html").write_text(page, "utf-8")


def _small(picture: Picture) -> str:
    return thumbnail(picture, _LONGEST)


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("mindseye.imagination.building"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
