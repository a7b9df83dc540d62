"""Samples and traces as runs that a readout can look at."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from mindseye.errors import EditError, SampleError
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Sample

__all__ = ["one_each", "traced"]


def traced(
    reasoner: Reasoner, given: Sequence[Sample | Trace], *, latents: bool = True
) -> list[Trace]:
    """Return a run of every sample; traces are taken as they are.

    Args:
        reasoner: What runs the samples.
        given: Samples, traces of the same model, or both.
        latents: Whether every run must have some.

    Raises:
        SampleError: Nothing was given.
        EditError: A trace is of another model, or a run has no latents.
    """
    if not given:
        raise SampleError("No samples or traces were given; expected at least one. Pass some.")
    traces = [each if isinstance(each, Trace) else reasoner.run(each) for each in given]
    for trace in traces:
        if trace.reasoner.model is not reasoner.model:
            raise EditError(
                f"The trace of sample {trace.sample.id!r} is a run of {trace.reasoner.name!r}; "
                f"expected one of {reasoner.name!r}. Pass the reasoner that ran it."
            )
        if latents and not len(trace.latent_positions):
            raise EditError(
                f"The run of sample {trace.sample.id!r} has no latents; expected at least one "
                "slot. Leave it out, allow more tokens, or run it with force_start=True."
            )
    return traces


def one_each(what: str, given: Sequence[Hashable], n_runs: int) -> None:
    """Refuse what does not come once per run.

    Raises:
        SampleError: There are more or fewer.
    """
    if len(given) != n_runs:
        raise SampleError(f"Got {len(given)} {what} for {n_runs} runs; expected one per run.")
