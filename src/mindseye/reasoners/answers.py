r"""What a model answered, read from what it said.

A parser finds the raw answer or says that there is none; `parse_answer` holds it against the
options. Neither guesses: what is missing, cut off or ambiguous is no answer, so that a broken
format shows as a lower parse rate instead of as lucky or unlucky choices.

Where a marker occurs several times the last one counts, even if it was cut off: a model that ran
out of tokens while answering anew has not answered. Parsers expect text without the tokens of
latent segments, whose visible ids are noise.

Sources: Monet's recipe is a boxed letter, else boxed text matched to the options, else a "final
answer" marker (`boxed`, `final_answer`); LVR's evaluation reads what follows the last `<answer>`
(`answer_tag`); Mirage boxes its answers, too.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

from mindseye.plugins import find, register

__all__ = [
    "after_hash",
    "answer_tag",
    "boxed",
    "final_answer",
    "last_number",
    "letter",
    "parse_answer",
    "whole",
]

_BOX = re.compile(r"\\boxed\s*\{")
_TYPEFACE = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf|tt))\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
"""A brace, or a backslash and what it escapes: `\\{` is printed, and opens nothing."""

_MARK = re.compile(r"\b(?:final\s+answer\s+is\b\s*:?|answer\s+is\s*:|answer\s*:)\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|[.!?]+(?=\s|\Z)")

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_LETTER = re.compile(
    r"""\s*(?: \(([A-Za-z])\)(?!\w)                 # (B), alone or before text
             | ([A-Za-z])(?:[.:](?=\s|\Z) | \))     # B.  B:  B)
             | ([A-Za-z])\s*\Z )                    # B""",
    re.VERBOSE,
)
_BARE = re.compile(r"\s*([B-HJ-Z])(?=[\s,])")
"""A letter as the first of several words; `A` and `I` are words themselves and may open a text."""


@register("answer", "boxed")
def boxed(said: str) -> str | None:
    r"""Return what the last `\boxed{...}` holds, less commands such as `\text{}` around text."""
    *_, box = None, *_BOX.finditer(said)
    content = _group(said, box.end()) if box else None
    return _without_typefaces(content).strip() or None if content else None


def _group(text: str, start: int) -> str | None:
    """Return what stands from `start` to the brace that closes the one before it."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start : brace.start()]
    return None


def _without_typefaces(text: str) -> str:
    while face := _TYPEFACE.search(text):
        content = _group(text, face.end())
        if content is None:
            break
        text = text[: face.start()] + content + text[face.end() + len(content) + 1 :]
    return text


@register("answer", "answer_tag")
def answer_tag(said: str) -> str | None:
    """Return what follows the last `<answer>`, up to `</answer` or the end.

    LVR's evaluation goes on to the first character of it, whatever that is; this does not.
    """
    _, tag, rest = said.rpartition("<answer>")
    return rest.split("</answer")[0].strip() or None if tag else None


@register("answer", "final_answer")
def final_answer(said: str) -> str | None:
    """Return what follows the last "final answer is", "answer is:" or "answer:".

    It ends with its line or its sentence, whose full stop is left out; the dot of `3.5` ends none.
    """
    plain = said.replace("**", "")
    *_, mark = None, *_MARK.finditer(plain)
    return _SENTENCE_END.split(plain[mark.end() :], maxsplit=1)[0].strip() or None if mark else None


@register("answer", "after_hash")
def after_hash(said: str) -> str | None:
    """Return what follows the last `#`, without commas between digits, as Coconut's evaluation."""
    _, mark, rest = said.rpartition("#")
    return rest.replace(",", "").strip() or None if mark else None


@register("answer", "last_number")
def last_number(said: str) -> str | None:
    """Return the last number, without commas between digits, as CODI's evaluation does."""
    found = _NUMBER.findall(said.replace(",", ""))
    return found[-1] if found else None


@register("answer", "letter")
def letter(said: str) -> str | None:
    """Return the option letter that is all that was said, or opens it: `B`, `(B)`, `B.`, `B) cat`.

    A letter in the middle of prose, or the word "A" at its beginning, is none.
    """
    found = _LETTER.match(said.replace("**", ""))
    return found[found.lastindex or 0] if found else None


