"""Strict runs: what a model still answers once the image is gone and only its latents are left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from mindseye.errors import SampleError
from mindseye.reasoners import Knockout, Reasoner
from mindseye.samples import Sample

__all__ = ["STRICT", "strict_runs"]

STRICT = (Knockout("post", "image"),)
"""What follows the latents cannot read the image's keys and values."""


def strict_runs(
    reasoner: Reasoner,
    samples: Sequence[Sample],
    *,
    max_new_tokens: int = 64,
    track: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> pd.DataFrame:
    """Run samples, and decode each again with the image dropped after its latents.

    What the strict answer knows of the image came through the latents, or through the question and
    text, which had read the image before.

    Args:
        reasoner: What runs.
        samples: What to ask.
        max_new_tokens: Most tokens to generate, latents included.
        track: Wraps the samples, to show progress.

    Returns:
        One row per sample: `sample gold emitted answer parsed strict_answer strict_parsed flipped`.
        A run without a finished segment has nothing to decode again and is its own strict run.

    Raises:
        SampleError: No sample was given, or one cannot be read.

    Source: strict decoding, CVRR 2026, arXiv 2609.06746.
    """
    rows = []
    for sample in track(samples):
        trace = reasoner.run(sample, max_new_tokens=max_new_tokens, past_key_values=True)
        strict = trace
        if trace.emitted:
            (strict,) = reasoner.replay(trace, mode="closed_loop", knockouts=STRICT)
        rows.append(
            {
                "sample": sample.id,
                "gold": sample.answer,
                "emitted": trace.emitted,
                "answer": trace.answer,
                "parsed": trace.parsed,
                "strict_answer": strict.answer,
                "strict_parsed": strict.parsed,
                "flipped": strict.answer != trace.answer,
            }
        )
    if not rows:
        raise SampleError("strict_runs got no sample; pass at least one.")
    return pd.DataFrame(rows)
