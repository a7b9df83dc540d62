"""What happened in a run, told from its ids alone, so that comparisons can prove they saw it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.reasoners.official import Ids

__all__ = ["Record"]


@dataclass
class Record:
    """One run, step by step.

    Attributes:
        ids: What the ids mean.
        n_slots: Most latents in a segment.
        last: The prompt's last id.
        limit: Most ids to generate.
        sampled: What the model chose at each step.
        visible: What was made of it.
        states: Whether the next vector to be fed was that step's state.
        stopped: Whether the last step ended the run.
    """

    ids: Ids
    n_slots: int
    last: int
    limit: int
    sampled: list[int] = field(default_factory=list)
    visible: list[int] = field(default_factory=list)
    states: list[bool] = field(default_factory=list)
    stopped: bool = False

    def add(self, sampled: int, visible: int, state: bool, stopped: bool) -> None:
        self.sampled.append(sampled)
        self.visible.append(visible)
        self.states.append(state)
        self.stopped = stopped

    @property
    def sources(self) -> list[str]:
        """Where every fed vector came from; what a run ends on is not fed."""
        sources = [
            f"state of step {step}" if state else f"token {visible}"
            for step, (visible, state) in enumerate(zip(self.visible, self.states, strict=True))
        ]
        return sources[:-1] if self.stopped else sources

    @property
    def events(self) -> set[str]:
        """What happened, by name."""
        started, ended = self._segments(), self._steps()
        return {name for name, happened in (started | ended).items() if happened}

    def _segments(self) -> dict[str, bool]:
        """Judge stretches of latents by their length and by what closed them."""
        runs = list(_stretches(self.states))
        closed = [
            (b - a, self.sampled[b], self.visible[b]) for a, b in runs if b < len(self.states)
        ]
        end, n_slots = self.ids.end, self.n_slots
        return {
            "second segment": any(later[0] - b > 1 for (_, b), later in pairwise(runs)),
            "full segment": any(n == n_slots for n, _, _ in closed),
            "overlong segment": any(n > n_slots for n, _, _ in closed),
            "short segment": any(n < n_slots for n, _, _ in closed),
            "early end": any(n < n_slots and sampled == end for n, sampled, _ in closed),
            "repetition exit": any(
                n < n_slots and sampled != end and visible == end for n, sampled, visible in closed
            ),
        }

    def _steps(self) -> dict[str, bool]:
        """Judge single steps by what was sampled, and whether from a latent."""
        ids = self.ids
        inside = [False, *self.states[:-1]]
        steps = [*zip(self.sampled, self.visible, self.states, inside, strict=True)]
        sampled, visible, state, was_inside = steps[-1]
        opens = self.last == ids.start and self.sampled[0] not in (ids.start, ids.end)
        return {
            "start inside": any(s == ids.start and i for s, _, _, i in steps),
            "stray end": any(s == ids.end and not i for s, _, _, i in steps),
            "end fed as a state": any(v == ids.end and z for _, v, z, _ in steps),
            "end-of-text inside": any(s in ids.eos and i for s, _, _, i in steps),
            "end-of-text outside": self.stopped and visible in ids.eos and not was_inside,
            "stopped by end-of-text inside": self.stopped and state and sampled in ids.eos,
            "limit inside": len(steps) >= self.limit and self.states[self.limit - 1],
            "prompt opens": opens and self.states[0],
            "prompt opens nothing": opens and not self.states[0],
            "start that opens nothing": any(
                before == ids.start and not z and s != ids.end and not i
                for (_, before, _, _), (s, _, z, i) in pairwise(steps)
            ),
            "forced answer": ids.answer in self.visible,
        }


def _stretches(states: list[bool]) -> Iterator[tuple[int, int]]:
    """Find each stretch of steps that feed states, as its first step and the first after it."""
    begin = None
    for step, state in enumerate([*states, False]):
        if state and begin is None:
            begin = step
        elif not state and begin is not None:
            yield begin, step
            begin = None
