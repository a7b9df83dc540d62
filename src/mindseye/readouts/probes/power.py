"""Power: how strong a signal would have been found; and what may be said of one that was not."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from mindseye.errors import SampleError
from mindseye.readouts.probes.folds import folds
from mindseye.readouts.probes.kinds import N_COMPONENTS, check_kind
from mindseye.readouts.probes.reading import Projection, projections, read
from mindseye.readouts.probes.samples import Labelled, Pooling, labelled
from mindseye.readouts.probes.shares import share_interval
from mindseye.readouts.probes.single import Probe

__all__ = ["Decodability", "Power", "decodability", "planted_power"]

_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
_LEVEL = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Power:
    """How often planted signals of known strength were found.

    Attributes:
        rows: `strength found accuracy`, weakest first, up to the first that is found often enough.
        target: Share of draws that counts as often enough.
        n_draws: Per strength.
    """

    rows: pd.DataFrame
    target: float
    n_draws: int

    @property
    def smallest(self) -> float:
        """The smallest strength found in the target share of draws; infinite if none was."""
        enough = self.rows[self.rows["found"] >= self.target]["strength"]
        return float(enough.min()) if len(enough) else np.inf

    def to_frame(self) -> pd.DataFrame:
        """Return one row per strength."""
        return self.rows.copy()


def planted_power(
    features: Shaped[np.ndarray, "samples *dims"],
    targets: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    strengths: Sequence[float] = _STRENGTHS,
    n_draws: int = 20,
    target: float = 0.8,
    kind: str = "logistic",
    pooling: Pooling = "concatenated",
    n_components: int = N_COMPONENTS,
    seed: int = 0,
) -> Power:
    """Plant a signal of known strength in the features themselves, and see whether it is found.

    Labels are first shuffled between samples, so that nothing is known of them. Then the samples of
    each label are shifted along a random direction of that label's own, by so many of the pooled
    within-label standard deviations along it. Found means that the lower end of the 95 % interval
    lies above the majority, which is also what `decodability` asks for.

    Args:
        features: One array per sample.
        targets: Their labels.
        groups: What each sample belongs to.
        strengths: In standard deviations; tried from the weakest on, until one is found.
        n_draws: Shuffles and directions per strength.
        target: Share of draws in which a signal must be found.
        kind: Of probe, as in `probe`.
        pooling: What becomes of several vectors per sample.
        n_components: Of the projection.
        seed: Draws everything.

    Returns:
        The recovery curve, and the smallest strength that is found.

    Raises:
        SampleError: A strength that is not positive, no draw, or what `probe` refuses.
        UnknownNameError: There is no such kind.
    """
    check_kind(kind)
    if n_draws < 1 or not strengths or not all(0 < each < np.inf for each in strengths):
        raise SampleError(
            f"planted_power got strengths={tuple(strengths)} and n_draws={n_draws}; expected "
            "strengths above 0, in standard deviations, and at least one draw."
        )
    samples = labelled(features, targets, groups, pooling)
    rng, how = np.random.default_rng(seed), Projection(kind, n_components)
    rows: list[dict[str, float]] = []
    for strength in sorted(float(each) for each in strengths):
        reads = [_read_planted(samples, strength, how, rng) for _ in range(n_draws)]
        found, accuracy = np.mean(reads, axis=0).tolist()
        rows.append({"strength": strength, "found": found, "accuracy": accuracy})
        if found >= target:
            break
    return Power(pd.DataFrame(rows), target, n_draws)


def _read_planted(
    samples: Labelled, strength: float, how: Projection, rng: np.random.Generator
) -> tuple[float, float]:
    """Return whether one planted signal is found, and how accurately it is read."""
    shuffled = replace(samples, labels=rng.permutation(samples.labels))
    planted = replace(shuffled, features=_plant(shuffled, strength, rng))
    splits = folds(planted.labels, planted.groups, seed=int(rng.integers(2**31)))
    right = read(projections(planted, splits, how), planted.labels)
    share = share_interval(right, planted.groups)
    return float(share.low > samples.majority), share.mean


def _plant(
    samples: Labelled, strength: float, rng: np.random.Generator
) -> Float[np.ndarray, "samples dims"]:
    """Shift the samples of each label along a direction of its own."""
    features, n_classes = samples.features, samples.n_classes
    ways = rng.standard_normal((n_classes, features.shape[1])).astype(features.dtype)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    along = features @ ways.T
    own = samples.labels[:, None] == np.arange(n_classes)
    means = (own.T @ along) / own.sum(axis=0)[:, None]
    spread = np.sqrt(((along - means[samples.labels]) ** 2).sum(axis=0) / (len(own) - n_classes))
    return features + ((own * (strength * spread)) @ ways).astype(features.dtype)


@dataclass(frozen=True, slots=True)
class Decodability:
    """What may be said of a probe's result.

    Attributes:
        word: `decodable`, `not decodable within margin` or `inconclusive`.
        why: In a sentence.
    """

    word: str
    why: str

    def __str__(self) -> str:
        return f"{self.word}: {self.why}"


def decodability(
    found: Probe, power: Power | None = None, *, margin: float = 0.1, strength: float = 4.0
) -> Decodability:
    """Say whether a target can be read; that it cannot is a claim, and takes margin and power.

    Args:
        found: What `probe` returned.
        power: What `planted_power` returned of the same features, labels and kind of probe.
        margin: How far above chance an accuracy would still count as not decodable.
        strength: A planted signal this strong, in standard deviations, must have been found.

    Returns:
        `decodable` if the interval lies above chance, the larger of majority and shuffled labels,
        and no permutation test speaks against it. `not decodable within margin` if it ends below
        chance and margin, and `strength` would have been found. `inconclusive` otherwise. All of it
        holds for this kind of probe and this number of samples.
    """
    chance = max(found.majority, found.shuffled)
    read_at = f"{found.accuracy:.0%} ({found.low:.0%} to {found.high:.0%}), chance {chance:.0%}"
    passed = max(_LEVEL, 1 / (1 + found.n_permutations))  # fewer than 19 cannot say 5 %
    if found.low > chance and not found.p_value > passed:
        return Decodability("decodable", f"{read_at}.")
    if found.high >= chance + margin:
        return Decodability(
            "inconclusive", f"{read_at}; the interval reaches beyond a margin of {margin:.0%}."
        )
    if power is None or power.smallest > strength:
        known = "power is unknown" if power is None else f"one of {strength:g} SD would be missed"
        return Decodability("inconclusive", f"{read_at}, but {known}.")
    return Decodability(
        "not decodable within margin",
        f"{read_at}; a signal of {power.smallest:g} SD would have been found in at least "
        f"{power.target:.0%} of draws.",
    )
