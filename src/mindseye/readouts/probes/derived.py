"""Derived questions: latents as the only visual evidence for another question on the same image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from mindseye.errors import SampleError
from mindseye.readouts.probes.samples import numbered
from mindseye.readouts.probes.shares import share_interval
from mindseye.reasoners import Edit, Reasoner, Trace
from mindseye.samples import Sample

__all__ = ["ARMS", "DerivedQuestions", "derived_question"]

ARMS = ("image", "latents", "other latents", "own latents", "text only")
"""The derived question with its image; without it and with the latents of the original run; with
those of another run; with the latents that the model makes without an image; and as plain text."""


@dataclass(frozen=True, slots=True, eq=False)
class DerivedQuestions:
    """Answers to derived questions, with and without visual evidence.

    Attributes:
        rows: `sample source arm gold answer parsed right`, one per question and arm.
    """

    rows: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Return one row per question and arm."""
        return self.rows.copy()

    def accuracy(self) -> pd.DataFrame:
        """Return one row per arm: `arm accuracy low high n`.

        95 % intervals take original samples as independent, whose questions come together.
        """
        found: list[dict[str, Any]] = []
        for arm in ARMS:
            held = self.rows[self.rows["arm"] == arm]
            right = held["right"].to_numpy(dtype=bool)
            share = share_interval(right, numbered(held["source"].tolist()))
            ends = {"accuracy": share.mean, "low": share.low, "high": share.high}
            found.append({"arm": arm, **ends, "n": len(held)})
        return pd.DataFrame(found)


def derived_question(
    reasoner: Reasoner,
    samples: Sequence[Sample],
    derived: Sequence[Sample],
    *,
    max_new_tokens: int = 64,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> DerivedQuestions:
    """Ask another question about an image of which only the latents are left.

    The original question is run with its image, and its latents are kept. The derived question is
    then asked without an image, a segment is opened, and each slot is fed a kept latent in place of
    the model's own; the answer is decoded on from there.

    Li et al. ask 30 four-option questions on V*, and publish neither them nor where latents stand
    in the prompt. Here they stand in a segment of the model's own form, with its markers, after the
    question; questions may be open; and two arms are added to theirs: latents of another run, and
    latents made without an image, tell content from format. Fed in positions that no image
    precedes, latents may mean less than where they were made; a low score says that they do not
    carry over, not that nothing can be read from them.

    Args:
        reasoner: What runs.
        samples: Original questions, with images.
        derived: One question for each, on the same image but something else in it. Its image is
            shown in the arm `image` only.
        max_new_tokens: Most tokens to generate, latents included.
        track: Wraps the numbers of the samples, to show progress.

    Raises:
        SampleError: Lengths differ or are below 2, a run has no latents, or the run without an
            image makes another number of them.
        ProtocolError: The protocol has no start marker to open a segment with.

    Source: Li et al. 2026, arXiv 2602.22766, section on latents as the only visual evidence.
    """
    if len(samples) != len(derived) or len(samples) < 2:
        raise SampleError(
            f"derived_question got {len(samples)} samples and {len(derived)} derived questions; "
            "expected one for each of at least 2 samples."
        )
    run = partial(reasoner.run, max_new_tokens=max_new_tokens)
    originals = [_imagined(run(sample)) for sample in samples]
    rows: list[dict[str, Any]] = []
    for i in track(range(len(samples))):
        question = derived[i]
        blind = replace(question, images=())
        opened = _imagined(run(blind, force_start=True))
        answers = {
            "image": run(question),
            "latents": _fed(opened, originals[i]),
            "other latents": _fed(opened, originals[i - 1]),
            "own latents": opened,
            "text only": run(blind, imagine=False),
        }
        rows += _rows(samples[i], question, answers.items(), i)
    return DerivedQuestions(pd.DataFrame(rows))


def _imagined(trace: Trace) -> Trace:
    if not len(trace.fed_latents):
        raise SampleError(
            f"The run of sample {trace.sample.id!r} has no latents to answer from. Leave it out, "
            "or raise max_new_tokens."
        )
    return trace


def _fed(opened: Trace, original: Trace) -> Trace:
    """Decode a run again with the latents of another in its slots."""
    slots, latents = opened.latent_positions, original.fed_latents
    if len(slots) != len(latents):
        raise SampleError(
            f"Sample {original.sample.id!r} has {len(latents)} latents, and its derived question "
            f"makes {len(slots)} without an image; expected equally many. Use a protocol with a "
            "fixed number of slots."
        )
    edit = Edit("hook_embed", slots, latents)
    (trace,) = opened.reasoner.replay(opened, [[edit]], mode="closed_loop")
    return trace


def _rows(
    sample: Sample, question: Sample, answers: Iterable[tuple[str, Trace]], place: int
) -> Iterator[dict[str, Any]]:
    for arm, trace in answers:
        yield {
            "sample": question.id or str(place),
            "source": sample.id or str(place),
            "arm": arm,
            "gold": question.answer,
            "answer": trace.answer,
            "parsed": trace.parsed,
            "right": bool(trace.parsed and trace.answer == question.answer),
        }
