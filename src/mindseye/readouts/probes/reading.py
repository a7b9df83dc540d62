"""Cross-validated reading: what a probe that was fitted on other groups says of each sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mindseye.readouts.probes.folds import Split
from mindseye.readouts.probes.kinds import N_COMPONENTS, pipeline
from mindseye.readouts.probes.samples import Labelled

__all__ = ["Projected", "Projection", "logs", "project", "projections", "read"]

_LEAST = 1e-4
"""No label is held less likely than this by an untempered probe."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """How vectors are projected and read.

    Attributes:
        kind: Of probe.
        n_components: Of its projection.
    """

    kind: str = "logistic"
    n_components: int = N_COMPONENTS


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """Train and test samples, projected by what was fitted on the train samples.

    Attributes:
        train: To fit on.
        test: To read.
        index: Which samples the test samples are.
        fitted_on: Which samples the train samples are.
        reader: An unfitted estimator.
    """

    train: Labelled
    test: Labelled
    index: Int[np.ndarray, " test"]
    fitted_on: Int[np.ndarray, " train"]
    reader: Any

    def relabelled(self, labels: Int[np.ndarray, " samples"]) -> Projected:
        """Return the same vectors under other labels of all samples."""
        return replace(
            self,
            train=replace(self.train, labels=labels[self.fitted_on]),
            test=replace(self.test, labels=labels[self.index]),
        )


def project(samples: Labelled, split: Split, how: Projection) -> Projected:
    """Fit scale and components on the train samples and apply them to both."""
    train, test = (samples.part(index) for index in split)
    steps = pipeline(how.kind, len(train), train.features.shape[1], how.n_components)
    with np.errstate(invalid="ignore", divide="ignore"):  # vectors that never vary
        fitted = steps[:-1].fit(train.features)
        scores = [fitted.transform(part.features) for part in (train, test)]
    return Projected(
        train=replace(train, features=scores[0]),
        test=replace(test, features=scores[1]),
        index=split[1],
        fitted_on=split[0],
        reader=steps[-1],
    )


def projections(samples: Labelled, splits: Sequence[Split], how: Projection) -> list[Projected]:
    """Project every fold once, for whatever labels are read from it."""
    return [project(samples, split, how) for split in splits]


def read(
    parts: Sequence[Projected], labels: Int[np.ndarray, " samples"]
) -> Bool[np.ndarray, " samples"]:
    """Return which samples are read correctly by the probe that has not seen their group."""
    right = np.zeros(len(labels), dtype=bool)
    for part in (each.relabelled(labels) for each in parts):
        right[part.index] = _said(part) == part.test.labels
    return right


def _said(part: Projected) -> Int[np.ndarray, " test"]:
    seen = np.unique(part.train.labels)
    if len(seen) == 1:
        return np.full(len(part.test), seen[0])
    return _fitted(part).predict(part.test.features)


def logs(part: Projected) -> Float[np.ndarray, "test classes"]:
    """Return log-probabilities of all labels, also of those that the train samples lack."""
    shares = np.zeros((len(part.test), part.train.n_classes))
    seen = np.unique(part.train.labels)
    shares[:, seen] = 1.0 if len(seen) == 1 else _shares(_fitted(part), part.test.features)
    shares = shares.clip(_LEAST)
    return np.log(shares / shares.sum(axis=1, keepdims=True))


def _fitted(part: Projected) -> Any:
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():  # networks are stopped early, and early blocks are small
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        reader: Any = clone(part.reader)
        return reader.fit(part.train.features, part.train.labels)


def _shares(reader: Any, features: Float[np.ndarray, "test dims"]) -> Float[np.ndarray, "test k"]:
    """Return probabilities; those of ridge are its linear scores, cut to what can be shares."""
    if hasattr(reader, "predict_proba"):
        return reader.predict_proba(features)
    scores = reader.decision_function(features)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    shares = ((scores + 1) / 2).clip(_LEAST)
    return shares / shares.sum(axis=1, keepdims=True)
