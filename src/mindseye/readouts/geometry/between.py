"""What is measured of one cloud: one vector per run, at one slot or of all slots joined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import pair_interval
from mindseye.readouts.geometry.dependence import dependence
from mindseye.readouts.geometry.dimension import intrinsic_dimension
from mindseye.readouts.geometry.populations import Runs
from mindseye.readouts.geometry.rows import TRANSFORMS, Cloud, cosines, reduced
from mindseye.readouts.geometry.spectrum import spectrum
from mindseye.readouts.geometry.tabulating import Row, mean_of, number, row

__all__ = ["between_rows", "isotropic"]


def between_rows(cloud: Cloud, runs: Runs, noise: dict[str, float]) -> Iterator[Row]:
    """Measure a cloud.

    Args:
        cloud: One vector per run.
        runs: What is known of them.
        noise: What `isotropic` says of a cloud of this size.
    """
    yield from _cosine_rows(cloud, runs)
    yield from _size_rows(cloud, runs)
    for how in ("raw", "centred"):
        for name, value in _ranks(cloud.plain, centred=how == "centred").items():
            null = noise[name] if how == "centred" else np.nan
            yield row(name, value, transform=how, null=null)
    yield row(
        "intrinsic dimension",
        number(lambda: intrinsic_dimension(cloud.plain)),
        null=noise["intrinsic dimension"],
    )
    if runs.answers is not None:
        yield _answer_row(cloud, runs)


def isotropic(n: int, n_dims: int, rng: np.random.Generator) -> dict[str, float]:
    """Return ranks and dimension of a centred isotropic Gaussian cloud: the most that n runs show.

    Args:
        n: Vectors.
        n_dims: Dimensions.
        rng: Draws them.
    """
    rows = reduced(rng.standard_normal((n, n_dims)))
    return _ranks(rows, centred=True) | {
        "intrinsic dimension": number(lambda: intrinsic_dimension(rows))
    }


def _cosine_rows(cloud: Cloud, runs: Runs) -> Iterator[Row]:
    n = len(cloud.plain)
    pairs = {"": np.ones((n, n), dtype=bool)} | _by_answer(runs)
    for how in TRANSFORMS:
        found = cosines(cloud.transformed(how, runs.n_top))
        for against, kept in pairs.items():
            yield row(
                "inter-instance cosine",
                pair_interval(found, kept, runs.groups, runs.weights),
                transform=how,
                against=against,
                null=np.nan if how == "raw" else -1 / (n - 1),
            )


def _by_answer(runs: Runs) -> dict[str, Bool[np.ndarray, "runs runs"]]:
    """Return which pairs of runs share an answer and which do not; nothing without answers."""
    if runs.answers is None:
        return {}
    same = np.array([[one == other for other in runs.answers] for one in runs.answers])
    return {"same answer": same, "other answer": ~same}


def _size_rows(cloud: Cloud, runs: Runs) -> Iterator[Row]:
    rows = cloud.plain
    mean = rows.mean(axis=0)
    spread = float(((rows - mean) ** 2).sum() / (len(rows) - 1))
    common = max(float(mean @ mean) - spread / len(rows), 0.0)  # the mean's own error taken off
    yield row("norm", mean_of(np.linalg.norm(rows, axis=1), runs.groups, runs.rng))
    yield row("variance between instances", spread)
    yield row("share between instances", spread / (common + spread))


def _ranks(rows: Float[np.ndarray, "runs coordinates"], *, centred: bool) -> dict[str, float]:
    """Return every definition of rank; no numbers for vectors that are all alike."""
    try:
        held = spectrum(rows, centred=centred)
    except SampleError:
        return dict.fromkeys(_RANKS, np.nan)
    values = (
        float(held.rank),
        held.effective_rank_of_singular_values,
        held.effective_rank_of_eigenvalues,
        held.participation_ratio,
        held.stable_rank,
        float(held.components(0.9)),
    )
    return dict(zip(_RANKS, values, strict=True))


_RANKS = (
    "rank",
    "effective rank, singular values",
    "effective rank, eigenvalues",
    "participation ratio",
    "stable rank",
    "rank 90",
)


def _answer_row(cloud: Cloud, runs: Runs) -> Row:
    assert runs.answers is not None
    try:
        found = dependence(
            cloud.plain,
            list(runs.answers),
            groups=runs.groups.tolist(),
            n_permutations=runs.n_permutations,
            rng=runs.rng,
        )
    except SampleError:
        return row("dependence", np.nan, against="answer")
    return row("dependence", found.value, against="answer", null=0.0, p_value=found.p_value)
