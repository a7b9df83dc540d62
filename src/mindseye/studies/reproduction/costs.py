"""What an answer costs: tokens, forward passes, seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mindseye.causal import Interval, interval
from mindseye.samples import Sample
from mindseye.studies.reproduction.claims import Beside, Claim, Part, Published, Rule, Unit, beside
from mindseye.studies.reproduction.models import Models
from mindseye.studies.reproduction.tracking import Track

__all__ = ["cost_claims"]

PART = "Cost"

_MEASURES: dict[str, tuple[str, str, Unit]] = {
    "tokens": ("Generated tokens", "Median over items; latents count as tokens", "count"),
    "passes": ("Forward passes", "Median over items; the prompt is one", "count"),
    "seconds": ("Time", "Median milliseconds of an answer, one item at a time", "ms"),
}


def cost_claims(models: Models, samples: Sequence[Sample], *, seed: int, track: Track) -> Part:
    """Time single answers, all models in turn at every item.

    Args:
        models: What runs.
        samples: Questions; the first is asked once before, uncounted.
        seed: Of the bootstrap and of the order of models at each item.
        track: Shows progress.
    """
    every = [
        (way, place, model)
        for way, each in models.named.items()
        for place, model in enumerate(each)
    ]
    for _, _, model in every:
        model.reasoner.run(samples[0])
    rng, rows = np.random.default_rng(seed), []
    for sample in track("cost", samples):
        for index in rng.permutation(len(every)).tolist():
            way, place, model = every[index]
            began = time.perf_counter()
            run = model.reasoner.run(sample)
            spent = time.perf_counter() - began
            own = {"part": "costs", "seed": place, "model": model.name, "item": sample.id}
            own |= {"arm": way, "answer": run.answer}
            counted = {
                "tokens": len(run.token_ids),
                "passes": 1 + len(run.fed),
                "seconds": spent,
            }
            rows += [own | {"measure": name, "value": float(n)} for name, n in counted.items()]
    frame = pd.DataFrame(rows)
    return Part(
        (
            _ratio(frame, models, "capimagine", "natural", seed),
            _ratio(frame, models, "capimagine", "direct", seed),
        ),
        frame,
    )


_PUBLISHED = {
    "natural": (
        "words-cost-as-latents",
        "Words cost what latents cost",
        Published(
            "Decoding takes about as long with words as with latents.",
            (("CapImagine to Monet, V*", "≈ 1 : 1"), ("DeepEyes to CapImagine", "≈ 2 : 1")),
            "figure 5; no seconds are published",
        ),
        Rule(1 / 1.5, 1.5, "Nearer to equal than to double, which the paper calls slower."),
        "How many tokens either says is not published, so that the ratio may be that of two "
        "verbosities. Here tokens and passes stand beside the seconds, which depend on the machine "
        "and on the length of what these models were taught to say.",
    ),
    "direct": (
        "words-cost-more-than-none",
        "Words cost more than no imagination",
        Published(
            "Text imagination takes a longer answer than none.",
            (("seconds", "not published for the base model"),),
            "limits stated by the authors",
        ),
        Rule(low=1.5, why="Half as long again, or more."),
        "The published figure leaves the model that answers at once out.",
    ),
}


def _ratio(rows: pd.DataFrame, models: Models, one: str, other: str, seed: int) -> Claim:
    key, title, published, rule, unseen = _PUBLISHED[other]
    return Claim(
        key=key,
        title=title,
        part=PART,
        published=published,
        quantity=f"seconds of {one} over those of {other}, geometric mean over items",
        unit="times",
        rule=rule,
        found=tuple(_times(rows, one, other, place, seed) for place in range(models.n_seeds)),
        unseen=unseen,
        beside=tuple(_medians(rows, models, name) for name in _MEASURES)
        if other == "natural"
        else (),
    )


def _times(rows: pd.DataFrame, one: str, other: str, place: int, seed: int) -> Interval:
    """Return how often as long one takes as the other, item by item."""
    held = rows[(rows["measure"] == "seconds") & (rows["seed"] == place)]
    wide = held.pivot(index="item", columns="arm", values="value")
    found = interval(
        np.log((wide[one] / wide[other]).to_numpy(dtype=float)), rng=np.random.default_rng(seed)
    )
    return Interval(*(float(np.exp(each)) for each in (found.mean, found.low, found.high)))


def _medians(rows: pd.DataFrame, models: Models, measure: str) -> Beside:
    """Return a measure's medians by way and seed."""
    title, meaning, unit = _MEASURES[measure]
    scale = 1000 if unit == "ms" else 1
    held = rows[rows["measure"] == measure].groupby(["arm", "seed"])["value"].median() * scale
    return beside(
        title,
        meaning,
        unit,
        {way: [float(held[way, place]) for place in range(models.n_seeds)] for way in models.named},
    )
