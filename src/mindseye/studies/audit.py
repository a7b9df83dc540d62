"""The audit: does a reasoner's imagination do any work on a task?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mindseye.causal import Interval, Mediation, bootstrap_mean, mediate
from mindseye.engine import LEVELS, Grid, sweep
from mindseye.errors import SampleError
from mindseye.readouts import Probe, probe
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Pair
from mindseye.tasks import Task

__all__ = ["Audit", "audit"]

_N_EXAMPLES = 3

Track = Callable[[str, Sequence[Pair]], Iterable[Pair]]
"""Wraps pairs to show progress; the first argument says what is going on."""


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        name: Of the reasoner, without its scheme or the folders above it.
        mediation: On pairs whose answer changes.
        placebo: On pairs whose answer stays; only its total effect matters.
        grid: Every layer and slot, patched with the clean run's residual.
        probe: How well a linear probe reads the gold answer from the latents; none if there are
            too few runs to fit one.
        examples: Runs of the first clean samples.
        truth: What is known of the reasoner beforehand, in words; empty if nothing is.
    """

    name: str
    mediation: Mediation
    placebo: Mediation
    grid: Grid
    probe: Probe | None
    examples: tuple[Trace, ...]
    truth: str = ""

    @property
    def placebo_te(self) -> Interval:
        """The total effect of a change that should change nothing, in nats."""
        first = self.placebo.rows.drop_duplicates("pair")
        return bootstrap_mean(first["te"].to_numpy(), rng=np.random.default_rng(0))

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain data for JSON."""
        effects: dict[str, dict[str, dict[str, float | None]]] = {}
        for row in self.mediation.effects.to_dict("records"):
            numbers = {key: _finite(row[key]) for key in ("mean", "low", "high", "flip_rate")}
            effects.setdefault(row["level"], {})[row["effect"]] = numbers
        placebo = self.placebo_te
        return {
            "truth": self.truth,
            "accuracy": self.mediation.accuracy,
            "n_pairs": self.mediation.n_pairs,
            "emission_rate": self.mediation.emission_rate,
            "parse_rate": self.mediation.parse_rate,
            "effects": effects,
            "verdict": self.mediation.verdict,
            "reasons": {k: list(v.reasons) for k, v in self.mediation.verdicts.items()},
            "guards": {
                **self.mediation.guards,
                "placebo_te": {
                    key: _finite(getattr(placebo, key)) for key in ("mean", "low", "high")
                },
            },
            "probe": self.probe and self.probe.to_frame().to_dict("records")[0],
        }


def audit(
    reasoner: Reasoner,
    task: Task,
    *,
    n_pairs: int = 64,
    levels: Sequence[str] = LEVELS,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    truth: str = "",
    track: Track = lambda _title, pairs: pairs,
) -> Audit:
    """Audit a reasoner on minimal and placebo pairs of a task.

    Args:
        reasoner: What runs.
        task: Where pairs come from; held-out ones are used.
        n_pairs: Pairs of each kind.
        levels: What counts as the mediator.
        layers: Which layers to sweep; all if left out.
        seed: Of the pairs, the bootstrap and the probe.
        truth: What is known of the reasoner beforehand, to stand beside the verdict.
        track: Shows progress.

    Raises:
        EditError: A level or layer that does not exist.
        SampleError: `n_pairs` is below 2, or the reasoner imagined in no pair.
    """
    if n_pairs < 2:
        raise SampleError(f"An audit got {n_pairs} pairs; an interval needs at least 2.")
    minimal = task.pairs(n_pairs, kind="minimal", seed=seed)
    placebo = task.pairs(n_pairs, kind="placebo", seed=seed)
    grid = sweep(
        reasoner,
        minimal,
        layers=layers,
        track=lambda pairs: track("patching layers x slots", pairs),
    )
    mediation = mediate(
        reasoner, minimal, levels=levels, seed=seed, track=lambda pairs: track("mediation", pairs)
    )
    return Audit(
        name=_short(reasoner.name),
        mediation=mediation,
        placebo=mediate(
            reasoner,
            placebo,
            levels=levels[:1],
            seed=seed,
            track=lambda pairs: track("placebo pairs", pairs),
        ),
        grid=grid,
        probe=_probe(mediation, seed),
        examples=tuple(reasoner.run(pair.clean) for pair in minimal[:_N_EXAMPLES]),
        truth=truth,
    )


def _short(name: str) -> str:
    """Return a reasoner's name without its scheme, or the last part of its path or hub id."""
    return name.partition(":")[2] or Path(name).name


def _probe(mediation: Mediation, seed: int) -> Probe | None:
    runs = mediation.runs[mediation.runs["emitted"]]
    if runs["gold"].nunique() < 2 or runs["pair"].nunique() < 10:
        return None
    return probe(mediation.latents, runs["gold"].tolist(), groups=runs["pair"].tolist(), seed=seed)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
