"""What a replacement may look at: one run's latents, and those of other runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.reasoners import Trace

__all__ = ["Given", "Pool", "Run"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The latents of one run.

    Attributes:
        id: Of its sample.
        answer: The gold answer.
        fed: What its decoder received.
        words: The visible ids there.
    """

    id: str
    answer: str
    fed: Float[Tensor, "slots d_model"]
    words: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Pool:
    """Latents of many runs of one reasoner: donors, and what its own latents look like.

    Attributes:
        runs: Those that imagined; they may differ in their number of slots.
    """

    runs: tuple[Run, ...]

    @classmethod
    def of(cls, traces: Iterable[Trace]) -> Pool:
        """Keep what runs fed back, and nothing else of them.

        Raises:
            SampleError: None of them imagined.
        """
        runs = tuple(
            Run(
                trace.sample.id,
                trace.sample.answer,
                trace.fed_latents.detach().clone(),
                trace.words,
            )
            for trace in traces
            if len(trace.latent_positions)
        )
        if not runs:
            raise SampleError(
                "A pool of latents needs runs that imagined, and there is none. Check "
                "reasoner.run(sample).emitted, or give it more samples."
            )
        return cls(runs)

    @cached_property
    def vectors(self) -> Float[Tensor, "vectors d_model"]:
        """The latents of all runs, one after the other."""
        return torch.cat([run.fed for run in self.runs])

    @cached_property
    def mean(self) -> Float[Tensor, " d_model"]:
        """Over all runs and slots."""
        return self.vectors.mean(dim=0)

    def at(self, slot: int) -> Float[Tensor, "runs d_model"]:
        """Return what runs fed at one slot.

        Raises:
            SampleError: No run has so many slots.
        """
        found = [run.fed[slot] for run in self.runs if slot < len(run.fed)]
        if not found:
            raise SampleError(
                f"No run of the pool has a slot {slot}; the longest has "
                f"{max(len(run.fed) for run in self.runs)} slots. Give a pool of longer runs."
            )
        return torch.stack(found)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A run whose latents are to be replaced, and what is known beside it.

    Attributes:
        trace: The run.
        pool: Latents of other runs, if there is a pool.
        twin: The run of the sample's counterfactual twin, if it has one.
        outcome: What would be measured if other vectors were fed, differentiable; only where an
            experiment knows how.
        name: What random draws hang on, such as a pair's id; the sample's id if left empty.
    """

    trace: Trace
    pool: Pool | None = None
    twin: Trace | None = None
    outcome: Callable[[Float[Tensor, "rows slots d_model"]], Float[Tensor, " rows"]] | None = None
    name: str = ""

    @property
    def latents(self) -> Float[Tensor, "slots d_model"]:
        """What the run's decoder received at its slots."""
        return self.trace.fed_latents

    @property
    def id(self) -> str:
        """Of the sample."""
        return self.trace.sample.id

    @property
    def in_words(self) -> bool:
        """Whether the run imagined in words, for which others of any number can be said."""
        return self.trace.reasoner.protocol.in_words

    @property
    def others(self) -> tuple[Run, ...]:
        """The pool's runs of other samples."""
        return tuple(run for run in self.known.runs if run.id != self.id)

    @property
    def known(self) -> Pool:
        """The pool.

        Raises:
            SampleError: None was given.
        """
        if self.pool is None:
            raise SampleError(
                f"The latents of sample {self.id!r} were to be replaced by something made of other "
                "runs', and no pool was given. Pass pool=Pool.of(traces)."
            )
        return self.pool
