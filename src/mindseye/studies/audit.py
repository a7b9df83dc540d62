"""The audit: does a reasoner's imagination do any work on a task?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mindseye.causal import Forecast, Interval, Mediation, checklist, forecast, mediate
from mindseye.causal.forecasting import PILOT
from mindseye.engine import LEVELS, Grid, backup_effects, find_arms, slot_effects, sweep
from mindseye.errors import SampleError
from mindseye.readouts import Probe, probe
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Pair
from mindseye.studies.latents import REPLACEMENTS, Latents, read_latents
from mindseye.studies.plain import plain
from mindseye.tasks import Perturbed, Task

__all__ = ["Audit", "audit"]

_N_EXAMPLES = 3
_N_SLOT_PAIRS = 16
_LEAST_READ = 32

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
        backup: The latents' effect with the direct path open and cut; see `backup_effects`.
        slots: Slots one by one, in order and together, on the first pairs; see `slot_effects`.
        latents: What the latents say, and what replacing them does; none if too few runs imagined.
        examples: Runs of the first clean samples.
        truth: What is known of the reasoner beforehand, in words; empty if nothing is.
    """

    name: str
    mediation: Mediation
    placebo: Mediation
    grid: Grid
    probe: Probe | None
    backup: pd.DataFrame
    slots: pd.DataFrame
    latents: Latents | None
    examples: tuple[Trace, ...]
    truth: str = ""

    @property
    def placebo_te(self) -> Interval:
        """The total effect of a change that should change nothing, in nats."""
        return self.placebo.effect("te", level=next(iter(self.placebo.verdicts)))

    @property
    def checklist(self) -> pd.DataFrame:
        """The referee's checklist, with what was run beside the mediation filled in."""
        opened, cut = (self.backup[way].mean() for way in ("open", "cut"))
        joint = self._mean_slot_effect("joint")
        singles = self._mean_slot_effect("frozen") * self.mediation.latents.shape[1]
        placebo, size = self.placebo_te, self.mediation.margin_size
        quiet = -size < placebo.low and placebo.high < size
        n_slot_pairs = self.slots["pair"].nunique()
        return checklist(
            self.mediation,
            {
                8: ("done", f"PIE {opened:.3g} with the direct path open, {cut:.3g} cut"),
                9: (
                    "done",
                    f"joint {joint:.3g}, sum of singles {singles:.3g} ({n_slot_pairs} pairs)",
                ),
                13: (
                    "done" if quiet else "failed",
                    f"placebo pairs: TE {placebo.mean:.3g} ({placebo.low:.3g} to "
                    f"{placebo.high:.3g})",
                ),
            },
        )

    def summary(self) -> dict[str, Any]:
        """Return the numbers as plain data for JSON."""
        found, placebo = self.mediation, self.placebo_te
        effects: dict[str, dict[str, dict[str, float]]] = {}
        for row in found.effects[found.effects["outcome"] == found.outcome].to_dict("records"):
            numbers = {key: row[key] for key in _REPORTED}
            effects.setdefault(row["level"], {})[row["effect"]] = numbers
        return plain(
            {
                "truth": self.truth,
                "accuracy": found.accuracy,
                "n_pairs": found.n_pairs,
                "n_clusters": found.n_clusters,
                "emission_rate": found.emission_rate,
                "parse_rate": found.parse_rate,
                "outcome": found.outcome,
                "margin": found.margin_size,
                "effects": effects,
                "contrasts": found.contrasts,
                "shares": found.shares,
                "controlled": found.controlled,
                "verdict": found.verdict,
                "reasons": found.conclusion.reasons,
                "levels": {
                    level: {"verdict": each.word, "reasons": each.reasons}
                    for level, each in found.verdicts.items()
                },
                "guards": {
                    **found.guards,
                    "placebo_te": {"mean": placebo.mean, "low": placebo.low, "high": placebo.high},
                },
                "checklist": self.checklist,
                "probe": self.probe and self.probe.to_frame().to_dict("records")[0],
                "latents": self.latents and self.latents.summary(),
            }
        )

    def _mean_slot_effect(self, way: str) -> float:
        return float(self.slots[self.slots["way"] == way]["effect"].mean())


