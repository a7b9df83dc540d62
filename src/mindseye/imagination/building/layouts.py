"""One record of a known layout becomes an item.

Three layouts are known. *Monet-SFT* and *OpenAI messages* are lists of turns whose content is text
or a list of parts; *LLaVA* has turns of text with `<image>` where a picture stands. A part may have
`bbox`, the part of the question's picture that it shows again, and `caption`, its own words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindseye.errors import SampleError
from mindseye.imagination.building.items import Helper, Item, Kind, Picture, Words
from mindseye.imagination.building.pictures import check_picture, from_data_uri, size_of
from mindseye.imagination.building.statements import split_answer
from mindseye.samples import Box

__all__ = ["FAULTS", "KINDS", "RecordError", "item_from"]

KINDS: Mapping[str, Kind] = {
    "refocus": "manipulation",
    "cogcom": "manipulation",
    "visual_cot": "zoom",
    "visual-cot": "zoom",
    "visualcot": "zoom",
    "zebra": "zoom",
}
"""What the helper images of a source do, by a part of its name, as the paper sorts them."""

FAULTS = (
    "broken record",
    "unknown layout",
    "no question",
    "several questions",
    "no answer",
    "no helper image",
    "missing image",
    "wrong region",
    "repeated id",
)
"""What can be wrong with a record."""


class RecordError(SampleError):
    """A record that is no item: which of `FAULTS`, and what exactly."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A picture in a turn, with what the record says of it."""

    image: Picture
    facts: Mapping[str, Any]


_Part = str | _Drawn
_Turn = tuple[str, list[_Part]]


def item_from(
    record: Any, place: str, images: Path, kinds: Mapping[str, Kind] | None = None
) -> Item:
    """Return the item that a record holds.

    Args:
        record: What the JSON says.
        place: Where it was found; names an item that has no name of its own.
        images: The folder that image paths start from.
        kinds: What helper images do, by a part of their source's name; goes before `KINDS`. A
            source that neither knows zooms if the record has a box, else it manipulates.

    Raises:
        RecordError: It is no item.
    """
    if not isinstance(record, dict):
        raise RecordError("broken record", f"a record is {type(record).__name__}, not an object")
    facts = {**_object(record.get("metadata")), **record}
    turns = [turn for turn in _turns(record, images) if turn[0] != "system"]
    question, reasoning = _split(turns)
    asked = "\n".join(part for part in question if isinstance(part, str)).strip()
    if not asked:
        raise RecordError("no question", "no turn of the user holds text; a question is text")
    source = _first_text(facts, ("dataset_name", "source", "dataset")) or "unknown"
    shown = tuple(part.image for part in question if isinstance(part, _Drawn))
    steps, stated = _steps(reasoning, source, facts, shown, kinds or {})
    answer = _first_text(facts, ("answer", "gold_answer", "gt_answer")) or stated
    if not answer:
        raise RecordError(
            "no answer",
            "there is no answer field, and the last words state none as \\boxed{...}, <answer> or "
            '"answer: ..."',
        )
    if not any(isinstance(step, Helper) for step in steps):
        raise RecordError("no helper image", "no turn of the assistant holds a picture")
    name = _first_text(facts, ("sample_id", "id")) or place
    return Item(f"{source}/{name}", source, asked, shown, steps, answer, place)


def _turns(record: Mapping[str, Any], images: Path) -> Iterator[_Turn]:
    """Find the turns of any of the three layouts, pictures and words in order."""
    for key, read in _LAYOUTS.items():
        if isinstance(record.get(key), list):
            yield from _merged(read(record, images))
            return
    raise RecordError(
        "unknown layout", f"a record has none of the lists {', '.join(_LAYOUTS)}; expected one"
    )


def _of_parts(key: str) -> Callable[[Mapping[str, Any], Path], Iterator[_Turn]]:
    """Read turns whose content is a text or a list of parts."""

    def read(record: Mapping[str, Any], images: Path) -> Iterator[_Turn]:
        waiting = iter(_listed(record.get("images")))
        for turn in map(_object, record[key]):
            content = turn.get("content")
            parts = [content] if isinstance(content, str) else _listed(content)
            yield str(turn.get("role")), [_part(part, images, waiting) for part in parts]

    return read


def _part(part: Any, images: Path, waiting: Iterator[Any]) -> _Part:
    """Read a part; a picture that it does not name is the next one of the record's own list."""
    if isinstance(part, str):
        return _text(part)
    match part:
        case {"type": "text", "text": str(text)}:
            return _text(text)
        case {"type": "image_url", "image_url": {"url": given}}:
            return _Drawn(_picture(given, images), part)
        case {"type": "image_url", "image_url": given} | {"type": "image", "image": given}:
            return _Drawn(_picture(given, images), part)
        case {"type": "image"}:
            return _Drawn(_picture(next(waiting, None), images), part)
    raise RecordError("unknown layout", f"a part is neither text nor image: {str(part)[:80]!r}")


