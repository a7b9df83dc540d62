"""Along the slots: how far each step goes, and whether a nudge dies out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from mindseye.errors import SampleError

__all__ = ["contraction", "drift"]

_NOTHING = 1e-12


def drift(
    latents: Shaped[np.ndarray, "runs slots d_model"],
) -> Float[np.ndarray, "runs steps"]:
    """Return |z_{k+1} - z_k| / |z_k| of every run and step; not a number where z_k is 0.

    Args:
        latents: Of every run, in order; a step fewer than slots comes out.
    """
    held = latents.astype(np.float64)
    return _ratio(np.linalg.norm(np.diff(held, axis=1), axis=-1), _lengths(held)[:, :-1])


def contraction(
    latents: Shaped[np.ndarray, "runs slots d_model"],
    nudged: Shaped[np.ndarray, "runs slots d_model"],
) -> Float[np.ndarray, "runs steps"]:
    """Return |dz_{k+1}| / |dz_k| of every run and step, dz being what a nudge has changed.

    Below 1 the step forgets a nudge, above 1 it makes more of it. It is not a number before the
    nudge. Later slots must have been free to react: a closed loop.

    Args:
        latents: Of every run.
        nudged: Of the same runs after a small push at some slot.

    Raises:
        SampleError: Shapes that differ, or a nudge that changed nothing in any run.

    Source: a finite-difference reading of the contraction of the map from slot to slot.
    """
    if latents.shape != nudged.shape:
        raise SampleError(
            f"contraction got latents of shape {latents.shape} and nudged ones of {nudged.shape}; "
            "expected the same runs and slots."
        )
    held = latents.astype(np.float64)
    moved = _lengths(nudged.astype(np.float64) - held)
    moved[moved <= _NOTHING * _lengths(held)] = 0.0
    if not moved.any():
        raise SampleError(
            "contraction got nudged latents that equal the others, so no nudge fired. Push a slot, "
            "and let later ones react (a closed loop)."
        )
    return _ratio(moved[:, 1:], moved[:, :-1])


def _lengths(latents: Float[np.ndarray, "runs slots d_model"]) -> Float[np.ndarray, "runs slots"]:
    return np.linalg.norm(latents, axis=-1)


def _ratio(
    above: Float[np.ndarray, "runs steps"], below: Float[np.ndarray, "runs steps"]
) -> Float[np.ndarray, "runs steps"]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)
