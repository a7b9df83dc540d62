"""`build`: from interleaved reasoning data to a data set of text imagination, and a report."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from mindseye.errors import MindseyeError, SampleError
from mindseye.imagination.building.asking import Asker
from mindseye.imagination.building.items import Item
from mindseye.imagination.building.journal import Journal, Spent
from mindseye.imagination.building.output import (
    Kept,
    StoredImages,
    fresh_folder,
    need_datasets,
    with_files,
)
from mindseye.imagination.building.prompts import Prompts
from mindseye.imagination.building.reading import Data, Fault, OnFault, read_items
from mindseye.imagination.building.reporting import Example, example, write_reports
from mindseye.imagination.building.settings import Settings, check_choice
from mindseye.imagination.building.stages import Outcome, Stages

__all__ = ["BuildReport", "Progress", "build"]

_WINDOW = 4
"""Items taken up per worker: a slow one holds up the rest only after so many."""


_MOST_EXAMPLES = 100
"""On the page, which holds their pictures."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is.

    Attributes:
        done: Items that are through.
        outcomes: How many of them were `kept`, `rejected`, `failed` or `faulty`.
        tokens_in: Tokens read so far, by earlier runs of the same build, too.
        tokens_out: Tokens written so far.
    """

    done: int
    outcomes: Mapping[str, int]
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, eq=False)
class BuildReport:
    """What came out of a build.

    Attributes:
        out: The folder: `dataset/`, `dataset.parquet`, `items.parquet`, `report.json`,
            `report.html` and the journal.
        rows: One row per item, in the order of the data.
        faults: The records that are no items, with their places.
        spent: Tokens and requests of the stages `rewrite`, `refine` and `judge`.
        seconds: That this run took.
    """

    out: Path
    rows: pd.DataFrame
    faults: tuple[Fault, ...]
    spent: Mapping[str, Spent]
    seconds: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per item: what became of it, why, and what it took."""
        return self.rows

    @property
    def counts(self) -> pd.DataFrame:
        """Items per source, outcome and reason."""
        return _counts(self.rows)

    @property
    def n_kept(self) -> int:
        """Items in the data set."""
        return int((self.rows["outcome"] == "kept").sum())