def audit(
    reasoner: Reasoner,
    task: Task,
    *,
    n_pairs: int = 64,
    levels: Sequence[str] = LEVELS,
    layers: Sequence[int] | None = None,
    perturb: str | None = None,
    replace: Sequence[str] = REPLACEMENTS,
    seed: int = 0,
    truth: str = "",
    track: Track = lambda _title, pairs: pairs,
    announce: Callable[[Forecast], None] | None = None,
) -> Audit:
    """Audit a reasoner on minimal and placebo pairs of a task.

    Args:
        reasoner: What runs.
        task: Where pairs come from; held-out ones are used.
        n_pairs: Pairs of each kind.
        levels: What counts as the mediator.
        layers: Which layers to sweep; all if left out.
        perturb: A perturbation that makes the pairs, such as `mask_target`, instead of the task's
            own minimal ones; the task must be `Perturbed`.
        replace: What latents are replaced by, beside the mediation: names of replacements.
        seed: Of the pairs, the bootstrap and the probe.
        truth: What is known of the reasoner beforehand, to stand beside the verdict.
        track: Shows progress.
        announce: Told beforehand what so many pairs can show, from a pilot of a few; without it
            there is no pilot.

    Raises:
        EditError: A level or layer that does not exist.
        SampleError: `n_pairs` is below 2, or the reasoner imagined in no pair.
        UnknownNameError: No perturbation or replacement of a name.
    """
    if n_pairs < 2:
        raise SampleError(f"An audit got {n_pairs} pairs; an interval needs at least 2.")
    find_arms(replace, seed=seed)  # an unknown name should not wait for the mediation
    minimal = _pairs(task, n_pairs, perturb, seed)
    placebo = task.pairs(n_pairs, kind="placebo", seed=seed)
    if announce is not None:
        pilot = min(PILOT, n_pairs)
        announce(forecast(reasoner, minimal, pilot=pilot, levels=levels, seed=seed))
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
            pins={},
            seed=seed,
            track=lambda pairs: track("placebo pairs", pairs),
        ),
        grid=grid,
        probe=_probe(mediation, seed),
        backup=backup_effects(
            reasoner, minimal, track=lambda pairs: track("direct path cut", pairs)
        ),
        slots=slot_effects(
            reasoner,
            minimal[:_N_SLOT_PAIRS],
            seed=seed,
            track=lambda pairs: track("slots one by one", pairs),
        ),
        latents=_latents(reasoner, minimal, placebo, mediation, replace, seed, track),
        examples=tuple(reasoner.run(pair.clean) for pair in minimal[:_N_EXAMPLES]),
        truth=truth,
    )


def _short(name: str) -> str:
    """Return a reasoner's name without its scheme, or the last part of its path or hub id."""
    return name.partition(":")[2] or Path(name).name


def _pairs(task: Task, n_pairs: int, perturb: str | None, seed: int) -> Sequence[Pair]:
    """Draw minimal pairs, or perturbed ones.

    Raises:
        SampleError: The task cannot be perturbed.
    """
    if perturb is None:
        return task.pairs(n_pairs, kind="minimal", seed=seed)
    if not isinstance(task, Perturbed):
        raise SampleError(
            f"{type(task).__name__} makes no perturbed pairs, so {perturb!r} cannot be used. Let "
            "it inherit mindseye.tasks.Perturbed, or leave the perturbation out."
        )
    return task.perturbed(perturb, n_pairs, seed=seed)


def _latents(
    reasoner: Reasoner,
    minimal: Sequence[Pair],
    placebo: Sequence[Pair],
    mediation: Mediation,
    replace: Sequence[str],
    seed: int,
    track: Track,
) -> Latents | None:
    """Read the latents, unless there are too few runs to say anything of."""
    if len(mediation.latents) < _LEAST_READ:
        return None
    return read_latents(
        reasoner,
        minimal,
        placebo,
        verdict=mediation.verdict,
        replacements=replace,
        seed=seed,
        track=track,
    )


def _probe(mediation: Mediation, seed: int) -> Probe | None:
    runs = mediation.runs[mediation.runs["emitted"]]
    if runs["gold"].nunique() < 2 or runs["pair"].nunique() < 10:
        return None
    return probe(mediation.latents, runs["gold"].tolist(), groups=runs["pair"].tolist(), seed=seed)


_REPORTED = ("mean", "low", "high", "p_value", "abs_mean", "flip_rate", "detectable")
