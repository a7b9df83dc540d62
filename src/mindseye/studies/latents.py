"""What a reasoner's latents say: every readout on the runs of an audit, and what replacing does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mindseye.causal import means
from mindseye.engine import battery
from mindseye.errors import SampleError
from mindseye.interventions.replacements import Pool
from mindseye.readouts import (
    Attention,
    Lens,
    ProbeBars,
    Similarity,
    attention,
    lens,
    probe_runs,
    similarity_runs,
)
from mindseye.readouts.geometry import Degeneracy, State
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Pair
from mindseye.studies.plain import plain

__all__ = ["REPLACEMENTS", "Latents", "read_latents"]

REPLACEMENTS = (
    "identity",
    "twin",
    "donor:answer=same",
    "donor:answer=other",
    "step_mean",
    "shared",
    "noise:scale=0.3",
    "matched_noise",
    "zero",
    "erase",
    "removal",
)
"""What is fed instead, unless somebody asks for other things."""

Track = Callable[[str, Sequence[Pair]], Iterable[Pair]]

_STATES: dict[str, tuple[State, State, State | None]] = {
    "mediates": ("present", "present", None),
    "redundant": ("present", "absent", None),
    "necessary only jointly": ("absent", "present", None),
    "soft prompt": ("absent", "absent", "present"),
    "negligible": ("absent", "absent", "absent"),
}
"""PIE, TIE and NEC, by the verdict that says so; others leave them open."""


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """What latents say.

    Attributes:
        similarity: How they lie, beside text, image and dummy tokens.
        degeneracy: What that may be called, given what exchanging them does.
        probes: How well the answer is read from them, beside other states; none if the runs have
            one answer only, or are too few.
        lens: What they are as words.
        attention: Where they look; none where samples have no region or its place is not known.
        replaced: What feeding other things does, one row per pair, arm and level.
        replacements: The arms, as they were asked for.
        n_runs: Runs that were read.
    """

    similarity: Similarity
    degeneracy: Degeneracy
    probes: ProbeBars | None
    lens: Lens
    attention: Attention | None
    replaced: pd.DataFrame
    replacements: tuple[str, ...]
    n_runs: int

    def effects(self) -> pd.DataFrame:
        """Return what every replacement does: means over pairs with 95 % intervals of clusters.

        Columns: `arm level mean low high n norm_percentile mahalanobis nearest`.
        """
        keys, order = ["arm", "level"], {arm: i for i, arm in enumerate(self.replacements)}
        rows = self.replaced.sort_values("arm", key=lambda arms: arms.map(order), kind="stable")
        scores = rows.groupby(keys, sort=False)[list(_SCORES)].mean().reset_index()
        return means(rows, keys).merge(scores, on=keys)

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain data for JSON."""
        signs = self.similarity.signs()
        return plain(
            {
                "n_runs": self.n_runs,
                "degeneracy": self.degeneracy.word,
                "reasons": self.degeneracy.reasons,
                "cosine": signs.cosine,
                "baseline_cosines": signs.baselines,
                "probes": None if self.probes is None else _accuracies(self.probes),
                "lens": self.lens.agreement(),
                "replacements": self.effects(),
            }
        )


_SCORES = ("norm_percentile", "mahalanobis", "nearest")


def read_latents(
    reasoner: Reasoner,
    minimal: Sequence[Pair],
    placebo: Sequence[Pair],
    *,
    verdict: str = "inconclusive",
    replacements: Sequence[str] = REPLACEMENTS,
    seed: int = 0,
    track: Track = lambda _title, pairs: pairs,
) -> Latents:
    """Read the latents of the clean runs of some pairs, with every readout and its control.

    Args:
        reasoner: What runs.
        minimal: Pairs whose answer changes; their clean samples are read, their latents replaced.
        placebo: Pairs on the same clean samples whose answer stays: what of a latent is noise.
        verdict: What a mediation on these pairs concluded, for the word on their geometry.
        replacements: What is fed instead of latents.
        seed: Of every draw.
        track: Shows progress.

    Raises:
        SampleError: Fewer than four runs imagined with their placebos, in equally many latents.
        UnknownNameError: No replacement of a name.
    """
    runs, quiet = _runs(reasoner, minimal, placebo, track)
    found = similarity_runs(runs, placebos=[quiet], n_permutations=99, seed=seed)
    pie, tie, nec = _STATES.get(verdict, (None, None, None))
    groups = [run.sample.image_key or run.sample.id for run in runs]
    return Latents(
        similarity=found,
        degeneracy=found.degeneracy(pie=pie, tie=tie, nec=nec),
        probes=_probes(runs, seed),
        lens=lens(
            reasoner,
            runs,
            top=5,
            targets=[run.sample.answer for run in runs],
            clusters=groups,
            seed=seed,
        ),
        attention=_attention(reasoner, runs, groups),
        replaced=battery(
            reasoner,
            minimal,
            replacements,
            levels=("embedding",),
            pool=Pool.of(runs),
            seed=seed,
            track=lambda pairs: track("replacing latents", pairs),
        ),
        replacements=tuple(replacements),
        n_runs=len(runs),
    )


def _runs(
    reasoner: Reasoner, minimal: Sequence[Pair], placebo: Sequence[Pair], track: Track
) -> tuple[list[Trace], list[Trace]]:
    """Run clean samples and their placebos; keep those that imagined in the commonest length."""
    found: list[tuple[Trace, Trace]] = []
    for pair, other in zip(track("reading latents", minimal), placebo, strict=True):
        runs = reasoner.run(pair.clean), reasoner.run(other.reference)
        if all(run.emitted for run in runs):
            found.append(runs)
    lengths = [tuple(len(run.latent_positions) for run in runs) for runs in found]
    equal = [length[0] for length in lengths if length[0] == length[1]]
    usual = max(equal, key=equal.count, default=0)
    kept = [runs for runs, length in zip(found, lengths, strict=True) if length == (usual, usual)]
    return [one for one, _ in kept], [two for _, two in kept]


def _probes(runs: Sequence[Trace], seed: int) -> ProbeBars | None:
    """Probe the answer; a probe needs two answers and some groups, which few runs may lack."""
    try:
        return probe_runs(runs, n_permutations=9, seed=seed)
    except SampleError:
        return None


def _attention(
    reasoner: Reasoner, runs: Sequence[Trace], groups: Sequence[str]
) -> Attention | None:
    """Measure attention to the region, where there is one and its place is known."""
    try:
        return attention(reasoner, runs, heads=False, clusters=groups)
    except SampleError:
        return None


def _accuracies(bars: ProbeBars) -> list[dict[str, Any]]:
    """Return the accuracy of every probe, beside its shuffled labels."""
    return [
        {
            "layer": layer,
            "representation": name,
            "slot": slot,
            "accuracy": found.accuracy,
            "low": found.low,
            "high": found.high,
            "shuffled": found.shuffled,
            "majority": found.majority,
        }
        for (layer, name, slot), found in bars.probes.items()
    ]
