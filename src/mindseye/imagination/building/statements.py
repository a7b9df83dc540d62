"""Telling the answer from the reasoning that leads to it."""

from __future__ import annotations

import re

from mindseye.reasoners.answers import answer_tag, boxed, final_answer

__all__ = ["split_answer"]

_FORMS = (
    (re.compile(r"\\boxed\s*\{"), boxed),
    (re.compile(r"<answer>"), answer_tag),
    (
        re.compile(r"\b(?:final\s+answer\s+is\b|answer\s+is\s*:|answer\s*:)", re.IGNORECASE),
        final_answer,
    ),
)
_SENTENCE = re.compile(r"[.!?][\"')\]*]*\s+|\n")


def split_answer(said: str) -> tuple[str, str | None]:
    r"""Split a text into its reasoning and the answer it ends with, if it states one.

    The sentence that states the answer goes with it, and all that follows: a chain of reasoning
    that gives the answer away would be no imagination.

    Args:
        said: The last words of a chain of reasoning.

    Returns:
        What stands before that sentence, and what `\boxed{}`, `<answer>` or "answer: ..." holds.
    """
    for form, read in _FORMS:
        *_, mark = None, *form.finditer(said)
        answer = read(said) if mark else None
        if mark and answer:
            *_, end = None, *_SENTENCE.finditer(said, 0, mark.start())
            return said[: end.end() if end else 0].strip(), answer
    return said.strip(), None
