"""From runs of differing lengths to one array: common slots, or a window of other positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from mindseye.errors import SampleError

__all__ = ["stack", "windows"]


def stack(
    runs: Sequence[Shaped[np.ndarray, "_slots d_model"]],
) -> Float[np.ndarray, "runs slots d_model"]:
    """Put the latents of runs into one array.

    Args:
        runs: Of every run, such as `trace.latents.float().cpu().numpy()`.

    Raises:
        SampleError: No runs, or runs that differ in their number of slots.
    """
    shapes = sorted({run.shape for run in runs})
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise SampleError(
            f"stack got runs of shapes {', '.join(map(str, shapes)) or 'none'}; expected equal "
            "ones, (slots, d_model). Leave out runs of another length, or cut all to the slots "
            "that every one has."
        )
    return np.stack([run.astype(np.float64) for run in runs])


def windows(
    runs: Sequence[Shaped[np.ndarray, "_positions d_model"]],
    n_slots: int,
    *,
    rng: np.random.Generator,
) -> Float[np.ndarray, "runs slots d_model"]:
    """Draw as many neighbouring positions of every run as there are slots: a baseline.

    Each window begins anywhere, so that between runs its positions are random ones, while from one
    to the next it goes as text or image do; drift and cosines within a run need that.

    Args:
        runs: States at the positions to draw from, such as a run's text or image tokens, at the
            latents' layer.
        n_slots: How many.
        rng: Draws where each window begins.

    Raises:
        SampleError: No runs, or one that has too few positions.
    """
    short = [i for i, run in enumerate(runs) if len(run) < n_slots]
    if short or not runs or n_slots < 1:
        raise SampleError(
            f"windows got {len(runs)} runs and n_slots={n_slots}"
            + (f"; run {short[0]} has {len(runs[short[0]])} positions only" if short else "")
            + ". Leave such runs out, in the latents too, or compare fewer slots."
        )
    begins = [int(rng.integers(len(run) - n_slots + 1)) for run in runs]
    return stack([run[k : k + n_slots] for run, k in zip(runs, begins, strict=True)])
