"""Blind runs: the answer when every image token is the mean of what image tokens usually are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import SampleError
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Sample

__all__ = ["blind_runs"]


def blind_runs(
    reasoner: Reasoner,
    samples: Sequence[Sample],
    *,
    max_new_tokens: int = 64,
    track: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> pd.DataFrame:
    """Run samples, and each again with its picture's embeddings replaced by their mean.

    The mean is over all image tokens of all samples, after the projector, where a picture cannot
    say it; features that some models add in their first blocks are replaced alike. Grid and
    positions stay, so that nothing but the content of the picture is gone.

    Args:
        reasoner: What runs.
        samples: What to ask, each with an image.
        max_new_tokens: Most tokens to generate, latents included.
        track: Wraps the samples, to show progress.

    Returns:
        One row per sample: `sample gold emitted answer parsed blind_emitted blind_answer
        blind_parsed flipped latents_moved`; the last is the relative change of what was fed at the
        slots, not a number where one of the two runs imagined otherwise.

    Raises:
        SampleError: No sample was given, or one without an image.
    """
    traces = [reasoner.run(sample, max_new_tokens=max_new_tokens) for sample in track(samples)]
    places = [trace.prefill().image_mask[0].nonzero().squeeze(-1) for trace in traces]
    if not traces or not all(map(len, places)):
        without = [t.sample.id for t, where in zip(traces, places, strict=True) if not len(where)]
        raise SampleError(
            f"blind_runs got {len(traces)} samples, of which {without} show no image. Give it at "
            "least one sample, and only such as have an image."
        )
    embeds = _mean([t.embeds[where] for t, where in zip(traces, places, strict=True)])
    deep = [_mean(list(each)) for each in zip(*(t.deepstack for t in traces), strict=True)]
    rows = []
    for trace, where in zip(traces, places, strict=True):
        unseen = replace(
            trace,
            embeds=trace.embeds.index_copy(0, where, embeds.expand(len(where), -1)),
            deepstack=tuple(
                mean.expand_as(own) for mean, own in zip(deep, trace.deepstack, strict=True)
            ),
            past_key_values=None,
        )
        (blind,) = reasoner.replay(unseen, mode="closed_loop")
        rows.append(
            {
                "sample": trace.sample.id,
                "gold": trace.sample.answer,
                "emitted": trace.emitted,
                "answer": trace.answer,
                "parsed": trace.parsed,
                "blind_emitted": blind.emitted,
                "blind_answer": blind.answer,
                "blind_parsed": blind.parsed,
                "flipped": blind.answer != trace.answer,
                "latents_moved": _moved(trace, blind),
            }
        )
    return pd.DataFrame(rows)


def _mean(parts: list[Float[Tensor, "_tokens d_model"]]) -> Float[Tensor, "1 d_model"]:
    return torch.cat(parts).mean(dim=0, keepdim=True)


def _moved(one: Trace, other: Trace) -> float:
    if one.fed_latents.shape != other.fed_latents.shape or not len(one.fed_latents):
        return float("nan")
    change = (other.fed_latents - one.fed_latents).norm()
    return float(change / one.fed_latents.norm())
