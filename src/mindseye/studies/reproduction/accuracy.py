"""Who answers best: imagination in words, in latents, or none, on the same held-out items."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import compress

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mindseye.causal import Interval, interval, share
from mindseye.readouts.probes.samples import numbered
from mindseye.readouts.probes.shares import share_interval
from mindseye.samples import Sample
from mindseye.studies.reproduction.claims import Claim, Part, Published, Rule, beside
from mindseye.studies.reproduction.models import Models
from mindseye.studies.reproduction.tracking import Track

__all__ = ["accuracy_claims", "change", "of_items"]

PART = "Accuracy"

_BATCH = 32
_LEAST_GAIN = 0.01
_WHY = (
    "A gain of one point or more: half of the smallest gain of words over latents that is "
    "published (2.2 points)."
)

_GAINS = {
    "words-over-latents": (
        "Words beat latents",
        ("capimagine", "natural"),
        Published(
            "Text imagination beats latents, those trained on the same 17k items included.",
            (
                ("V*, words over Monet", "85.9 over 83.3"),
                ("V*, words over Monet on the same data", "85.9 over 79.6"),
                ("HR-Bench 4K, the same", "74.1 over 70.7"),
                ("MME-RealWorld-Lite, words over Monet", "54.8 over 46.9"),
            ),
            "table 1",
        ),
        "One run per model, no intervals, and a checkpoint picked by score: a gain of five V* "
        "items cannot be told from another training seed. Here base, data, steps and items are "
        "the same, and there are several seeds.",
    ),
    "latents-over-none": (
        "Latents beat no imagination",
        ("natural", "direct"),
        Published(
            "Latent reasoning improves on the model that answers at once.",
            (
                ("V*, Monet over Qwen2.5-VL", "83.3 over 76.4"),
                ("HR-Bench 4K", "71.0 over 68.0"),
                ("V*, LVR over Qwen2.5-VL", "81.7 over 76.4"),
            ),
            "table 1",
        ),
        "The published base was never trained on the data, so a gain over it may be the data's. "
        "Here the model that answers at once was trained on the same items, for as many steps.",
    ),
    "words-over-none": (
        "Words beat no imagination",
        ("capimagine", "direct"),
        Published(
            "Text imagination improves on the model that answers at once.",
            (
                ("V*, words over Qwen2.5-VL", "85.9 over 76.4"),
                ("HR-Bench 4K", "74.1 over 68.0"),
                ("V*, words over one placeholder, same items", "85.9 over 82.7"),
            ),
            "table 1",
        ),
        "Trained with a bare placeholder instead of words, the published model keeps two thirds of "
        "its gain on V*: most of it is the data's. Here the data are the same on both sides.",
    ),
}


def accuracy_claims(models: Models, samples: Sequence[Sample], *, seed: int, track: Track) -> Part:
    """Compare accuracies item by item.

    Args:
        models: What runs.
        samples: Held-out questions.
        seed: Of the bootstrap.
        track: Shows progress.
    """
    images = [sample.image_key for sample in samples]
    rows, right = [], {}
    for way, each in models.named.items():
        for place, model in enumerate(each):
            starts = range(0, len(samples), _BATCH)
            batches = [samples[start : start + _BATCH] for start in starts]
            runs = [
                run
                for batch in track(f"{model.name}: answers", batches)
                for run in model.reasoner.run_batch(batch)
            ]
            hits = np.array([run.parsed and run.answer == run.sample.answer for run in runs])
            right[way, place] = hits
            rows += [
                {"part": "accuracy", "seed": place, "model": model.name, "item": run.sample.id}
                | {"arm": way, "measure": "right", "value": float(hit), "answer": run.answer}
                for run, hit in zip(runs, hits, strict=True)
            ]
    kinds = np.array([sample.kind for sample in samples])
    shown = beside(
        "Accuracy",
        f"Share of right answers to the same {len(samples)} held-out questions, by what is asked",
        "share",
        {
            f"{way}: {name}": [
                share_interval(right[way, place][kept], numbered(list(compress(images, kept))))
                for place in range(models.n_seeds)
            ]
            for way in models.named
            for name, kept in _by_kind(kinds).items()
        },
    )
    claims = [
        Claim(
            key=key,
            title=title,
            part=PART,
            published=published,
            quantity=f"accuracy of {better} less that of {worse}, on the same items",
            unit="points",
            rule=Rule(low=_LEAST_GAIN, why=_WHY),
            found=tuple(
                change(right[worse, place], right[better, place], images, seed=seed)
                for place in range(models.n_seeds)
            ),
            unseen=unseen,
            beside=(shown,) if key == "words-over-latents" else (),
        )
        for key, (title, (better, worse), published, unseen) in _GAINS.items()
    ]
    return Part(tuple(claims), pd.DataFrame(rows))


def _by_kind(kinds: np.ndarray) -> dict[str, Bool[np.ndarray, " items"]]:
    """Return which items are of each kind, after those of any."""
    every = {"all": np.ones(len(kinds), dtype=bool)}
    return every | {str(kind): kinds == kind for kind in np.unique(kinds)}


def change(
    before: Bool[np.ndarray, " items"],
    after: Bool[np.ndarray, " items"],
    clusters: Sequence[Hashable],
    *,
    seed: int,
) -> Interval:
    """Return how accuracy changes on the same items, with its interval over clusters.

    Args:
        before: Which items were answered rightly.
        after: Which were, afterwards.
        clusters: What each item belongs to, such as its image.
        seed: Of the bootstrap.
    """
    return of_items(after.astype(float) - before.astype(float), clusters, seed=seed)


def of_items(
    values: Float[np.ndarray, " items"],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    most: float = 1.0,
) -> Interval:
    """Return a mean of bounded values with its interval over clusters.

    Where all items are alike a resampled interval has no width; there the end is the exact bound
    on the share of clusters that may yet differ.

    Args:
        values: One per item.
        clusters: What each item belongs to.
        seed: Of the bootstrap.
        most: The largest absolute value there can be.
    """
    if np.ptp(values) > 0:
        found = interval(values, clusters, rng=np.random.default_rng(seed))
    else:
        mean, bound = float(values[0]), most * share(0, len(set(clusters))).high
        found = Interval(mean, mean - bound, mean + bound)
    return Interval(found.mean, max(found.low, -most), min(found.high, most))
