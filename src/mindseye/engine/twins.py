"""The two runs of each pair, as every experiment begins with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mindseye.engine.contrast import Contrast, contrast
from mindseye.engine.levels import aligned
from mindseye.errors import SampleError
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Pair

__all__ = ["Track", "Twins", "comparable", "twin_runs"]

_POSITIONS_AT_ONCE = 4096
"""About so many positions of prompts run as one batch; small models gain, large ones fill up."""

Track = Callable[[Sequence[Pair]], Iterable[Pair]]
"""Wraps pairs, to show progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Twins:
    """The runs of a pair.

    Attributes:
        pair: The pair.
        parting: Where its answers part.
        said: The runs as they were, clean and reference.
        clean: The clean run, cut where the answers part.
        reference: The other one, cut likewise.
    """

    pair: Pair
    parting: Contrast
    said: tuple[Trace, Trace]
    clean: Trace
    reference: Trace

    @property
    def imagined(self) -> bool:
        """Whether both imagined, and words came to the mark after which the answer stands."""
        return all(
            trace.emitted
            and not (trace.reasoner.protocol.in_words and trace.segments[-1].end is None)
            for trace in self.said
        )

    @property
    def comparable(self) -> bool:
        """Whether both imagined, at the same positions."""
        return self.imagined and aligned(self.clean, self.reference)


def twin_runs(
    reasoner: Reasoner, pairs: Sequence[Pair], track: Track = iter, *, whole_answer: bool = False
) -> Iterator[Twins]:
    """Run both samples of every pair, several pairs at a time, and keep keys and values.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples.
        track: Wraps the pairs, to show progress.
        whole_answer: Whether runs are cut at the end of the clean answer, which is fed, instead of
            where the two answers part.
    """
    waiting: list[Pair] = []
    size = 1
    for pair in track(pairs):
        waiting.append(pair)
        if len(waiting) < size:
            continue
        for twins in _run(reasoner, waiting, whole_answer):
            size = max(1, _POSITIONS_AT_ONCE // (2 * len(twins.said[0].labels)))
            yield twins
        waiting = []
    yield from _run(reasoner, waiting, whole_answer)


def comparable(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    at: str = "latents",
    track: Track = iter,
    *,
    same_positions: bool = True,
) -> Iterator[Twins]:
    """Run pairs and leave out those whose runs cannot be patched into each other.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples.
        at: What is going to be patched, for the message.
        track: Wraps the pairs, to show progress.
        same_positions: Whether segments must stand at the same positions; words need not.

    Raises:
        SampleError: None of the pairs can.
    """
    found = False
    for twins in twin_runs(reasoner, pairs, track):
        if twins.comparable or (twins.imagined and not same_positions):
            found = True
            yield twins
    if not found:
        raise SampleError(
            f"None of {len(pairs)} pairs gave two runs with segments at the same positions to "
            f"patch at {at!r}. Check the emission rate with reasoner.run(sample).emitted, and that "
            "segments are of one length."
        )


def _run(reasoner: Reasoner, pairs: list[Pair], whole_answer: bool) -> Iterator[Twins]:
    partings = [contrast(reasoner, pair) for pair in pairs]
    samples = [sample for pair in pairs for sample in (pair.clean, pair.reference)]
    try:
        traces = reasoner.run_batch(samples, past_key_values=True)
    except SampleError:  # images that make no batch still make runs
        traces = [reasoner.run(sample, past_key_values=True) for sample in samples]
    for index, (pair, parting) in enumerate(zip(pairs, partings, strict=True)):
        said = traces[2 * index], traces[2 * index + 1]
        fed = parting.answer[:-1] if whole_answer else parting.forced
        clean, reference = (trace.until_answer(fed) for trace in said)
        yield Twins(pair, parting, said, clean, reference)
