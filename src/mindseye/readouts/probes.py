"""Linear probes: what can be read from the latents, whether or not the model reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binomtest

from mindseye.errors import SampleError

__all__ = ["Probe", "probe"]

_FOLDS = 5
_COMPONENTS = 32


@dataclass(frozen=True, slots=True)
class Probe:
    """How well a target is read from features that the probe was not fitted on.

    Attributes:
        accuracy: Share of samples read correctly, each by a probe that saw none of its group.
        low: Lower end of the exact 95 % interval, which takes samples as independent.
        high: Upper end.
        shuffled: The same accuracy with labels shuffled between samples: the control.
        majority: Share of the commonest label.
        n: Samples.
    """

    accuracy: float
    low: float
    high: float
    shuffled: float
    majority: float
    n: int

    def to_frame(self) -> pd.DataFrame:
        """Return one row."""
        return pd.DataFrame([{name: getattr(self, name) for name in self.__slots__}])


def probe(
    features: Float[np.ndarray, "samples *dims"],
    targets: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Probe:
    """Cross-validate a linear probe: standardise, project on 32 components, logistic regression.

    Everything is fitted inside the folds, so that many more dimensions than samples do no harm.

    Args:
        features: One array per sample, such as its latents; flattened.
        targets: What to read, such as the answers.
        groups: Samples of a group, such as a pair, never part between folds.
        seed: Draws the folds and the shuffled control.

    Raises:
        SampleError: Fewer samples than folds, one label only, or lengths that differ.

    Source: the shuffled control after Hewitt & Liang 2019, arXiv 1909.03368.
    """
    labels = np.asarray(targets)
    if len(features) != len(labels) or (groups is not None and len(groups) != len(labels)):
        raise SampleError(
            f"probe got {len(features)} features, {len(labels)} targets and "
            f"{'no' if groups is None else len(groups)} groups; expected one each per sample."
        )
    kinds, counts = np.unique(labels, return_counts=True)
    members = (
        np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    )
    n_groups = len(set(members.tolist()))
    if len(kinds) < 2 or n_groups < _FOLDS:
        raise SampleError(
            f"probe got {n_groups} groups of samples with {len(kinds)} different targets; it takes "
            f"at least {_FOLDS} groups and 2 targets. Give it more samples."
        )
    flat = np.asarray(features, np.float64).reshape(len(labels), -1)
    rng = np.random.default_rng(seed)
    right = _cross_validate(flat, labels, members, rng)
    chance = _cross_validate(flat, rng.permutation(labels), members, rng)
    exact = binomtest(int(right.sum()), len(right)).proportion_ci()
    return Probe(
        accuracy=float(right.mean()),
        low=float(exact.low),
        high=float(exact.high),
        shuffled=float(chance.mean()),
        majority=float(counts.max() / counts.sum()),
        n=len(labels),
    )


def _cross_validate(
    features: np.ndarray, labels: np.ndarray, members: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return for every sample whether a probe fitted on the other folds reads it."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    n_train = len(labels) - -(-len(labels) // _FOLDS)
    components = max(1, min(_COMPONENTS, features.shape[1], n_train // 2))
    model = make_pipeline(
        StandardScaler(), PCA(components, random_state=0), LogisticRegression(max_iter=2000)
    )
    folds = GroupKFold(_FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
    with np.errstate(invalid="ignore"):  # features that never vary have no variance to share out
        read = cross_val_predict(model, features, labels, groups=members, cv=folds)
    return np.asarray(read == labels)
