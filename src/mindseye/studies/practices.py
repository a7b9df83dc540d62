"""Four common single numbers, and what they would have concluded.

Each is a practice from the literature on latent reasoning, taken as it is taken there: one number
and a threshold. They stand beside a verdict to show what they can and cannot see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mindseye.causal import Mediation
from mindseye.engine import Contrast
from mindseye.readouts import probe
from mindseye.readouts.geometry import cosines
from mindseye.reasoners import Trace

__all__ = ["FOOLED_BY", "SHARED", "Practice", "practices", "right"]

SHARED = 0.01
"""What every entry of the shared tensor is."""

_ALIKE = 0.9
_POINTS = 0.05

FOOLED_BY = {
    "raw cosine": "anisotropic",
    "probe": "bypass",
    "noise ablation": "backup",
    "shared tensor": "soft-prompt",
}
"""The organism that was made to mislead each of them."""


@dataclass(frozen=True, slots=True)
class Practice:
    """What one number says.

    Attributes:
        value: The number: a cosine, an accuracy, or points of accuracy lost.
        active: Whether it would be read as: the latents do something.
    """

    value: float
    active: bool


def right(logits: Float[Tensor, "*rows vocab"], parting: Contrast, /) -> Float[Tensor, "*rows"]:
    """Return 1 where the clean answer's token is the most likely one, else 0."""
    return (logits.argmax(dim=-1) == parting.clean).to(logits.dtype)


def practices(found: Mediation, traces: Sequence[Trace], *, seed: int = 0) -> dict[str, Practice]:
    """Return what four common practices would say of a reasoner.

    Args:
        found: A mediation with the outcome `right` and pins `noise` and `shared`.
        traces: Runs on different inputs.
        seed: Of the probe.

    Source: raw cosine, and accuracy under a shared tensor: Li et al. 2026, arXiv 2602.22766; noise
        ablation and probes are used throughout the literature that follows it.
    """
    fed = np.stack([trace.fed_latents.float().cpu().numpy() for trace in traces])
    cosine = _cosine(fed)
    read = probe(fed, [trace.sample.answer for trace in traces], seed=seed)
    lost = {arm: _points_lost(found, arm) for arm in ("noise", "shared")}
    return {
        "raw cosine": Practice(cosine, cosine < _ALIKE),
        "probe": Practice(read.accuracy, read.low > max(read.majority, read.shuffled)),
        "noise ablation": Practice(lost["noise"], lost["noise"] > _POINTS),
        "shared tensor": Practice(lost["shared"], lost["shared"] > _POINTS),
    }


def _cosine(fed: Float[np.ndarray, "runs slots d_model"]) -> float:
    """Return the mean cosine between inputs, slot by slot."""
    every = cosines(np.swapaxes(fed, 0, 1).astype(float))
    n = len(fed)
    return float((every.sum(axis=(1, 2)) - n).mean() / (n * (n - 1)))


def _points_lost(found: Mediation, arm: str) -> float:
    """Return how far accuracy falls when something else is fed."""
    rows = found.pinned[(found.pinned["level"] == "embedding") & (found.pinned["pin"] == arm)]
    return float(rows[rows["outcome"] == "right"]["nec"].mean())
