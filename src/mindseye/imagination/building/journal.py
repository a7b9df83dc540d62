"""Every answer on disk before it counts, in a file that is only ever appended to.

The first line says what the build does; each other one is an event of one step of one item. A line
is on the disk before anybody hears of its answer, so that a build killed at any moment has lost at
most requests whose replies were not written yet. A last line that was torn is cut off.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from filelock import FileLock, Timeout

from mindseye.errors import OutputError

__all__ = ["Event", "Journal", "Spent", "Step"]

_FORMAT = 1
_NAME = "journal.jsonl"
_LOCK = ".journal.lock"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to one step of one item.

    Attributes:
        item: The item's id.
        digest: The item's content.
        step: `rewrite/0`, `rewrite/1`, ..., `refine` or `judge`.
        what: An `answer`, a reply that was `unusable`, or that the step `failed` for good.
        text: What was said.
        reason: Why it is of no use.
        tokens_in: Tokens read.
        tokens_out: Tokens written.
        tries: How often it was sent.
    """

    item: str
    digest: str
    step: str
    what: Literal["answer", "unusable", "failed"]
    text: str = ""
    reason: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Where one step of one item stands.

    Attributes:
        answer: What was said; none yet.
        failed: Why it failed for good; nothing if it did not.
        unusable: Why each reply so far was of no use.
        said: The last of these replies, or what went wrong instead.
    """

    answer: str | None = None
    failed: str = ""
    unusable: tuple[str, ...] = ()
    said: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """What an item, or all of them, took.

    Attributes:
        tokens_in: Tokens read.
        tokens_out: Tokens written.
        tries: Requests sent.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    tries: int = 0

    def plus(self, event: Event) -> Spent:
        """Return the sum."""
        return Spent(
            self.tokens_in + event.tokens_in,
            self.tokens_out + event.tokens_out,
            self.tries + event.tries,
        )


