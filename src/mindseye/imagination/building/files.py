"""Records in files of JSON: one per line, or an array that need not fit into memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mindseye.errors import SampleError

__all__ = ["Broken", "files_of", "records"]

_CHUNK = 1 << 20
_LINES = (".jsonl", ".ndjson")
_SUFFIXES = (*_LINES, ".json")
_ESCAPED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that is no JSON, and what the parser says of it."""

    said: str


def files_of(path: Path) -> list[Path]:
    """List the files of records under a path, in a fixed order.

    Args:
        path: A file, or a folder that is searched with all its folders.

    Raises:
        SampleError: There is no such path, or no file of records under it.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SampleError(
            f"Data {str(path)!r} is no file or folder; expected JSON, JSON lines, or a folder of "
            "them. Check the path."
        )
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
    if not found:
        raise SampleError(
            f"The folder {str(path)!r} holds no {', '.join(_SUFFIXES)} file; expected records in "
            "one of these. Name another folder."
        )
    return found


def records(file: Path) -> Iterator[tuple[str, Any]]:
    """Read one record after another, each with its place in the file.

    A broken line costs that line only. A broken array costs its rest, since nothing says where the
    next record begins.

    Args:
        file: Of JSON lines, or of one JSON array or object.

    Raises:
        SampleError: The file cannot be opened.
    """
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            if file.suffix.lower() in _LINES:
                yield from _lines(file, stream)
            else:
                yield from _array_or_lines(file, stream)
    except OSError as fault:
        raise SampleError(
            f"Data {str(file)!r} cannot be read ({fault.strerror}); expected a readable file of "
            "JSON. Check it."
        ) from fault


def _lines(file: Path, stream: TextIO) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield f"{file}:{number}", _parse(line)


def _parse(text: str) -> Any:
    try:
        return Broken("it is not UTF-8") if _is_escaped(text) else json.loads(text)
    except (ValueError, RecursionError) as fault:
        return Broken(str(fault))


def _array_or_lines(file: Path, stream: TextIO) -> Iterator[tuple[str, Any]]:
    start = stream.read(_CHUNK)
    if start.lstrip(" \t\r\n").startswith("["):
        yield from _array(file, stream, start)
        return
    whole = start + stream.read()
    first, _, rest = whole.strip().partition("\n")
    if rest and not isinstance(_parse(first), Broken):  # JSON lines under another name
        for number, line in enumerate(whole.split("\n"), start=1):
            if line.strip():
                yield f"{file}:{number}", _parse(line)
    else:
        yield f"{file}#0", _parse(whole)


def _array(file: Path, stream: TextIO, text: str) -> Iterator[tuple[str, Any]]:
    """Read the elements of an array, holding little more of it than one of them."""
    window, index = _Window(stream, text), 0
    window.take()
    while window.peek() != "]":
        try:
            if index and window.take() != ",":
                raise ValueError("expected a comma or the end of the array")
            record = window.value()
        except (ValueError, RecursionError) as fault:
            yield f"{file}#{index}", Broken(f"{fault}; the rest of the file is lost with it")
            return
        yield f"{file}#{index}", record
        index += 1


class _Window:
    """The part of a file that is being parsed."""

    def __init__(self, stream: TextIO, text: str) -> None:
        self._stream, self._text, self._at = stream, text, 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Return the next character that is no blank; nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(_CHUNK):
                return ""

    def take(self) -> str:
        """Return that character, and go on behind it."""
        character = self.peek()
        self._at += 1
        return character

    def value(self) -> Any:
        """Parse what comes next.

        Raises:
            ValueError: It is no JSON, or no UTF-8.
        """
        self.peek()
        wanted = _CHUNK
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except ValueError:
                if not self._more(wanted):
                    raise
            else:
                # What ends where the window ends may be a number whose other digits follow.
                if end < len(self._text) or not self._more(wanted):
                    if _is_escaped(self._text[self._at : end]):
                        raise ValueError("it is not UTF-8")
                    self._at = end
                    return found
            wanted *= 2  # a record of many chunks is parsed a few times, not once per chunk

    def _more(self, wanted: int) -> bool:
        text = self._stream.read(wanted)
        self._text, self._at = self._text[self._at :] + text, 0
        return bool(text)


def _is_escaped(text: str) -> bool:
    """Whether bytes that are no UTF-8 were let through."""
    return _ESCAPED.search(text) is not None
