"""The options of a sample in another order, in question, options and answer alike."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mindseye.errors import SampleError
from mindseye.interventions.perturbations.perturbing import perturbation
from mindseye.samples import Sample

__all__ = ["other_options", "permute_options"]

_LONE = re.compile(r"\s*\(?([A-Za-z])[).:]?\s*")
_LETTERED = re.compile(r"(\s*\(?([A-Za-z])[).:]\s*)(\S.*)", re.DOTALL)
_LINE = re.compile(r"^[ \t]*\(?([A-Za-z])[).:][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_BETWEEN = r"\W+(?:(?:or|and|[A-Za-z]|\d{1,2})\W+)*?"
"""What stands between options in a question: punctuation, labels, a last "or"."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """An option, its label told apart from its text.

    Attributes:
        label: Such as `"A. "`; empty if options are bare texts.
        text: Empty if options are bare letters, whose texts only the question knows.
    """

    label: str
    text: str


@perturbation(
    "permute_options",
    keeps_grid=True,
    in_distribution="yes",
    changes_answer="no",
    touches=("question", "options", "answer"),
)
def permute_options(sample: Sample, *, rng: np.random.Generator) -> Sample:
    """List the options in another order, in which the right one stands elsewhere.

    Letters stay where they are and texts move, so that an answer given as a letter gets another
    letter and the same text.

    Args:
        sample: Its options are bare texts, lettered texts or bare letters; its answer is one of
            them, its text, or its letter; its question lists them in order.
        rng: Draws the order, evenly among those that move the right answer.

    Raises:
        SampleError: It has fewer than two options, its answer is none of them, or its question does
            not list them, so that the model would not see another order.
    """
    choices = _choices(sample)
    gold, form = _place(sample, choices)
    spans = _listed(sample, choices)
    order = rng.permutation(len(choices))
    while order[gold] == gold:
        order = rng.permutation(len(choices))
    moved = [_Choice(each.label, choices[i].text) for each, i in zip(choices, order, strict=True)]
    return replace(
        sample,
        question=_relisted(sample.question, spans, order),
        options=tuple(each.label + each.text for each in moved),
        answer=_written(sample.answer, form, moved, int(np.flatnonzero(order == gold)[0])),
    )


def other_options(sample: Sample) -> tuple[str, ...]:
    """Return the options that are not the answer, each written as the answer is.

    Raises:
        SampleError: It has fewer than two options, or its answer is none of them.
    """
    choices = _choices(sample)
    gold, form = _place(sample, choices)
    places = [place for place in range(len(choices)) if place != gold]
    return tuple(_written(sample.answer, form, choices, place) for place in places)


def _choices(sample: Sample) -> list[_Choice]:
    """Tell labels and texts apart.

    Raises:
        SampleError: There are fewer than two options.
    """
    options = sample.options
    if len(options) < 2:
        raise SampleError(
            f"Sample {sample.id!r} has {len(options)} options; two or more are needed. Choose "
            "samples with options."
        )
    if _in_order([_LONE.fullmatch(option) for option in options]):
        return [_Choice(option, "") for option in options]
    lettered = [_LETTERED.fullmatch(option) for option in options]
    if _in_order([match and re.match(r"\W*(\w)", match[1]) for match in lettered]):
        return [_Choice(match[1], match[3]) for match in lettered if match]
    return [_Choice("", option) for option in options]


def _in_order(letters: Sequence[re.Match[str] | None]) -> bool:
    """Return whether the first groups are A, B, C and so on, all small or all capital."""
    said = "".join(match[1] for match in letters if match)
    n_said = len(letters)
    return said in (string.ascii_uppercase[:n_said], string.ascii_lowercase[:n_said])


def _place(
    sample: Sample, choices: Sequence[_Choice]
) -> tuple[int, Literal["option", "text", "letter"]]:
    """Return which option is the answer, and how the answer says so.

    Raises:
        SampleError: None is.
    """
    answer = sample.answer
    if answer in sample.options:
        return sample.options.index(answer), "option"
    texts = [choice.text for choice in choices]
    if answer and answer in texts:
        return texts.index(answer), "text"
    letter = _LONE.fullmatch(answer)
    place = string.ascii_lowercase.index(letter[1].lower()) if letter else len(choices)
    if place >= len(choices):
        raise SampleError(
            f"The answer {answer!r} of sample {sample.id!r} is none of its options "
            f"{', '.join(map(repr, sample.options))}, nor the letter of one. Write it as one."
        )
    return place, "letter"


def _written(
    answer: str,
    form: Literal["option", "text", "letter"],
    choices: Sequence[_Choice],
    place: int,
) -> str:
    """Return the option at a place as an answer would say it."""
    if form == "option":
        return choices[place].label + choices[place].text
    if form == "text":
        return choices[place].text
    letters = string.ascii_lowercase if answer.strip(" (").islower() else string.ascii_uppercase
    return re.sub("[A-Za-z]", letters[place], answer, count=1)


def _listed(sample: Sample, choices: Sequence[_Choice]) -> list[tuple[int, int]]:
    """Return where the question lists the text of each option; the last list counts.

    Raises:
        SampleError: It does not list them all, in order.
    """
    if all(choice.text for choice in choices):
        texts = [rf"(?<!\w)({re.escape(choice.text)})(?!\w)" for choice in choices]
        lists = list(re.finditer(_BETWEEN.join(texts), sample.question))
        spans = [lists[-1].span(i + 1) for i in range(len(choices))] if lists else []
    else:
        lines = list(_LINE.finditer(sample.question))[-len(choices) :]
        in_order = len(lines) == len(choices) and _in_order(lines)
        spans = [line.span(2) for line in lines] if in_order else []
    if not spans:
        raise SampleError(
            f"The question of sample {sample.id!r} does not list its options "
            f"{', '.join(map(repr, sample.options))} in order; another order would not reach the "
            "model. Write them into the question, such as one a line after its letter."
        )
    return spans


def _relisted(question: str, spans: Sequence[tuple[int, int]], order: np.ndarray) -> str:
    """Return a question in which the text at each span is another one's."""
    pieces, end = [], 0
    for (start, stop), i in zip(spans, order, strict=True):
        pieces += [question[end:start], question[slice(*spans[i])]]
        end = stop
    return "".join([*pieces, question[end:]])
