"""Getting a folder of files onto the disk: whole, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mindseye.errors import OutputError

__all__ = ["FILES", "check_writable", "write_whole"]

FILES = ("report.html", "latents.html", "summary.json", "rows.parquet", "replacements.parquet")
"""What a report's folder holds."""


def check_writable(out: Path) -> None:
    """Make sure that a report can be written into the folder `out`, leaving no trace of the try.

    Call it before computing for an hour.

    Raises:
        OutputError: `out` is a file, lies under one, or cannot be created or written.
    """
    with _explained(out):
        _refuse_files(out)
        made = _make_folders(out)
        try:
            with tempfile.TemporaryDirectory(prefix=".mindseye-", dir=out):
                pass
        finally:
            _remove_folders(made)


def write_whole(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into the folder `out`: all of them, or none.

    They are written into a hidden folder first and then moved. If anything fails, `out` is as it
    was before, and absent if it was absent; its other files are left alone.

    Args:
        out: The folder; made if need be, with its parents.
        contents: What to write, by file name.

    Raises:
        OutputError: `out` cannot be written.
    """
    with _explained(out):
        _refuse_files(out)
        made = _make_folders(out)
        try:
            # Inside `out`, which may be a mount point: only there is a move sure to be a rename.
            with tempfile.TemporaryDirectory(prefix=".mindseye-", dir=out) as work:
                fresh, former = Path(work, "fresh"), Path(work, "former")
                fresh.mkdir()
                former.mkdir()
                for name, content in contents.items():
                    (fresh / name).write_bytes(content)
                _move_all(fresh, out, former)
        except BaseException:
            _remove_folders(made)
            raise


def _move_all(fresh: Path, out: Path, former: Path) -> None:
    """Move every file of `fresh` into `out`; put back what was there if one cannot be moved."""
    moved: list[Path] = []
    kept: list[Path] = []
    try:
        for path in sorted(fresh.iterdir()):
            target = out / path.name
            if target.exists():
                target.replace(former / path.name)
                kept.append(target)
            path.replace(target)
            moved.append(target)
    except BaseException:
        for target in moved:
            target.unlink()
        for target in kept:
            (former / target.name).replace(target)
        raise


def _refuse_files(out: Path) -> None:
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            where = "is a file" if place == out else f"lies under the file {str(place)!r}"
            raise OutputError(
                f"The output {str(out)!r} {where}; expected a folder to write a report into. "
                "Name another folder, or move the file away."
            )
    for name in FILES:
        if (out / name).is_dir():
            raise OutputError(
                f"The output {str(out)!r} holds a folder called {name!r}; expected to write a file "
                "of that name. Name another folder, or move that one away."
            )


def _make_folders(out: Path) -> list[Path]:
    """Create `out` and its missing parents, and return what was created, innermost first."""
    missing = [place for place in (out, *out.parents) if not place.exists()]
    made: list[Path] = []
    try:
        for place in reversed(missing):
            place.mkdir()
            made.insert(0, place)
    except BaseException:
        _remove_folders(made)
        raise
    return made


def _remove_folders(made: list[Path]) -> None:
    for place in made:
        # Somebody else may have put something there meanwhile; theirs is not ours to remove.
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn what the operating system says into an `OutputError` of one line."""
    try:
        yield
    except OutputError:
        raise
    except (OSError, ValueError) as fault:
        said = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        raise OutputError(
            f"The output {str(out)!r} cannot be written ({said}); expected a folder that can be "
            "created or written to. Name another one."
        ) from fault
