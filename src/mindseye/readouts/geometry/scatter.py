"""Between-image against within-image scatter: whether latents tell images from placebos."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, Shaped

from mindseye.causal import Interval, ratio_interval
from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import indexed, p_value, shuffles
from mindseye.readouts.geometry.products import Products
from mindseye.readouts.geometry.rows import checked, transformed

__all__ = ["Scatter", "Sets", "compared", "scatter", "set_products"]

_NOTHING = 1e-12

Sets = Mapping[tuple[int, int], Products]
"""Products between sets of runs, set 0 being the plain ones and the others placebos."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """How much of a latent's scatter is the image's.

    Attributes:
        between: tr S: trace of the covariance between images, of one run each.
        within: tr N: trace of the covariance between a run and the same one under placebos.
        ratio: tr S / tr N, with Fieller's 95 % interval over groups: 1 if a change that should
            change nothing moves latents as far as another image does.
        p_value: Of the ratio's being no larger than when placebos are dealt to images at random.
    """

    between: float
    within: float
    ratio: Interval
    p_value: float


def scatter(
    latents: Shaped[np.ndarray, "runs dims"],
    placebos: Shaped[np.ndarray, "placebos runs dims"],
    *,
    groups: Sequence[Hashable] | None = None,
    n_permutations: int = 999,
    rng: np.random.Generator,
) -> Scatter:
    """Compare how latents scatter between images with how they do under benign placebos.

    Runs and placebos are a two-way layout: each set is centred by itself, so that a shift common to
    all images is neither kind of scatter; what is left within a run is noise. The permutation test
    deals each placebo set to the runs anew.

    Invariant to rotating all sets together, to scaling them together, and to shifts of each.

    Args:
        latents: One vector per run.
        placebos: The same runs after one or more changes that should change nothing, such as crop
            jitter, JPEG or a paraphrase.
        groups: What each run belongs to; resampled and permuted whole.
        n_permutations: How many.
        rng: Draws them.

    Raises:
        SampleError: Fewer than two runs or groups, shapes that differ, or entries that are no
            numbers.

    Source: two-way analysis of variance without interaction, on traces; interval: Fieller 1954.
    """
    if placebos.ndim != 3 or not len(placebos) or placebos.shape[1:] != latents.shape:
        raise SampleError(
            f"scatter got latents of shape {latents.shape} and placebos of {placebos.shape}; "
            "expected (placebos, runs, dims) with the same runs and dims."
        )
    sets = [checked("scatter's latents", latents)]
    sets += [checked(f"scatter's placebo {i}", rows) for i, rows in enumerate(placebos)]
    index = indexed(groups, len(latents))
    return compared(set_products(sets), index, n_permutations=n_permutations, rng=rng)


def set_products(sets: Sequence[Float[np.ndarray, "runs dims"]]) -> Sets:
    """Return products between every two sets, each centred by itself."""
    moved = [transformed(rows, "centred") for rows in sets]
    return {(i, j): Products.of(moved[i], moved[j]) for i, j in combinations(range(len(sets)), 2)}


def compared(
    sets: Sets, groups: Int[np.ndarray, " runs"], *, n_permutations: int, rng: np.random.Generator
) -> Scatter:
    """Return both scatters from products between sets.

    Args:
        sets: Between every two sets.
        groups: What each run belongs to.
        n_permutations: How many.
        rng: Draws them.
    """
    n_sets = 1 + max(j for _, j in sets)
    n = len(groups)
    lengths = np.stack([sets[0, 1].left, *(sets[0, j].right for j in range(1, n_sets))])
    common = np.sum([np.diag(each.inner) for each in sets.values()], axis=0)
    # |sum of a run's vectors|^2 / n_sets is what its sets agree on.
    agreed = (lengths.sum(axis=0) + 2 * common) / n_sets
    between = lengths.mean(axis=0)
    within = np.maximum(lengths.sum(axis=0) - agreed, 0.0) / (n_sets - 1)
    within[within <= _NOTHING * between] = 0.0
    orders = [np.tile(np.arange(n), (n_permutations, 1))]
    orders += [shuffles(groups, n_permutations, rng) for _ in range(n_sets - 1)]
    dealt = np.sum(
        [each.inner[orders[i], orders[j]].sum(axis=1) for (i, j), each in sets.items()], axis=0
    )
    return Scatter(
        float(between.sum() / (n - 1)),
        float(within.sum() / (n - 1)),
        _ratio(between, within, groups),
        p_value(float(common.sum()), dealt),
    )


def _ratio(
    between: Float[np.ndarray, " runs"],
    within: Float[np.ndarray, " runs"],
    groups: Int[np.ndarray, " runs"],
) -> Interval:
    """Return the ratio of two means of runs; infinite where placebos change nothing at all."""
    if not within.any():
        value = np.inf if between.any() else np.nan
        return Interval(value, value, value)
    # A scale of 1 keeps the squares of tiny latents from vanishing.
    held = ratio_interval(between / within.mean(), within / within.mean(), groups.tolist())
    if held is None:
        return Interval(float(between.mean() / within.mean()), 0.0, np.inf)
    return held
