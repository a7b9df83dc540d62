"""Reading items, and counting what is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mindseye.errors import SampleError
from mindseye.imagination.building.files import Broken, files_of, records
from mindseye.imagination.building.items import Helper, Item, Kind
from mindseye.imagination.building.layouts import RecordError, item_from
from mindseye.imagination.building.pictures import check_picture
from mindseye.samples import Sample, read_image

__all__ = ["Data", "Fault", "OnFault", "item_of", "read_items"]

OnFault = Literal["skip", "stop"]

Data = str | Path | Iterable[Item | Sample]
"""Files of records, or items or samples that are in memory."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that is no item.

    Attributes:
        place: The file, and its line (`:3`) or its index in an array (`#3`).
        code: Which of `mindseye.imagination.building.layouts.FAULTS` it is.
        said: What exactly is wrong.
    """

    place: str
    code: str
    said: str


def read_items(
    data: Data,
    *,
    images: str | Path | None = None,
    kinds: Mapping[str, Kind] | None = None,
    on_fault: OnFault = "skip",
    tell: Callable[[Fault], None] = lambda fault: None,
) -> Iterator[Item]:
    """Read one item after another.

    Args:
        data: A file or folder of Monet-SFT, OpenAI-messages or LLaVA records, as JSON or JSON
            lines; or items, or samples with a helper image such as `task("digits")` draws.
        images: The folder that image paths start from; each file's own folder if left out.
        kinds: What helper images do, by a part of their source's name: `zoom` or `manipulation`.
        on_fault: Whether to go on behind a record that is no item, or to stop there.
        tell: Is told of each such record.

    Raises:
        SampleError: There is no such data, or a record is no item and `on_fault` is `stop`.
    """
    seen: set[str] = set()
    for place, item in _found(data, None if images is None else Path(images), kinds):
        if isinstance(item, Item) and item.id in seen:
            item = RecordError("repeated id", f"an earlier record is called {item.id!r}, too")
        if isinstance(item, Item):
            seen.add(item.id)
            yield item
            continue
        fault = Fault(place, item.code, str(item))
        tell(fault)
        if on_fault == "stop":
            raise SampleError(
                f"{place}: {fault.code}: {fault.said}. Mend the record, or pass on_fault='skip' to "
                "go on without such records."
            )


def item_of(sample: Sample, place: str = "") -> Item:
    """Return the item that a sample with a helper image holds.

    Args:
        sample: Its helper zooms if it is of the kind `zoom`, or shows the region `target` as it is.
        place: Where it was found.

    Raises:
        RecordError: It has no helper image, or no answer.
    """
    if sample.helper is None:
        raise RecordError("no helper image", f"sample {sample.id!r} has helper=None")
    if not sample.answer.strip():
        raise RecordError("no answer", f"sample {sample.id!r} has the answer {sample.answer!r}")
    try:
        shown = tuple(
            Path(image) if isinstance(image, str | Path) else read_image(image)
            for image in sample.images
        )
        for image in shown:
            if isinstance(image, Path):
                check_picture(image)
    except SampleError as fault:
        raise RecordError("missing image", str(fault)) from fault
    box = sample.regions.get("target") if sample.kind != "transform" else None
    helper = Helper(
        sample.helper, "manipulation" if box is None else "zoom", box, sample.imagination
    )
    source = sample.id.split("/")[0] or "samples"
    name = sample.id or place
    return Item(name, source, sample.question, shown, (helper,), sample.answer, place)


def _found(
    data: Data, images: Path | None, kinds: Mapping[str, Kind] | None
) -> Iterator[tuple[str, Item | RecordError]]:
    """Read every record with its place: an item, or why it is none."""
    if isinstance(data, str | Path):
        for file in files_of(Path(data)):
            for place, record in records(file):
                try:
                    if isinstance(record, Broken):
                        raise RecordError("broken record", f"no JSON: {record.said}")
                    yield place, item_from(record, place, images or file.parent, kinds)
                except RecordError as fault:
                    yield place, fault
        return
    for index, given in enumerate(data):
        place = f"item {index}"
        try:
            yield place, given if isinstance(given, Item) else item_of(given, place)
        except RecordError as fault:
            yield place, fault
