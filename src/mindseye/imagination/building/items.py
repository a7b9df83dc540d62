"""One item of interleaved reasoning data, whatever file it came from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mindseye.samples import Box, Pixels

__all__ = ["Helper", "Item", "Kind", "Picture", "Words"]

Picture = Path | Pixels
"""A picture: a file, or pixels."""

Kind = Literal["zoom", "manipulation"]
"""What a helper image does: it shows a part again, or it shows the picture changed."""


@dataclass(frozen=True, slots=True)
class Words:
    """A step of reasoning that was written."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Helper:
    """A step of reasoning that was drawn.

    Attributes:
        image: What the step shows.
        kind: What it does to the picture of the question.
        box: The part of that picture that it shows again, where known.
        text: The data's own words for it, where it has any.
    """

    image: Picture
    kind: Kind
    box: Box | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A question, the pictures it is about, and the steps that lead to its answer.

    Attributes:
        id: Unique within a build.
        source: The data set it came from.
        question: What is asked.
        images: The pictures of the question.
        steps: Words and helper images, in order; the sentence that states the answer is left out.
        answer: The gold answer.
        place: Where it was found, for messages.
    """

    id: str
    source: str
    question: str
    images: tuple[Picture, ...]
    steps: tuple[Words | Helper, ...]
    answer: str
    place: str = ""

    @property
    def helpers(self) -> tuple[Helper, ...]:
        """The steps that were drawn."""
        return tuple(step for step in self.steps if isinstance(step, Helper))

    @property
    def digest(self) -> str:
        """Tells this item from another of the same id; files count by their name."""
        parts: list[object] = [self.source, self.question, self.answer]
        parts += [_trace(image) for image in self.images]
        for step in self.steps:
            if isinstance(step, Words):
                parts.append(step.text)
            else:
                parts.append([_trace(step.image), step.kind, step.box, step.text])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _trace(picture: Picture) -> str:
    if isinstance(picture, Path):
        return picture.name
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()
