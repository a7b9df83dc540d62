"""The one interface of captioners and judges, and what makes a reply unusable."""

from __future__ import annotations

import re
import typing
from dataclasses import dataclass, replace

from mindseye.imagination.building.items import Picture

__all__ = ["Asker", "Reply", "Request", "Unanswered", "Unusable", "cleaned"]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What is asked: pictures, then words.

    Attributes:
        text: The words.
        images: The pictures, in the order that the words call first, second and so on.
        max_new_tokens: Most tokens of the reply.
    """

    text: str
    images: tuple[Picture, ...] = ()
    max_new_tokens: int = 512

    def after(self, complaint: str) -> Request:
        """Return the same request, saying why the last reply to it was of no use."""
        return replace(
            self,
            text=f"{self.text}\n\nYour last reply could not be used: {complaint}. Reply again.",
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What was said.

    Attributes:
        text: The words.
        finish: Why they end: `stop`, `length` if they were cut off, or `refusal`.
        tokens_in: Tokens read, pictures included, as far as the asker knows.
        tokens_out: Tokens written.
        tries: How often it had to be sent.
    """

    text: str
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    tries: int = 1


class Unanswered(Exception):
    """No reply came, however often it was tried; the item fails and the build goes on.

    Args:
        reason: In a few words that are the same for all items that fail so.
        tries: How often it was sent.
        said: What exactly went wrong, where the reason leaves that open.
    """

    def __init__(self, reason: str, tries: int = 1, said: str = "") -> None:
        super().__init__(reason)
        self.tries = tries
        self.said = said


class Unusable(ValueError):
    """A reply that is no answer to what was asked, and why."""


@typing.runtime_checkable
class Asker(typing.Protocol):
    """Whoever describes pictures, rewrites chains or judges them.

    Attributes:
        name: Tells it from others; a build that is resumed must have the same.
    """

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def ask(self, request: Request) -> Reply:
        """Answer a request; may be called from several threads at once.

        Raises:
            Unanswered: It got no reply.
            ModelError: It can answer nobody, so that the build had better stop.
        """
        ...


_THOUGHT = re.compile(r"\A\s*(?:<think>)?.*?</think>", re.DOTALL)
_REFUSAL = re.compile(
    r"(?i)\A\W*(?:i'?m (?:really |very |so )?sorry|sorry,|i apologi[sz]e|as an ai\b"
    r"|i (?:can ?not|can't|am unable|am not able|won't)|i'm (?:unable|not able)"
    r"|unfortunately,? i (?:can|am))"
)
_LETTER = re.compile(r"[^\W\d_]|\d")


def cleaned(reply: Reply) -> str:
    """Return a reply's words, less the thoughts that some models put before them.

    Raises:
        Unusable: It is empty, without a letter or digit, cut off, or a refusal.
    """
    if reply.finish == "refusal":
        raise Unusable("refusal")
    if reply.finish == "length":
        raise Unusable("cut off at the most tokens allowed")
    said = _THOUGHT.sub("", reply.text, count=1).strip()
    if not said:
        raise Unusable("empty reply")
    if not _LETTER.search(said):
        raise Unusable("no word in the reply")
    if _REFUSAL.match(said.replace("\u2019", "'")):
        raise Unusable("refusal")
    return said
