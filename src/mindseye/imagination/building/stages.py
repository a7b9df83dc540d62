"""One item's way through rewrite, refine and filter."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from mindseye.errors import ModelError, SampleError
from mindseye.imagination.building.asking import (
    Asker,
    Reply,
    Request,
    Unanswered,
    Unusable,
    cleaned,
)
from mindseye.imagination.building.items import Helper, Item, Picture, Words
from mindseye.imagination.building.journal import Event, Journal
from mindseye.imagination.building.pictures import highlight
from mindseye.imagination.building.prompts import Prompts
from mindseye.imagination.building.settings import PLACEHOLDER, Settings
from mindseye.samples import read_image

__all__ = ["STAGES", "VERDICTS", "Outcome", "Stages"]

STAGES = ("rewrite", "refine", "judge")
"""What an item goes through."""

VERDICTS = ("keep", "contradiction", "ambiguous", "unanswerable")
"""What a judge may say."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item.

    Attributes:
        what: Whether it is `kept`, `rejected` by the judge, `failed` at a step, or `faulty` itself.
        reason: The judge's verdict, or why it failed, in words that others share.
        said: The judge's reason, the reply that could not be used, or the fault, in full.
        captions: What stands where its helper images stood.
        imagination: The chain in words.
    """

    what: Literal["kept", "rejected", "failed", "faulty"]
    reason: str = ""
    said: str = ""
    captions: tuple[str, ...] = ()
    imagination: str = ""


class _StepFailed(Exception):
    """A step of an item that failed for good."""

    def __init__(self, step: str, reason: str, said: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.said = f"{step}: {said or reason}"


class _Silence:
    """Counts requests in a row that got no reply."""

    def __init__(self) -> None:
        self._length = 0
        self._lock = threading.Lock()

    def ended(self) -> None:
        with self._lock:
            self._length = 0

    def longer(self, most: int, name: str, fault: Unanswered) -> None:
        """Count one more.

        Raises:
            ModelError: They are too many to be the items' fault.
        """
        with self._lock:
            self._length += 1
            length = self._length
        if length >= most:
            raise ModelError(
                f"{name!r} left {length} requests in a row without a reply ({fault}); expected a "
                "model that answers some. What was answered is recorded: mend it, and build again "
                "with retry_failed=True."
            ) from fault


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """What every item of a build goes through.

    Attributes:
        settings: Which stages there are, and their bounds.
        prompts: What is asked.
        captioner: Who describes helper images and refines chains.
        judge: Who decides what is kept.
        journal: Where answers are.
        stopping: Once set, nothing more is asked, so that a build which ends early ends soon.
    """

    settings: Settings
    prompts: Prompts
    captioner: Asker | None
    judge: Asker | None
    journal: Journal
    stopping: threading.Event = field(default_factory=threading.Event)
    _silence: _Silence = field(default_factory=_Silence)

    def outcome(self, item: Item) -> Outcome:
        """Take an item as far as it goes; what the journal holds already is not asked again.

        Raises:
            OutputError: The journal cannot be written, or is of other data.
            ModelError: Captioner or judge can answer nobody.
        """
        captions: tuple[str, ...] = ()
        imagination = ""
        try:
            for picture in (*item.images, *(helper.image for helper in item.helpers)):
                read_image(picture)  # whole, also where nobody is shown it
            captions = self._rewrite(item)
            imagination = self._refine(item, captions)
            verdict, said = self._judge(item, imagination)
        except _StepFailed as fault:
            return Outcome("failed", fault.reason, fault.said, captions, imagination)
        except SampleError as fault:
            return Outcome("faulty", "missing image", str(fault), captions, imagination)
        what = "kept" if verdict in ("keep", "not judged") else "rejected"
        return Outcome(what, verdict, said, captions, imagination)

    def _rewrite(self, item: Item) -> tuple[str, ...]:
        """Return words for every helper image, in order."""
        if self.settings.rewriting == "placeholder":
            return (PLACEHOLDER,) * len(item.helpers)
        if self.settings.rewriting == "own":
            return tuple(helper.text or "" for helper in item.helpers)
        captions: list[str] = []
        for helper in item.helpers:
            step = f"rewrite/{len(captions)}"
            captions.append(
                self._consult(
                    item,
                    step,
                    self.captioner,
                    lambda helper=helper: Request(
                        self.prompts.fill(
                            f"rewrite-{helper.kind}",
                            question=item.question,
                            context=_chain(item, captions, until=helper) or "none yet",
                        ),
                        _shown(item, helper),
                        self.settings.max_new_tokens,
                    ),
                    str,
                )
            )
        return tuple(captions)

    def _refine(self, item: Item, captions: tuple[str, ...]) -> str:
        """Return the whole chain, as one text if asked for."""
        chain = _chain(item, captions)
        if not self.settings.refining or not chain:
            return chain

        def request() -> Request:
            text = self.prompts.fill("refine", question=item.question, chain=chain)
            return Request(text, max_new_tokens=self.settings.max_new_tokens)

        return self._consult(item, "refine", self.captioner, request, str)

    def _judge(self, item: Item, imagination: str) -> tuple[str, str]:
        """Return the verdict on an item, and its reason."""
        if not self.settings.filtering:
            return "not judged", ""

        def request() -> Request:
            text = self.prompts.fill(
                "judge", question=item.question, answer=item.answer, imagination=imagination
            )
            return Request(text, item.images, self.settings.max_new_tokens)

        return self._consult(item, "judge", self.judge, request, _verdict)

    def _consult(
        self,
        item: Item,
        name: str,
        asker: Asker | None,
        request: Callable[[], Request],
        understand: Callable[[str], T],
    ) -> T:
        """Return what one step of an item came to, from the journal or by asking.

        Raises:
            _StepFailed: No reply came, or none that can be used.
        """
        assert asker is not None
        step = self.journal.step(item.id, item.digest, name)
        if step.answer is not None:
            return understand(step.answer)
        if step.failed:
            raise _StepFailed(name, step.failed, step.said)
        unusable, last = list(step.unusable), step.said
        while len(unusable) < self.settings.attempts:
            asked = request().after(unusable[-1]) if unusable else request()
            reply = self._reply(item, name, asker, asked)
            took = _took(item, name, reply)
            try:
                said = cleaned(reply)
                meaning = understand(said)
            except Unusable as fault:
                unusable.append(str(fault))
                last = reply.text
                self.journal.record(replace(took, reason=str(fault)))
                continue
            self.journal.record(replace(took, what="answer", text=said))
            return meaning
        raise self._failed(item, name, unusable[-1], last)

    def _reply(self, item: Item, name: str, asker: Asker, request: Request) -> Reply:
        """Ask once.

        Raises:
            _StepFailed: No reply came.
            ModelError: None has come for long.
            CancelledError: The build is ending.
        """
        if self.stopping.is_set():
            raise CancelledError
        try:
            reply = asker.ask(request)
        except Unanswered as fault:
            failed = self._failed(item, name, str(fault), fault.said, fault.tries)
            self._silence.longer(self.settings.give_up_after, asker.name, fault)
            raise failed from fault
        self._silence.ended()
        return reply

    def _failed(self, item: Item, name: str, reason: str, said: str, tries: int = 0) -> _StepFailed:
        """Record that a step failed for good, and return that as an exception."""
        self.journal.record(Event(item.id, item.digest, name, "failed", said, reason, tries=tries))
        return _StepFailed(name, reason, said)


def _took(item: Item, name: str, reply: Reply) -> Event:
    """Return a reply as an event, of no use until it is understood."""
    return Event(
        item.id,
        item.digest,
        name,
        "unusable",
        reply.text,
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        tries=reply.tries,
    )


def _chain(item: Item, captions: list[str] | tuple[str, ...], until: Helper | None = None) -> str:
    """Return the steps in words, up to a helper image if one is named."""
    waiting = iter(captions)
    texts: list[str] = []
    for step in item.steps:
        if step is until:
            break
        texts.append(step.text if isinstance(step, Words) else next(waiting))
    return "\n".join(text for text in texts if text)


def _shown(item: Item, helper: Helper) -> tuple[Picture, ...]:
    """Return the question's pictures, a zoom's region framed in the first, and then the helper."""
    images = list(item.images)
    if helper.kind == "zoom" and helper.box is not None and images:
        images[0] = highlight(read_image(images[0]), helper.box)
    return (*images, helper.image)


def _verdict(said: str) -> tuple[str, str]:
    """Read a judge's JSON, alone or in a fence.

    Raises:
        Unusable: It is no JSON, or says something else.
    """
    try:
        found = json.loads(said[said.index("{") : said.rindex("}") + 1])
        verdict, reason = found["verdict"], found["reason"]
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise Unusable("not one JSON object with verdict and reason") from fault
    if verdict not in VERDICTS:
        raise Unusable(f"the verdict is none of {', '.join(VERDICTS)}")
    if not isinstance(reason, str) or not reason.strip():
        raise Unusable("the reason is no text")
    return verdict, reason.strip()
