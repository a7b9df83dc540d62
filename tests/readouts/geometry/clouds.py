"""Made-up vectors, and motions that measures should or should not notice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import ortho_group


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cloud(seed: int, n: int = 12, d: int = 20, offset: float = 2.0) -> np.ndarray:
    """Vectors whose dimensions differ in scale, away from the origin."""
    draw = rng(seed)
    return draw.standard_normal((n, d)) * draw.uniform(0.3, 3, d) + offset


def related(seed: int, x: np.ndarray, d: int = 7) -> np.ndarray:
    """Other vectors of the same runs, partly told by the first."""
    draw = rng(seed + 1)
    return x @ draw.standard_normal((x.shape[1], d)) + 5 * draw.standard_normal((len(x), d))


def rotation(seed: int, d: int) -> np.ndarray:
    return ortho_group.rvs(d, random_state=rng(seed + 2))


Motion = Callable[[np.ndarray, int], np.ndarray]


def rotated(x: np.ndarray, seed: int) -> np.ndarray:
    return x @ rotation(seed, x.shape[-1])


def scaled(x: np.ndarray, seed: int) -> np.ndarray:
    return x * rng(seed + 3).uniform(0.01, 100)


def shifted(x: np.ndarray, seed: int) -> np.ndarray:
    return x + 3 * rng(seed + 4).standard_normal(x.shape[-1])


def stretched(x: np.ndarray, seed: int) -> np.ndarray:
    """Each dimension by a factor of its own."""
    return x * rng(seed + 5).uniform(0.2, 5, x.shape[-1])


def permuted(x: np.ndarray, seed: int) -> np.ndarray:
    """Runs in another order, never the same one."""
    return x[rng(seed + 6).permutation(len(x))][::-1] if seed % 2 else np.roll(x, 1, axis=0)
