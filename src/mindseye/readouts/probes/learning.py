"""Learning curves: would more samples have helped?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

from mindseye.causal.intervals import interval
from mindseye.errors import SampleError
from mindseye.readouts.probes.folds import folds
from mindseye.readouts.probes.kinds import N_COMPONENTS, check_kind
from mindseye.readouts.probes.reading import Projection, project, read
from mindseye.readouts.probes.samples import Labelled, Pooling, labelled

__all__ = ["learning_curve"]

_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)


def learning_curve(
    features: Shaped[np.ndarray, "samples *dims"],
    targets: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    shares: Sequence[float] = _SHARES,
    n_draws: int = 5,
    kind: str = "logistic",
    pooling: Pooling = "concatenated",
    n_components: int = N_COMPONENTS,
    seed: int = 0,
) -> pd.DataFrame:
    """Read held-out samples with probes of ever more training groups.

    Args:
        features: One array per sample.
        targets: What to read.
        groups: What each sample belongs to; drawn whole.
        shares: Of each fold's training groups, in (0, 1].
        n_draws: Training sets per fold and share, whose results are averaged per sample.
        kind: Of probe, as in `probe`.
        pooling: What becomes of several vectors per sample.
        n_components: Of the projection.
        seed: Draws folds and training sets.

    Returns:
        One row per share: `share n_train accuracy low high majority n`, with 95 % intervals over
        groups. A curve that still rises at its end says that "undecodable" would be too early.

    Raises:
        SampleError: A share outside (0, 1], no draw, or what `probe` refuses.
        UnknownNameError: There is no such kind.
    """
    check_kind(kind)
    if n_draws < 1 or not shares or not all(0 < share <= 1 for share in shares):
        raise SampleError(
            f"learning_curve got shares={tuple(shares)} and n_draws={n_draws}; expected shares "
            "above 0 and up to 1, and at least one draw."
        )
    samples = labelled(features, targets, groups, pooling)
    rng, how = np.random.default_rng(seed), Projection(kind, n_components)
    splits = folds(samples.labels, samples.groups, seed=seed)
    rows = []
    for share in shares:
        right, sizes = np.zeros(len(samples)), []
        for train, test in splits:
            for _ in range(n_draws if share < 1 else 1):
                chosen = _some(samples, train, share, rng)
                part = project(samples, (chosen, test), how)
                hits = read([part], samples.labels)[test]
                right[test] += hits / (n_draws if share < 1 else 1)
                sizes.append(len(chosen))
        found = interval(right, samples.groups.tolist(), rng=rng)
        rows.append(
            {
                "share": float(share),
                "n_train": float(np.mean(sizes)),
                "accuracy": found.mean,
                "low": max(found.low, 0.0),
                "high": min(found.high, 1.0),
                "majority": samples.majority,
                "n": len(samples),
            }
        )
    return pd.DataFrame(rows)


def _some(
    samples: Labelled,
    train: Int[np.ndarray, " train"],
    share: float,
    rng: np.random.Generator,
) -> Int[np.ndarray, " chosen"]:
    """Draw a share of the training groups, at least two."""
    own = np.unique(samples.groups[train])
    drawn = rng.permutation(own)[: max(2, round(share * len(own)))]
    return train[np.isin(samples.groups[train], drawn)]
