"""One probe of one representation, with everything that its accuracy must be held against."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from mindseye.causal.intervals import interval
from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import p_value
from mindseye.readouts.probes.bits import code_length, log_likelihoods
from mindseye.readouts.probes.folds import folds, within
from mindseye.readouts.probes.kinds import N_COMPONENTS, check_kind
from mindseye.readouts.probes.reading import Projected, Projection, projections, read
from mindseye.readouts.probes.samples import Labelled, Pooling, labelled, numbered
from mindseye.readouts.probes.shares import share_interval

__all__ = ["Probe", "probe"]

_N_CONTROLS = 5


@dataclass(frozen=True, slots=True)
class Probe:
    """How well a target is read from features that the probe was not fitted on.

    Attributes:
        accuracy: Share of samples read correctly, each by a probe that saw none of its group.
        low: Lower end of the 95 % interval, which takes groups as independent.
        high: Upper end.
        shuffled: Mean accuracy with labels shuffled between groups: the control.
        majority: Share of the commonest label.
        n: Samples.
        n_groups: Groups of samples.
        kind: Of probe.
        p_value: How often shuffled labels are read at least as well; not a number without
            permutations.
        n_permutations: How many there were; of 19, the smallest possible p-value is 0.05.
        control: Accuracy on the control task, labels drawn for each type of input; the shuffled
            control if no types are known.
        selectivity: Accuracy less that on the control task.
        mdl_bits: Length of the online code of all labels.
        compression: That of labels which are all equally likely, divided by it; 1 or less if
            nothing is learned.
        v_information: Bits about the target that this kind of probe can use, by the mean of `pvi`.
        v_low: Lower end of its 95 % interval.
        v_high: Upper end.
        pvi: Bits gained on each sample's own label; negative where the probe misleads.
    """

    accuracy: float
    low: float
    high: float
    shuffled: float
    majority: float
    n: int
    n_groups: int
    kind: str
    p_value: float
    n_permutations: int
    control: float
    selectivity: float
    mdl_bits: float
    compression: float
    v_information: float
    v_low: float
    v_high: float
    pvi: Float[np.ndarray, " samples"] = field(compare=False, repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Return one row, without the values per sample."""
        named = [each.name for each in fields(self) if each.name != "pvi"]
        return pd.DataFrame([{name: getattr(self, name) for name in named}])


def probe(
    features: Shaped[np.ndarray, "samples *dims"],
    targets: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    types: Sequence[Hashable] | None = None,
    kind: str = "logistic",
    pooling: Pooling = "concatenated",
    n_components: int = N_COMPONENTS,
    n_permutations: int = 19,
    seed: int = 0,
) -> Probe:
    """Cross-validate a probe: standardise, project on principal components, read.

    Everything is fitted inside five folds, which keep groups whole, so that many more dimensions
    than samples do no harm.

    Args:
        features: One array per sample, such as its latents.
        targets: What to read, such as the answers.
        groups: What each sample belongs to, such as its image; samples of a group never part
            between folds, and are shuffled and resampled as one. All are independent if left out.
        types: What kind of input each sample is, such as its question, for the control task: a
            label per type, drawn at random, which a probe can only know by heart.
        kind: `logistic`, `ridge`, `mlp` (one hidden layer) or `neighbours`.
        pooling: What becomes of several vectors per sample: all of them, or their mean.
        n_components: Of the projection; at most half the samples that a fold is fitted on.
        n_permutations: Of the test, and how many the shuffled control is the mean of. With 0 there
            is no test, and one shuffle is the control.
        seed: Draws folds, shuffles, control tasks and the order of the code.

    Raises:
        SampleError: Fewer groups than folds, one label only, lengths that differ, or features that
            are no finite numbers.
        UnknownNameError: There is no such kind.

    Source: Hewitt & Liang 2019, arXiv 1909.03368 (control tasks); Voita & Titov 2020, arXiv
        2003.12298 (code length); Xu et al. 2020, arXiv 2002.10689 (usable information);
        Ethayarajh et al. 2022, arXiv 2110.08420 (per sample).
    """
    check_kind(kind)
    samples = labelled(features, targets, groups, pooling)
    _check_types(types, len(samples), n_permutations)
    how, rng = Projection(kind, n_components), np.random.default_rng(seed)
    splits = folds(samples.labels, samples.groups, seed=seed)
    parts = projections(samples, splits, how)
    right = read(parts, samples.labels)
    share = share_interval(right, samples.groups)
    orders = within(splits, samples.groups, max(n_permutations, 1), rng)
    shuffled = np.array([read(parts, samples.labels[order]).mean() for order in orders])
    control = shuffled.mean() if types is None else _control(parts, samples, numbered(types), rng)
    gained = pointwise(parts, len(samples), seed)
    usable = interval(gained, samples.groups.tolist(), rng=rng)
    bits = code_length(samples, how, seed)
    return Probe(
        accuracy=share.mean,
        low=share.low,
        high=share.high,
        shuffled=float(shuffled.mean()),
        majority=samples.majority,
        n=len(samples),
        n_groups=len(np.unique(samples.groups)),
        kind=kind,
        p_value=p_value(share.mean, shuffled) if n_permutations else np.nan,
        n_permutations=n_permutations,
        control=float(control),
        selectivity=share.mean - float(control),
        mdl_bits=bits,
        compression=float(len(samples) * np.log2(samples.n_classes) / bits),
        v_information=usable.mean,
        v_low=float(usable.low),
        v_high=float(usable.high),
        pvi=gained,
    )


def pointwise(parts: Sequence[Projected], n: int, seed: int) -> Float[np.ndarray, " samples"]:
    """Return the bits that vectors gain on each sample's own label, read by the other folds."""
    gained = np.zeros(n)
    for part in parts:
        without, with_them = log_likelihoods([part], seed)
        gained[part.index] = (with_them - without) / np.log(2)
    return gained


def _control(
    parts: Sequence[Projected],
    samples: Labelled,
    types: Int[np.ndarray, " samples"],
    rng: np.random.Generator,
) -> float:
    """Return the mean accuracy on tasks whose label is drawn for each type, as labels are found."""
    drawn = rng.choice(samples.labels, size=(_N_CONTROLS, types.max() + 1))
    return float(np.mean([read(parts, labels[types]).mean() for labels in drawn]))


def _check_types(types: Sequence[Hashable] | None, n: int, n_permutations: int) -> None:
    if types is not None and (len(types) != n or len(set(types)) < 2):
        raise SampleError(
            f"probe got {n} samples and {len(types)} types, {len(set(types))} of them different; "
            "expected one per sample and at least 2. Leave types out if all inputs are of one."
        )
    if n_permutations < 0:
        raise SampleError(f"probe got n_permutations={n_permutations}; pass 0 for no test.")