def build(
    data: Data,
    out: str | Path,
    *,
    captioner: Asker | None = None,
    judge: Asker | None = None,
    settings: Settings | None = None,
    prompts: str | Path | None = None,
    images: str | Path | None = None,
    on_fault: OnFault = "skip",
    limit: int | None = None,
    store_images: StoredImages = "embedded",
    anew: bool = False,
    retry_failed: bool = False,
    n_examples: int = 2,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> BuildReport:
    """Turn helper images into words, make each chain read as one, and keep what a judge lets pass.

    Every reply is on the disk before it counts. A build that was stopped, by whatever, goes on when
    it is called again with the same arguments, and asks nothing again that it has an answer to.

    Args:
        data: A file or folder of records, or items or samples in memory; see `read_items`.
        out: Where everything is written; the journal of a build that was stopped is taken up.
        captioner: Who describes helper images and refines chains.
        judge: Who decides what is kept.
        settings: The stages and their bounds; the paper's, if left out.
        prompts: A folder of own prompts; those missing in it are ours.
        images: The folder that image paths start from; each file's own folder if left out.
        on_fault: Whether records that are no items are skipped, or stop the build.
        limit: Build only so many items, from the beginning.
        store_images: Whether the data set holds the pictures (`embedded`) or their `paths`.
        anew: Begin again although `out` holds a journal, which is put aside.
        retry_failed: Ask again for what failed in an earlier run.
        n_examples: To show on the page, of every source and reason.
        progress: Is told after every item.

    Raises:
        MindseyeError: A captioner or judge is needed and missing, a prompt cannot be used, a word
            is no choice, or a library is not installed.
        SampleError: There are no items, or a record is none and `on_fault` is `stop`.
        ModelError: Captioner or judge can answer nobody.
        OutputError: `out` cannot be written, is full, or holds a build of other settings or data.

    Source: arXiv 2602.22766, section 4; the paper gives no prompts, so that ours are our own.
    """
    began = time.perf_counter()
    settings, out, wording = settings or Settings(), Path(out), Prompts.load(prompts)
    check_choice("on_fault", on_fault, get_args(OnFault))
    check_choice("store_images", store_images, get_args(StoredImages))
    _check_askers(settings, captioner, judge)
    need_datasets()  # missing at the end of a long build, it would be missed more
    held = data if isinstance(data, str | Path) else list(data)
    read = partial(read_items, held, images=images, kinds=settings.kinds)
    told = settings.told(wording, captioner, judge)
    faults: list[Fault] = []
    with Journal(out, told, anew=anew, retry_failed=retry_failed) as journal:
        stages = Stages(settings, wording, captioner, judge, journal)
        items = islice(read(on_fault=on_fault, tell=faults.append), limit)
        if store_images == "paths":
            items = with_files(items)
        outcomes: dict[str, Outcome] = {}
        rows: list[dict[str, Any]] = []
        for item, outcome in _in_order(items, stages):
            if outcome.what == "faulty":
                faults.append(_fault_of(item, outcome, on_fault))
            outcomes[item.id] = outcome
            rows.append(_row(item, outcome, journal.spent(item.id)))
            progress(_progress(rows, journal))
        _check_any(rows, faults, data)
        table = pd.DataFrame(rows)
        with fresh_folder(out) as folder:
            again = islice(read(on_fault="skip"), limit)
            examples = _write_kept(again, outcomes, folder, store_images, n_examples)
            write_reports(folder, table, _counts(table), faults, journal.by_stage, told, examples)
    return BuildReport(
        out, table, tuple(faults), dict(journal.by_stage), time.perf_counter() - began
    )


def _check_askers(settings: Settings, captioner: Asker | None, judge: Asker | None) -> None:
    """Refuse a build in which somebody is to be asked who is not there.

    Raises:
        MindseyeError: The captioner or the judge is missing.
    """
    if captioner is None and (settings.rewriting == "captioner" or settings.refining):
        raise MindseyeError(
            "A build that rewrites or refines got captioner=None; expected an Endpoint or a "
            "LocalModel. Pass one, or settings with another rewriting and refining=False."
        )
    if judge is None and settings.filtering:
        raise MindseyeError(
            "A build that filters got judge=None; expected an Endpoint or a LocalModel, which may "
            "be the captioner. Pass one, or settings with filtering=False."
        )


def _check_any(rows: list[dict[str, Any]], faults: list[Fault], data: Data) -> None:
    """Refuse data in which there is nothing to build.

    Raises:
        SampleError: No record is an item.
    """
    if not rows:
        counts = ", ".join(f"{n} x {code}" for code, n in Counter(f.code for f in faults).items())
        first = f" The first: {faults[0].place}: {faults[0].said}." if faults else ""
        name = repr(str(data)) if isinstance(data, str | Path) else "The data"
        raise SampleError(
            f"{name} holds no item ({counts or 'no record at all'}).{first} Expected a question, a "
            "helper image among the steps, and an answer. Mend the data, or name another."
        )


def _in_order(items: Iterable[Item], stages: Stages) -> Iterator[tuple[Item, Outcome]]:
    """Work on several items at once; outcomes come in the order of the items."""
    waiting: deque[tuple[Item, Future[Outcome]]] = deque()
    workers = stages.settings.workers
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mindseye-build")
    try:
        for item in items:
            waiting.append((item, pool.submit(stages.outcome, item)))
            if len(waiting) >= _WINDOW * workers:
                head, future = waiting.popleft()
                yield head, future.result()
        while waiting:
            head, future = waiting.popleft()
            yield head, future.result()
    finally:
        stages.stopping.set()
        pool.shutdown(cancel_futures=True)


def _fault_of(item: Item, outcome: Outcome, on_fault: OnFault) -> Fault:
    """Return what is wrong with an item whose pictures turned out to be broken.

    Raises:
        SampleError: `on_fault` is `stop`.
    """
    if on_fault == "stop":
        raise SampleError(
            f"{item.place}: {outcome.reason}: {outcome.said} Mend the record, or pass "
            "on_fault='skip' to go on without such records."
        )
    return Fault(item.place, outcome.reason, outcome.said)


def _row(item: Item, outcome: Outcome, spent: Spent) -> dict[str, Any]:
    return {
        "id": item.id,
        "source": item.source,
        "place": item.place,
        "outcome": outcome.what,
        "reason": outcome.reason,
        "said": outcome.said,
        "n_helpers": len(item.helpers),
        "tokens_in": spent.tokens_in,
        "tokens_out": spent.tokens_out,
        "tries": spent.tries,
    }


def _progress(rows: list[dict[str, Any]], journal: Journal) -> Progress:
    spent = list(journal.by_stage.values())
    return Progress(
        done=len(rows),
        outcomes=Counter(row["outcome"] for row in rows),
        tokens_in=sum(each.tokens_in for each in spent),
        tokens_out=sum(each.tokens_out for each in spent),
    )


def _counts(table: pd.DataFrame) -> pd.DataFrame:
    by = ["source", "outcome", "reason"]
    return table.groupby(by, sort=True).size().reset_index(name="items")


def _write_kept(
    items: Iterable[Item],
    outcomes: Mapping[str, Outcome],
    folder: Path,
    store_images: StoredImages,
    n_examples: int,
) -> list[Example]:
    """Write the data set, and choose examples on the way."""
    kept, examples, shown = Kept(folder, store_images), [], Counter[tuple[str, str]]()
    try:
        for item in items:
            outcome = outcomes.get(item.id)
            if outcome is None or outcome.what == "faulty":
                continue
            if outcome.what == "kept":
                kept.add(item, outcome)
            key = item.source, outcome.reason
            if shown[key] < n_examples and len(examples) < _MOST_EXAMPLES:
                shown[key] += 1
                examples.append(example(item, outcome))
        kept.finish()
    finally:
        kept.close()
    return examples
