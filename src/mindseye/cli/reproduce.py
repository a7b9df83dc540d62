"""A paper's argument on the command line: `mindseye reproduce`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mindseye.cli.options import Seed, quiet

__all__ = ["reproduce"]


def reproduce(
    paper: Annotated[str, typer.Argument(help="The arXiv number; there is 2602.22766.")],
    mini: Annotated[
        bool, typer.Option("--mini", help="On the shipped small models, three seeds of each.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for a page, a summary and a table.")] = Path(
        "mindseye-reproduction"
    ),
    n_pairs: Annotated[int, typer.Option("--pairs", min=8, help="Pairs that are edited.")] = 80,
    model: Annotated[
        list[str],
        typer.Option(help="Another model: natural=FOLDER, capimagine=… or direct=…; repeat it."),
    ] = [],  # noqa: B006  typer reads it once
    seed: Seed = 0,
) -> None:
    """Run a paper's whole argument and say where the outcome agrees with what is published.

    2602.22766: latents do next to nothing, words do better. The small models differ only in how
    they imagine: in latents (natural), in words (capimagine), not at all (direct).
    """
    import time

    from mindseye.errors import ModelError
    from mindseye.report import check_writable, reproduction_table, write_reproduction
    from mindseye.studies import reproduce as run_reproduction
    from mindseye.studies.reproduction import check_paper

    began = time.perf_counter()
    check_paper(paper)
    if not mini:
        raise ModelError(
            f"reproduce {paper} got no --mini; expected it, since only the small models are here. "
            "Add --mini, or audit a published model with: mindseye audit MODEL."
        )
    check_writable(out)
    quiet()
    asked: dict[str, Any] = {"models": _named(model)} if model else {}
    with _Bars() as bars:
        found = run_reproduction(**asked, n_pairs=n_pairs, seed=seed, track=bars.track)
    page = write_reproduction(found, out)
    console = Console()
    console.print(reproduction_table(found))
    console.print(
        f"Report: {page.resolve()}  ({time.perf_counter() - began:.0f} s)", soft_wrap=True
    )


class _Bars:
    """Progress bars on the error stream, one per stage."""

    def __init__(self) -> None:
        from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

        columns = Progress.get_default_columns()
        self._progress = Progress(
            *columns[:2], MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True)
        )

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def track(self, title: str, items: Sequence[Any]) -> Iterable[Any]:
        return self._progress.track(items, description=title)


def _named(given: Sequence[str]) -> dict[str, list[str]]:
    """Return models by way, from natural=FOLDER and the like.

    Raises:
        UnknownNameError: Something without an equals sign.
    """
    from mindseye.errors import UnknownNameError

    found: dict[str, list[str]] = {}
    for each in given:
        way, equals, name = each.partition("=")
        if not (equals and name):
            raise UnknownNameError(
                f"--model got {each!r}; expected a way and a model, such as natural=FOLDER."
            )
        found.setdefault(way, []).append(name)
    return found
