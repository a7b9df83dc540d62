"""Bits: what a probe's probabilities say of labels, after they were tempered.

A probe of few samples is too sure of itself. What counts as information is what is left once it may
fall back on knowing nothing: its log-probabilities are drawn towards those of a fallback by a
temper that held-out train samples choose. A temper of 0 is the fallback itself, so that vectors
without information cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mindseye.readouts.probes.folds import Split, folds
from mindseye.readouts.probes.reading import Projected, Projection, logs, project
from mindseye.readouts.probes.samples import Labelled

__all__ = ["code_length", "fallback", "held_out", "log_likelihoods", "tempered", "tempering"]

_INNER = 3
_HOTTEST = 10.0
_SLIP = 1e-3
"""Share of the fallback in every probability, so that no label costs more than ten bits or so."""

_BLOCKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Where the online code refits, as shares of the samples."""


def fallback(samples: Labelled) -> Float[np.ndarray, " classes"]:
    """Return log-probabilities of labels for who sees no vector: one more of each than was seen."""
    counts = np.bincount(samples.labels, minlength=samples.n_classes) + 1
    return np.log(counts / counts.sum())


def held_out(part: Projected, seed: int) -> Float[np.ndarray, "train classes"] | None:
    """Return log-probabilities of the train samples, each from a probe without its group.

    Scale and components are those of all train samples; labels of the test samples play no part.
    None if there are too few groups.
    """
    found = np.zeros((len(part.train), part.train.n_classes))
    splits = folds(part.train.labels, part.train.groups, seed=seed, n_folds=_INNER)
    for train, test in splits:
        inner = Projected(part.train.part(train), part.train.part(test), test, train, part.reader)
        found[test] = logs(inner)
    return found if splits else None


def tempering(
    base: Float[np.ndarray, "*train classes"],
    found: Float[np.ndarray, "train classes"],
    labels: Int[np.ndarray, " train"],
) -> float:
    """Return the temper under which held-out samples are likeliest.

    One nat is charged per unit, so that a handful of samples cannot make it large.
    """
    own = np.arange(len(labels))

    def cost(temper: float) -> float:
        return float(temper - _drawn(base, found, temper)[own, labels].sum())

    return float(minimize_scalar(cost, bounds=(0, _HOTTEST), method="bounded").x)


def tempered(
    base: Float[np.ndarray, "*test classes"],
    found: Float[np.ndarray, "test classes"],
    temper: float,
) -> Float[np.ndarray, "test classes"]:
    """Return log-probabilities between those of the fallback (temper 0) and of a probe (1)."""
    drawn = _drawn(base, found, temper)
    return np.logaddexp(np.log1p(-_SLIP) + drawn, np.log(_SLIP) + base)


def _drawn(
    base: Float[np.ndarray, "*some classes"],
    found: Float[np.ndarray, "some classes"],
    temper: float,
) -> Float[np.ndarray, "some classes"]:
    return log_softmax(base + temper * (found - base), axis=-1)


def log_likelihoods(parts: Sequence[Projected], seed: int) -> Float[np.ndarray, "stages test"]:
    """Return log-probabilities of the test labels: without vectors, then with those of each part.

    Each part's probe is tempered towards the one before it, so that what is known already is
    never lost to a part that adds nothing.

    Args:
        parts: The same samples, projected from different vectors.
        seed: Of inner folds.
    """
    first = parts[0]
    own = np.arange(len(first.test))
    train = test = fallback(first.train)
    said = [test[first.test.labels]]
    for part in parts:
        held, found = held_out(part, seed), logs(part)
        if held is None:
            test = np.broadcast_to(test, found.shape)
        else:
            temper = tempering(train, held, part.train.labels)
            train, test = tempered(train, held, temper), tempered(test, found, temper)
        said.append(test[own, first.test.labels])
    return np.stack(said)


def code_length(samples: Labelled, how: Projection, seed: int) -> float:
    """Return how many bits labels take, sent in blocks, each coded by what the earlier ones teach.

    Groups are put in random order; the first block is sent with all labels equally likely.

    Source: online code of Voita & Titov 2020, arXiv 2003.12298; the probes that code are tempered.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.permutation(samples.groups.max() + 1)[samples.groups], kind="stable")
    ends = _ends(samples.groups[order], 2 * samples.n_classes)
    bits = ends[0] * np.log2(samples.n_classes)
    for begin, end in pairwise(ends):
        split: Split = (order[:begin], order[begin:end])
        bits -= log_likelihoods([project(samples, split, how)], seed)[1].sum() / np.log(2)
    return float(bits)


def _ends(groups: Int[np.ndarray, " samples"], least: int) -> list[int]:
    """Return where blocks end, at ends of groups; the first is of `least` samples at least."""
    n = len(groups)
    whole = np.append(np.flatnonzero(np.diff(groups)) + 1, n)
    wanted = [max(share * n, least) for share in _BLOCKS]
    return sorted({int(whole[min(np.searchsorted(whole, w), len(whole) - 1)]) for w in wanted})
