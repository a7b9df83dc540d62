"""What is probed: one vector, one label and one group per sample, checked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from mindseye.errors import SampleError

__all__ = ["N_FOLDS", "Labelled", "Pooling", "labelled", "numbered", "vectors"]

N_FOLDS = 5

Pooling = Literal["concatenated", "mean"]
"""How a sample's vectors, such as its slots, become one: end to end, or their mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Samples that a probe can be fitted on.

    Attributes:
        features: One vector per sample.
        labels: Numbers from 0.
        groups: Numbers from 0; samples of a group never part.
        n_classes: How many labels there are in all; a part of the samples may lack some.
    """

    features: Float[np.ndarray, "samples dims"]
    labels: Int[np.ndarray, " samples"]
    groups: Int[np.ndarray, " samples"]
    n_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, index: Int[np.ndarray, " part"]) -> Labelled:
        """Return some of the samples."""
        return replace(
            self,
            features=self.features[index],
            labels=self.labels[index],
            groups=self.groups[index],
        )

    @property
    def majority(self) -> float:
        """Share of the commonest label."""
        return float(np.bincount(self.labels).max() / len(self))


def labelled(
    features: Shaped[np.ndarray, "samples *dims"],
    targets: Sequence[Hashable],
    groups: Sequence[Hashable] | None,
    pooling: Pooling = "concatenated",
) -> Labelled:
    """Check samples, and number their labels and groups.

    Raises:
        SampleError: Lengths differ, there are fewer groups than folds or only one label, or a
            feature is no finite number.
    """
    for what, held in (("targets", targets), ("groups", groups)):
        if held is not None and len(held) != len(features):
            raise SampleError(
                f"probe got {len(features)} features and {len(held)} {what}; expected one each per "
                "sample. Give it as many of both."
            )
    labels = numbered(targets)
    members = np.arange(len(labels)) if groups is None else numbered(groups)
    n_groups, n_classes = len(np.unique(members)), len(np.unique(labels))
    if n_classes < 2:
        raise SampleError(
            f"probe got {n_classes} different targets in {len(labels)} samples; it takes at least "
            "2. Give it samples that differ in what is to be read."
        )
    if n_groups < N_FOLDS:
        raise SampleError(
            f"probe got {n_groups} groups of samples; it takes at least {N_FOLDS} groups, one per "
            "fold. Give it more samples, or finer groups."
        )
    return Labelled(vectors(features, pooling), labels, members, n_classes)


def vectors(
    features: Shaped[np.ndarray, "samples *dims"], pooling: Pooling = "concatenated"
) -> Float[np.ndarray, "samples flat"]:
    """Return one vector per sample, in single precision if no more was given.

    Raises:
        SampleError: An entry is no finite number.
    """
    exact = features.dtype.itemsize > 4 or features.dtype.kind != "f"
    held = features.astype(np.float64 if exact else np.float32, copy=False)
    wrong = ~np.isfinite(held.reshape(len(held), -1)).all(axis=1)
    if wrong.any():
        raise SampleError(
            f"probe got features that are no finite numbers in {int(wrong.sum())} of {len(held)} "
            f"samples, first in sample {int(wrong.argmax())}. Leave these out, or see why the "
            "model made them."
        )
    if pooling == "mean" and held.ndim > 2:
        held = held.mean(axis=tuple(range(1, held.ndim - 1)))
    return held.reshape(len(held), -1)


def numbered(names: Sequence[Hashable]) -> Int[np.ndarray, " samples"]:
    """Return names as numbers, in the order they first come up."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in names], dtype=int)
