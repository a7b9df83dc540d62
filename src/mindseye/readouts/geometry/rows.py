"""Vectors as rows of a matrix, and what is done to them before they are compared.

There are far more dimensions than rows, so rows are first turned into as many coordinates as there
are of them. Every inner product between rows stays, and with it all that this package measures; no
matrix of d_model by d_model is ever made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from mindseye.errors import SampleError

__all__ = ["TRANSFORMS", "Cloud", "Transform", "checked", "cosines", "reduced", "transformed"]

Transform = Literal["raw", "centred", "z-scored", "without top"]

TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
"""As they are; less the mean; each dimension scaled as well; less the mean and the top components.

Source: the last is all-but-the-top, Mu & Viswanath 2018, arXiv 1702.01417; scaling undoes rogue
dimensions, Timkey & van Schijndel 2021, arXiv 2109.04404.
"""

_NOTHING = 1e-10
"""Of the longest raw row: what is left of a row below this is rounding."""


def checked(
    name: str, rows: Shaped[np.ndarray, "runs dims"], *, least: int = 2
) -> Float[np.ndarray, "runs dims"]:
    """Return rows in double precision.

    Args:
        name: Of the rows, for the message.
        rows: Real numbers of any precision.
        least: How many rows the measure takes.

    Raises:
        SampleError: Too few rows, or entries that are no finite numbers.
    """
    if rows.ndim != 2 or len(rows) < least or rows.shape[1] < 1:
        raise SampleError(
            f"{name} has shape {rows.shape}; expected (runs, dims) with at least {least} runs. "
            "Pass one row per run, and more runs if there are too few."
        )
    if not np.isfinite(rows).all():
        where = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise SampleError(
            f"{name} has entries that are no finite numbers, first in row {where}. Leave such runs "
            "out, or run the model in another dtype."
        )
    return rows.astype(np.float64)


def reduced(rows: Float[np.ndarray, "runs dims"]) -> Float[np.ndarray, "runs fewer"]:
    """Return rows in at most as many coordinates as there are rows, inner products kept."""
    n, d = rows.shape
    return np.asarray(np.linalg.qr(rows.T, mode="r")).T if d > n else rows


def transformed(
    rows: Float[np.ndarray, "runs dims"], how: Transform, *, n_top: int = 3
) -> Float[np.ndarray, "runs dims"]:
    """Return rows after one of `TRANSFORMS`; a row of which only rounding is left becomes 0.

    Args:
        rows: As they are. For `z-scored` in the model's own dimensions, since these are scaled.
        how: What is done.
        n_top: How many principal components `without top` takes out; with as many as there are,
            nothing is left.
    """
    if how == "raw":
        return rows
    moved = rows - rows.mean(axis=0)
    noise = _NOTHING * np.linalg.norm(rows, axis=1).max()
    varies = np.linalg.norm(moved, axis=1) > noise
    if how == "z-scored":
        moved = StandardScaler().fit_transform(rows)
    elif how == "without top" and varies.any():
        # The seed starts a power iteration; what it comes to does not depend on it.
        top = np.asarray(PCA(min(n_top, *rows.shape), random_state=0).fit(rows).components_)
        moved = moved - (moved @ top.T) @ top
        varies = np.linalg.norm(moved, axis=1) > noise
    return moved if varies.all() else np.where(varies[:, None], moved, 0.0)


def cosines(rows: Float[np.ndarray, "*runs dims"]) -> Float[np.ndarray, "*runs others"]:
    """Return the cosine of every two rows; not a number where a row is 0."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        unit = rows / lengths
    return unit @ np.swapaxes(unit, -1, -2)


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """One vector per run, in few coordinates.

    Attributes:
        plain: The vectors.
        scaled: The same, z-scored in the model's own dimensions beforehand.
        n_dims: How many dimensions there were.
    """

    plain: Float[np.ndarray, "runs coordinates"]
    scaled: Float[np.ndarray, "runs others"]
    n_dims: int

    @classmethod
    def of(cls, rows: Float[np.ndarray, "runs dims"]) -> Cloud:
        """Reduce vectors of one slot."""
        return cls(reduced(rows), reduced(transformed(rows, "z-scored")), rows.shape[1])

    @classmethod
    def joined(cls, clouds: Sequence[Cloud]) -> Cloud:
        """Return the cloud of the same runs' vectors put one after the other."""
        return cls(
            reduced(np.hstack([each.plain for each in clouds])),
            reduced(np.hstack([each.scaled for each in clouds])),
            sum(each.n_dims for each in clouds),
        )

    def transformed(self, how: Transform, n_top: int) -> Float[np.ndarray, "runs coordinates"]:
        """Return the vectors after one of `TRANSFORMS`."""
        if how == "z-scored":
            return self.scaled
        return transformed(self.plain, how, n_top=n_top)