@register("answer", "whole")
def whole(said: str) -> str | None:
    """Return all that was said."""
    return said.strip() or None


def parse_answer(
    said: str, parsers: Sequence[str], sample_options: Sequence[str], gold: str
) -> str | None:
    """Read the answer from what a model said; None if it gave none.

    Without options, the first parser that finds something decides. With options, a parser whose
    finding is no option hands over to the next one, as a box with other words in it does in
    Monet's recipe. A finding is an option if it is that option's text, whatever the case and the
    punctuation, or opens with its letter (A is the first option) and is not followed by another
    option's text. If it can be read as two options it is neither.

    Args:
        said: The text, without what is visible at latents.
        parsers: Names of `answer` plug-ins, in the order to try them.
        sample_options: The sample's options, in the order the prompt lettered them.
        gold: The gold answer. What is returned is written as it is: as a letter if it is one (and
            not the text of an option), else as the option's text, so that the two can be compared.

    Raises:
        UnknownNameError: Nobody offers one of the parsers.
    """
    for name in parsers:
        raw = find("answer", name)(said)
        if raw is None:
            continue
        if not sample_options:
            return raw
        chosen = _options_meant(raw, sample_options)
        if len(chosen) == 1:
            return _as_gold(chosen.pop(), sample_options, gold)
    return None


def _options_meant(raw: str, options: Sequence[str]) -> set[int]:
    """Return every option that a raw answer can be read as."""
    texts = _with_text(raw, options)
    if texts and len(_essence(raw)) > 1:
        return texts  # all of it is an option's text; only a lone letter may be a label as well
    return texts | _with_label(raw, options)


def _with_text(raw: str, options: Sequence[str]) -> set[int]:
    if not raw.strip():
        return set()
    exact = {i for i, option in enumerate(options) if option.strip() == raw.strip()}
    essence = _essence(raw)
    return exact or {i for i, option in enumerate(options) if essence == _essence(option) != ""}


def _with_label(raw: str, options: Sequence[str]) -> set[int]:
    """Return the option whose letter opens a raw answer, and any that the rest of it names.

    A bare first word that is a letter is such a label, too, as in LVR's evaluation. Where the
    options are A, B, C ... themselves, in any order, the letter is a text.
    """
    label = _LETTER.match(raw) or _BARE.match(raw)
    if label is None:
        return set()
    said = label[label.lastindex or 0]
    labels = string.ascii_lowercase[: len(options)]
    if sorted(map(_essence, options)) == list(labels):
        named = _with_text(said, options)
    else:
        named = {labels.index(said.lower())} if said.lower() in labels else set()
    return named | _with_text(raw[label.end() :], options) if named else set()


def _as_gold(option: int, options: Sequence[str], gold: str) -> str:
    label = re.fullmatch(r"\s*\(?([A-Za-z])\)?[.:]?\s*", gold)
    if label is None or option >= len(string.ascii_uppercase) or _with_text(gold, options):
        return options[option]
    letters = string.ascii_lowercase if label[1].islower() else string.ascii_uppercase
    return gold[: label.start(1)] + letters[option] + gold[label.end(1) :]


_DASHES = re.compile("[\u2010-\u2015\u2212]")
_WRAPPERS = re.compile("[;?`()\\[\\]{}*_\u2018-\u201f\u2026]|(?<!\\d)[!'\"]")
_STOPS = re.compile(r"[.,:](?!\d)|-(?!\w)|(?<=\w)-(?=[^\W\d_])")
"""Punctuation between words. Beside a digit it is part of a number or a unit (.5, 1:2, -5, 6')."""


def _essence(text: str) -> str:
    """Return a text without case and punctuation, but with all that makes numbers differ."""
    plain = _DASHES.sub("-", unicodedata.normalize("NFC", text)).casefold()
    return " ".join(_STOPS.sub(" ", _WRAPPERS.sub(" ", plain)).split())
