"""What latents add to what is known already from the image and the question."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from mindseye.causal.intervals import interval
from mindseye.errors import SampleError
from mindseye.readouts.probes.bits import log_likelihoods
from mindseye.readouts.probes.folds import Split, folds
from mindseye.readouts.probes.kinds import N_COMPONENTS, check_kind
from mindseye.readouts.probes.reading import Projected, Projection, project
from mindseye.readouts.probes.samples import Labelled, Pooling, labelled

__all__ = ["Gain", "conditional_gain"]


@dataclass(frozen=True, slots=True)
class Gain:
    """Usable information that latents add to what is given.

    Attributes:
        gain: Bits per sample, `entropy_given - entropy_both`.
        low: Lower end of the 95 % interval over groups.
        high: Upper end.
        entropy: Bits that labels take without any vector.
        entropy_given: Bits that are left when what is given is known.
        entropy_both: Bits that are left when the latents are known as well.
        n: Samples.
        pointwise: The gain on each sample's own label.
    """

    gain: float
    low: float
    high: float
    entropy: float
    entropy_given: float
    entropy_both: float
    n: int
    pointwise: Float[np.ndarray, " samples"] = field(compare=False, repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Return one row, without the values per sample."""
        named = [each.name for each in fields(self) if each.name != "pointwise"]
        return pd.DataFrame([{name: getattr(self, name) for name in named}])


def conditional_gain(
    latents: Shaped[np.ndarray, "samples *dims"],
    given: Mapping[str, Shaped[np.ndarray, "samples *_dims"]],
    targets: Sequence[Hashable],
    *,
    groups: Sequence[Hashable] | None = None,
    kind: str = "logistic",
    pooling: Pooling = "concatenated",
    n_components: int = N_COMPONENTS,
    seed: int = 0,
) -> Gain:
    """Return I_V(Y; Z | given) = H_V(Y | given) - H_V(Y | given, Z), in bits per sample.

    Latents are computed from image and question, so they hold no Shannon information about the
    target that these do not hold. What they can add is that a probe of limited means finds it. Each
    array is projected by itself, so that large ones do not drown small ones.

    Args:
        latents: Z, one array per sample.
        given: What is known already by name, such as the image's and the question's vectors.
        targets: Y.
        groups: What each sample belongs to, such as its image.
        kind: Of probe, as in `probe`.
        pooling: What becomes of several vectors per sample.
        n_components: Of each array's projection.
        seed: Draws folds and resamples.

    Returns:
        The gain. It is a difference of two probes that read the same held-out samples; a negative
        one says that latents mislead more than they tell.

    Raises:
        SampleError: Nothing is given, or what `probe` refuses.
        UnknownNameError: There is no such kind.

    Source: Xu et al. 2020, arXiv 2002.10689; conditional: Hewitt et al. 2021, arXiv 2109.09234.
    """
    check_kind(kind)
    if not given:
        raise SampleError(
            "conditional_gain got nothing that is given; expected at least one array by name, such "
            "as given={'image': ..., 'question': ...}. Without one, probe(...).v_information is it."
        )
    known = [labelled(each, targets, groups, pooling) for each in given.values()]
    every = [*known, labelled(latents, targets, groups, pooling)]
    how, samples = Projection(kind, n_components), every[0]
    said = np.zeros((3, len(samples)))
    for split in folds(samples.labels, samples.groups, seed=seed):
        parts = [_together(those, split, how) for those in (known, every)]
        said[:, split[1]] = log_likelihoods(parts, seed) / np.log(2)
    gained = said[2] - said[1]
    rng = np.random.default_rng(seed)
    found = interval(gained, samples.groups.tolist(), rng=rng)
    without, with_given, with_both = (-said.mean(axis=1)).tolist()
    return Gain(
        gain=found.mean,
        low=float(found.low),
        high=float(found.high),
        entropy=without,
        entropy_given=with_given,
        entropy_both=with_both,
        n=len(samples),
        pointwise=gained,
    )


def _together(arrays: Sequence[Labelled], split: Split, how: Projection) -> Projected:
    """Project each array by itself and put the scores side by side."""
    parts = [project(each, split, how) for each in arrays]
    trains, tests = ([getattr(p, side).features for p in parts] for side in ("train", "test"))
    return replace(
        parts[0],
        train=replace(parts[0].train, features=np.concatenate(trains, axis=1)),
        test=replace(parts[0].test, features=np.concatenate(tests, axis=1)),
    )