class Journal:
    """The journal of a build; a context manager, since one build at a time may write to it.

    Args:
        out: The folder of the build; made if need be.
        settings: All that an answer depends on.
        anew: Whether to put a journal that is there aside and begin again.
        retry_failed: Whether to forget that steps failed, so that they are asked again.

    Raises:
        OutputError: The folder cannot be written, another build is writing there, or the journal in
            it belongs to other settings or is damaged.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        *,
        anew: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self.path = out / _NAME
        self._settings = dict(settings)
        self._retry_failed = retry_failed
        self._steps: dict[tuple[str, str], Step] = {}
        self._digests: dict[str, str] = {}
        self._spent: dict[str, Spent] = {}
        self._mutex = threading.Lock()
        self.by_stage: dict[str, Spent] = {}
        self.n_recorded = 0
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(out / _LOCK, timeout=0)
            self._lock.acquire()
        except Timeout as fault:
            raise OutputError(
                f"Another build is writing into {str(out)!r}; one at a time can. Wait for it, or "
                "name another folder."
            ) from fault
        except OSError as fault:
            raise _unwritable(out, fault) from fault
        try:
            if anew:
                _put_aside(self.path)
            self._size = self._resume() if self.path.is_file() else self._begin()
            self._file = self.path.open("r+b", buffering=0)
            self._file.truncate(self._size)
            self._file.seek(self._size)
        except OSError as fault:
            self._lock.release()
            raise fault if isinstance(fault, OutputError) else _unwritable(out, fault) from fault

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._lock.release()

    def step(self, item: str, digest: str, name: str) -> Step:
        """Return where a step stands.

        Raises:
            OutputError: The item is not what it was when it was asked.
        """
        if self._digests.get(item, digest) != digest:
            raise OutputError(
                f"Item {item!r} has changed since {str(self.path)!r} was begun; expected the data "
                "it was begun with. Bring that back, or begin again with anew=True."
            )
        return self._steps.get((item, name), Step())

    def spent(self, item: str) -> Spent:
        """Return what an item took."""
        return self._spent.get(item, Spent())

    def record(self, event: Event) -> None:
        """Write an event; when this returns, it is on the disk.

        Raises:
            OutputError: It cannot be written. Nothing that was written before is lost.
        """
        line = f"{json.dumps(asdict(event))}\n".encode()
        with self._mutex:
            try:
                _write_all(self._file.fileno(), line)
                os.fsync(self._file.fileno())
            except OSError as fault:
                self._withdraw()
                raise OutputError(
                    f"The journal {str(self.path)!r} cannot be written "
                    f"({fault.strerror or fault}). Its {self.n_recorded} events are safe: make "
                    "room on the disk, and run the same build again to go on from there."
                ) from fault
            self._size += len(line)
            self._apply(event)

    def _withdraw(self) -> None:
        """Cut a half-written line off; if even that fails, the next build will."""
        try:
            os.ftruncate(self._file.fileno(), self._size)
            self._file.seek(self._size)
        except OSError:
            return

    def _apply(self, event: Event) -> None:
        key = event.item, event.step
        held = self._steps.get(key, Step())
        match event.what:
            case "answer":
                self._steps[key] = Step(answer=event.text)
            case "unusable":
                self._steps[key] = replace(
                    held, unusable=(*held.unusable, event.reason), said=event.text
                )
            case "failed":
                self._steps[key] = replace(held, failed=event.reason, said=event.text)
        self._digests[event.item] = event.digest
        self._spent[event.item] = self.spent(event.item).plus(event)
        stage = event.step.partition("/")[0]
        self.by_stage[stage] = self.by_stage.get(stage, Spent()).plus(event)
        self.n_recorded += 1

    def _begin(self) -> int:
        """Write the first line, whole or not at all, and return its length."""
        head = f"{json.dumps({'format': _FORMAT, 'settings': self._settings})}\n".encode()
        fresh = self.path.with_suffix(".fresh")
        with fresh.open("wb") as file:
            file.write(head)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        return len(head)

    def _resume(self) -> int:
        """Take up what was recorded, and return how long the file is without a torn last line.

        Raises:
            OutputError: It is of another build, or damaged elsewhere than at its end.
        """
        size = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    if not line.endswith(b"\n"):
                        break
                    found = json.loads(line)
                    if number == 1:
                        self._check(found)
                    else:
                        self._apply(Event(**found))
                except OutputError:
                    raise
                except Exception as fault:
                    if not file.read(1):
                        break
                    raise OutputError(
                        f"The journal {str(self.path)!r} is damaged at line {number} ({fault}); "
                        "only its last line may be torn. Restore it, or begin again with anew=True."
                    ) from fault
                size += len(line)
        if size == 0:
            return self._begin()
        if self._retry_failed:
            self._steps = {key: step for key, step in self._steps.items() if not step.failed}
        return size

    def _check(self, head: dict[str, Any]) -> None:
        """Compare what the journal's build does with what this one does.

        Raises:
            OutputError: They differ.
        """
        held = head["settings"] if head["format"] == _FORMAT else {}
        other = [
            f"{key} ({held.get(key)} then, {self._settings.get(key)} now)"
            for key in sorted(set(held) | set(self._settings))
            if held.get(key) != self._settings.get(key)
        ]
        if other:
            raise OutputError(
                f"The build in {str(self.path.parent)!r} was begun with other settings: "
                f"{'; '.join(other)}. Go on with those, name another folder, or begin again with "
                "anew=True, which keeps the old journal beside the new one."
            )


def _write_all(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def _put_aside(path: Path) -> None:
    """Rename a journal to the first free `journal-1.jsonl`, `journal-2.jsonl`, ..."""
    if not path.is_file():
        return
    number = 1
    while (aside := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    path.replace(aside)


def _unwritable(out: Path, fault: OSError) -> OutputError:
    return OutputError(
        f"The output {str(out)!r} cannot be written ({fault.strerror or fault}); expected a folder "
        "that can be created or written to. Name another one."
    )
