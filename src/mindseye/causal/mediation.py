"""`mediate`: how much of an input change reaches the answer through the latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from mindseye.causal.effects import EFFECTS, bootstrap_mean, effects
from mindseye.causal.verdict import Verdict, judge
from mindseye.engine import (
    DEFAULT_BUDGET,
    LEVELS,
    Cells,
    Contrast,
    Outcome,
    Track,
    Twins,
    crossed_cells,
    find_outcomes,
    twin_runs,
)
from mindseye.engine.levels import mediator_hooks
from mindseye.errors import SampleError
from mindseye.plugins import find
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Pair

__all__ = ["Mediation", "mediate"]

_CELLS = {"y00": (0, 0), "y01": (0, 1), "y10": (1, 0), "y11": (1, 1)}
_FLIPS = {
    "te": ("y00", "y11"),
    "pde": ("y00", "y10"),
    "tde": ("y01", "y11"),
    "pie": ("y00", "y01"),
    "tie": ("y10", "y11"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Mediation:
    """The outcome of `mediate`.

    Attributes:
        reasoner: Name of what ran.
        rows: One row per pair and level: the four cells (`y00` to `y11`, input before latents), the
            six effects, the token each cell would say (`said_00` to `said_11`), and the guards.
        runs: One row per run: gold and given answer, whether an answer could be parsed, whether it
            imagined, why it stopped.
        latents: Of the runs that imagined, in the order of `runs`; the mean over slots where runs
            differ in their number.
        effects: One row per level and effect: `mean low high` (95 %, paired bootstrap) and
            `flip_rate`, the share of pairs whose said token changes.
        verdicts: By level.
        guards: What must hold for a verdict to mean anything.
        outcome: What was measured.
        margin: Share of the total effect below which an effect counts as negligible.
    """

    reasoner: str
    rows: pd.DataFrame
    runs: pd.DataFrame
    latents: Float[np.ndarray, "runs slots d_model"]
    effects: pd.DataFrame
    verdicts: dict[str, Verdict]
    guards: dict[str, float]
    outcome: str
    margin: float

    @property
    def verdict(self) -> dict[str, str]:
        """The verdict's word, by level."""
        return {level: verdict.word for level, verdict in self.verdicts.items()}

    @property
    def accuracy(self) -> float:
        """Share of runs whose answer is right."""
        return float((self.runs["answer"] == self.runs["gold"]).mean())

    @property
    def emission_rate(self) -> float:
        """Share of runs that imagined at all."""
        return float(self.runs["emitted"].mean())

    @property
    def parse_rate(self) -> float:
        """Share of runs whose answer could be parsed; the others count as wrong."""
        return float(self.runs["parsed"].mean())

    @property
    def n_pairs(self) -> int:
        """Pairs that the effects rest on: those of which both runs imagined."""
        return int(self.rows["pair"].nunique())

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair and level."""
        return self.rows

    def plot(self) -> Any:
        """Draw the effects of every level with their intervals."""
        return find("figure", "mediation")(self)


def mediate(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    levels: Sequence[str] = LEVELS,
    outcome: str | Outcome = "logit_difference",
    margin: float = 0.1,
    seed: int = 0,
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> Mediation:
    """Compute natural direct and indirect effects along input, latents, answer.

    For every pair, each sample is run once; then the four cells Y(x_i, Z(x_j)) are computed open
    loop with the latents of the one run in the other, at every level. Those with a run's own
    latents put back must equal the unedited run. A deterministic network gives these
    counterfactuals exactly; the statistics are only about generalising over pairs.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples. Pairs in which a run does not imagine, or in which the
            two runs' segments stand at different positions, are left out and counted.
        levels: What counts as the mediator: `embedding` (the fed-back vectors), `kv` (all that can
            be read from the slots), `span` (the same with both markers).
        outcome: Name of a registered outcome, or a function.
        margin: Share of the total effect below which an effect counts as negligible.
        seed: Of the bootstrap.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: No such level.
        SampleError: No pair gave two runs that imagined at the same positions.

    Source: Pearl 2001; Robins & Greenland 1992; for language models Vig et al. 2020, 2004.12265.
    """
    if not 0 < margin < 1:
        raise SampleError(f"mediate got margin={margin}; it takes a share of TE between 0 and 1.")
    for level in levels:
        mediator_hooks(reasoner, level)
    ((named, measure),) = find_outcomes(outcome).items()
    rows: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    latents: list[np.ndarray] = []
    for twins in twin_runs(reasoner, pairs, track):
        for side, trace in zip(("clean", "reference"), twins.said, strict=True):
            runs.append(_run_row(twins.pair, side, trace))
            if trace.emitted:
                latents.append(trace.latents.float().cpu().numpy())
        if twins.comparable:
            rows += _pair_rows(reasoner, twins, levels, measure, budget)
    if not rows:
        raise SampleError(
            f"{reasoner.name} imagined in {sum(r['emitted'] for r in runs)} of {len(runs)} runs, "
            "in no pair on both sides at the same positions; there is nothing to mediate. Give it "
            "pairs it imagines on, or a protocol with a fixed count."
        )
    table = pd.DataFrame(rows)
    by_level = {level: table[table["level"] == level] for level in levels}
    guards = {
        "identity_max_abs": float(table["identity"].max()),
        "latents_moved_min": float(table["latents_moved"].min()),
        "pairs_left_out": float(len(pairs) - table["pair"].nunique()),
    }
    return Mediation(
        reasoner=reasoner.name,
        rows=table,
        runs=pd.DataFrame(runs),
        latents=_stacked(latents),
        effects=pd.concat(
            [_summary(level, by_level[level], seed) for level in levels], ignore_index=True
        ),
        verdicts={
            level: judge(
                {name: by_level[level][name].to_numpy() for name in EFFECTS},
                guards,
                margin=margin,
                seed=seed,
            )
            for level in levels
        },
        guards=guards,
        outcome=named,
        margin=margin,
    )


def _stacked(latents: list[np.ndarray]) -> np.ndarray:
    if len({each.shape for each in latents}) > 1:
        latents = [each.mean(axis=0, keepdims=True) for each in latents]
    return np.stack(latents)


def _run_row(pair: Pair, side: str, trace: Trace) -> dict[str, Any]:
    return {
        "pair": pair.id,
        "side": side,
        "kind": trace.sample.kind,
        "gold": trace.sample.answer,
        "answer": trace.answer,
        "parsed": trace.parsed,
        "emitted": trace.emitted,
        "stop": trace.stop,
    }


def _pair_rows(
    reasoner: Reasoner, twins: Twins, levels: Sequence[str], measure: Outcome, budget: int
) -> list[dict[str, Any]]:
    clean, reference = twins.clean, twins.reference
    cells = crossed_cells(reasoner, clean, reference, levels, budget=budget)
    moved = float((clean.fed_latents - reference.fed_latents).abs().max())
    return [
        {
            "pair": twins.pair.id,
            "level": level,
            **_measured(cells[level], twins.parting, measure),
            "latents_moved": moved,
        }
        for level in levels
    ]


def _measured(cells: Cells, parting: Contrast, measure: Outcome) -> dict[str, Any]:
    """Measure one pair at one level: cells, effects, said tokens and the identity residual."""
    y = measure(cells.crossed, parting).double().cpu().numpy()
    own = measure(cells.unedited, parting).double().cpu().numpy()
    said = cells.crossed.argmax(dim=-1)
    return {
        **{name: float(y[place]) for name, place in _CELLS.items()},
        **{name: float(values[0]) for name, values in effects(y[None]).items()},
        **{f"said_{name[1:]}": int(said[place]) for name, place in _CELLS.items()},
        "identity": float(np.abs(own - np.diagonal(y)).max()),
    }


def _summary(level: str, rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return a level's effects with intervals and flip rates.

    Every interval draws the same resamples of pairs, so effects and levels are compared pairwise.
    """
    summary = []
    for name in EFFECTS:
        interval = bootstrap_mean(rows[name].to_numpy(), rng=np.random.default_rng(seed))
        flips = np.nan
        if name in _FLIPS:
            before, after = (rows[f"said_{cell[1:]}"] for cell in _FLIPS[name])
            flips = float((before != after).mean())
        summary.append(
            {
                "level": level,
                "effect": name,
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "flip_rate": flips,
            }
        )
    return pd.DataFrame(summary)