def _of_marks(record: Mapping[str, Any], images: Path) -> Iterator[_Turn]:
    """Read turns whose text has `<image>` where a picture stands, one after another."""
    given = record.get("image", record.get("images"))
    waiting = iter(_listed(given))
    for turn in map(_object, record["conversations"]):
        role = {"human": "user", "gpt": "assistant"}.get(str(turn.get("from")), turn.get("from"))
        parts: list[_Part] = []
        for index, text in enumerate(_text(str(turn.get("value", ""))).split("<image>")):
            if index:
                parts.append(_Drawn(_picture(next(waiting, None), images), {}))
            parts.append(text)
        yield str(role), parts
    if (left := len(list(waiting))) > 0:
        raise RecordError("unknown layout", f"{left} images have no <image> that they stand for")


_LAYOUTS: Mapping[str, Callable[[Mapping[str, Any], Path], Iterator[_Turn]]] = {
    "data": _of_parts("data"),
    "messages": _of_parts("messages"),
    "conversations": _of_marks,
}


def _merged(turns: Iterator[_Turn]) -> Iterator[_Turn]:
    """Join turns of one role that follow each other."""
    held: _Turn | None = None
    for role, parts in turns:
        if held is not None and held[0] == role:
            held[1].extend(parts)
            continue
        if held is not None:
            yield held
        held = (role, parts)
    if held is not None:
        yield held


def _split(turns: Sequence[_Turn]) -> tuple[list[_Part], list[_Part]]:
    """Return what the user asks and what the assistant does, of a record with one of each."""
    roles = [role for role, _ in turns]
    if roles.count("user") > 1:
        raise RecordError("several questions", f"the turns are {', '.join(roles)}; expected one")
    if roles[:1] != ["user"]:
        raise RecordError("no question", f"the turns are {', '.join(roles) or 'none'}")
    if roles[1:] not in ([], ["assistant"]):
        raise RecordError("unknown layout", f"the turns are {', '.join(roles)}")
    return turns[0][1], turns[1][1] if len(turns) > 1 else []


def _steps(
    parts: Sequence[_Part],
    source: str,
    facts: Mapping[str, Any],
    shown: Sequence[Picture],
    kinds: Mapping[str, Kind],
) -> tuple[tuple[Words | Helper, ...], str | None]:
    """Return the steps, and the answer that the last words state, which is left out of them."""
    steps: list[Words | Helper] = []
    stated = None
    for index, part in enumerate(parts):
        if isinstance(part, _Drawn):
            box = _box(part.facts.get("bbox", facts.get("bbox")), shown)
            caption = part.facts.get("caption")
            steps.append(
                Helper(
                    part.image,
                    _kind(source, box, kinds),
                    box,
                    _text(caption) if isinstance(caption, str) else None,
                )
            )
            continue
        text = _MARKUP.sub("", part).strip()
        if index == len(parts) - 1:
            text, stated = split_answer(text)
        if text:
            steps.append(Words(text))
    return tuple(steps), stated


_MARKUP = re.compile(r"<abs_vis_token>.*?</abs_vis_token>|</?observation>|</?think>", re.DOTALL)
"""Marks of latents and of what they are trained on, which mean nothing to a reader."""


def _kind(source: str, box: Box | None, kinds: Mapping[str, Kind]) -> Kind:
    for name, kind in (*kinds.items(), *KINDS.items()):
        if name.lower() in source.lower():
            return kind
    return "zoom" if box is not None else "manipulation"


def _box(given: Any, shown: Sequence[Picture]) -> Box | None:
    """Return a box as whole pixels within the question's first picture."""
    if given is None:
        return None
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list):
        given = given[0]
    wrong = RecordError(
        "wrong region",
        f"bbox is {str(given)[:80]}; expected left, top, right, bottom in pixels of the first one",
    )
    numbers = [n for n in _listed(given) if isinstance(n, int | float) and abs(n) < 1e6]
    if len(numbers) != 4 or not shown:
        raise wrong
    width, height = size_of(shown[0])
    left, top = max(round(numbers[0]), 0), max(round(numbers[1]), 0)
    right, bottom = min(round(numbers[2]), width), min(round(numbers[3]), height)
    if left >= right or top >= bottom:
        raise wrong
    return left, top, right, bottom


def _picture(given: Any, images: Path) -> Picture:
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise RecordError("missing image", f"an image is given as {str(given)[:80]!r}, not a path")
    try:
        if given.startswith("data:"):
            return from_data_uri(given)
        if re.match(r"https?://", given):
            raise SampleError(f"image {given[:80]!r} is not on this machine; download it first")
        file = images / given.removeprefix("file://")
        check_picture(file)
    except (SampleError, OSError) as fault:
        raise RecordError("missing image", str(fault)) from fault
    return file


def _text(text: str) -> str:
    """Replace halves of characters, which JSON can hold and no file can."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _first_text(facts: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return the first of some fields that says something; a number says itself."""
    for key in keys:
        value = facts.get(key)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            found = _text(str(value)).strip()
            if found:
                return found
    return ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
