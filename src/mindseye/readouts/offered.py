"""The built-in readouts as plug-ins: each from runs alone, with its control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from mindseye.readouts.attending import Attention
from mindseye.readouts.attending import attention as attend
from mindseye.readouts.geometry import Similarity, similarity_runs
from mindseye.readouts.lenses import Lens
from mindseye.readouts.lenses import lens as look_through
from mindseye.readouts.probes import ProbeBars, probe_runs
from mindseye.readouts.reading import readout
from mindseye.reasoners import Trace

__all__ = ["answers", "attention", "lens", "probes", "similarity"]


@readout("answers", control="the gold answer, and the majority's share")
def answers(traces: Sequence[Trace], *, rng: np.random.Generator) -> pd.DataFrame:
    """Read what runs say: answers, whether they parsed, whether and how long they imagined.

    Args:
        traces: Runs.
        rng: Not used.
    """
    gold = [trace.sample.answer for trace in traces]
    majority = max(gold.count(each) for each in set(gold)) / len(gold)
    return pd.DataFrame(
        {
            "sample": trace.sample.id,
            "gold": trace.sample.answer,
            "answer": trace.answer,
            "right": trace.answer == trace.sample.answer,
            "majority": majority,
            "parsed": trace.parsed,
            "emitted": trace.emitted,
            "n_latents": len(trace.latent_positions),
        }
        for trace in traces
    )


@readout("probes", control="shuffled labels, majority, and other states of the same layer")
def probes(
    traces: Sequence[Trace],
    *,
    kind: Literal["logistic", "ridge", "mlp", "neighbours"] = "logistic",
    layer: int | None = None,
    permutations: int = 19,
    rng: np.random.Generator,
) -> ProbeBars:
    """Read the gold answer from latents, beside what else could have been read.

    Args:
        traces: Runs that imagined, with equally many latents.
        kind: Of probe.
        layer: Block whose output is read, -1 for what was fed; that and the last, if left out.
        permutations: Of every probe's test.
        rng: Draws folds and shuffles.
    """
    return probe_runs(
        traces,
        layers=None if layer is None else (layer,),
        kind=kind,
        n_permutations=permutations,
        seed=_seed(rng),
    )


@readout("similarity", control="text, image and dummy tokens of the same runs")
def similarity(
    traces: Sequence[Trace], *, permutations: int = 199, rng: np.random.Generator
) -> Similarity:
    """Measure how latents lie: cosines, ranks, drift, agreement between slots.

    Args:
        traces: Runs that imagined, with equally many latents.
        permutations: Of every test.
        rng: Draws windows, resamples and permutations.
    """
    return similarity_runs(traces, n_permutations=permutations, seed=_seed(rng))


@readout("lens", control="other runs' latents, and entries in random order")
def lens(
    traces: Sequence[Trace],
    *,
    kind: Literal["logit", "patchscopes"] = "logit",
    top: int = 10,
    rng: np.random.Generator,
) -> Lens:
    """Read latents as words.

    Args:
        traces: Runs that imagined.
        kind: `logit`, the model's own head, or `patchscopes`; the other lenses are fitted first,
            in Python.
        top: How many words.
        rng: Draws the permutations.
    """
    return look_through(
        traces[0].reasoner,
        traces,
        kind=kind,
        top=top,
        targets=[trace.sample.answer for trace in traces],
        clusters=_images(traces),
        seed=_seed(rng),
    )


@readout("attention", control="other samples' regions")
def attention(
    traces: Sequence[Trace], *, region: str = "target", rng: np.random.Generator
) -> Attention:
    """Measure where latents look: by segment, and inside a region of the picture.

    Args:
        traces: Runs that imagined.
        region: The region's name.
        rng: Not used.
    """
    return attend(
        traces[0].reasoner,
        traces,
        region=region,
        heads=False,
        clusters=_images(traces),
    )


def _images(traces: Sequence[Trace]) -> list[str]:
    """Return what each run belongs to: its images, or else itself."""
    return [trace.sample.image_key or f"run {i}" for i, trace in enumerate(traces)]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
