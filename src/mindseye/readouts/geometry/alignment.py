"""What is measured between two kinds of vectors of the same runs: whether they agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import shuffles
from mindseye.readouts.geometry.cka import cka
from mindseye.readouts.geometry.populations import Runs
from mindseye.readouts.geometry.procrustes import procrustes_distance
from mindseye.readouts.geometry.rsa import Association, rsa
from mindseye.readouts.geometry.tabulating import Row, number, row

__all__ = ["alignment_rows"]


def alignment_rows(
    x: Float[np.ndarray, "runs coordinates"],
    y: Float[np.ndarray, "runs others"],
    against: str,
    runs: Runs,
) -> Iterator[Row]:
    """Measure how two sets of vectors agree on which runs are alike.

    The null of CKA and Procrustes is what one permutation of the runs gives.

    Args:
        x: One vector per run.
        y: Another one.
        against: What the other ones are.
        runs: What is known of them.
    """
    order = shuffles(runs.groups, 1, runs.rng)[0]
    for name, measure in (
        ("cka debiased", lambda other: cka(x, other)),
        ("cka biased", lambda other: cka(x, other, debiased=False)),
        ("procrustes distance", lambda other: procrustes_distance(x, other)),
    ):
        null = number(lambda measure=measure: measure(y[order]))
        yield row(name, number(lambda measure=measure: measure(y)), against=against, null=null)
    held = _rsa(x, y, runs)
    yield row("rsa", held.value, against=against, null=0.0, p_value=held.p_value)


def _rsa(
    x: Float[np.ndarray, "runs coordinates"], y: Float[np.ndarray, "runs others"], runs: Runs
) -> Association:
    try:
        return rsa(
            x,
            y,
            groups=runs.groups.tolist(),
            n_permutations=runs.n_permutations,
            rng=runs.rng,
        )
    except SampleError:
        return Association(np.nan, np.nan)
