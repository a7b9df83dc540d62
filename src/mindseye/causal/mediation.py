"""`mediate`: how much of an input change reaches the answer through the latents."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from mindseye.causal.checklist import checklist
from mindseye.causal.effects import EFFECTS, effect_name
from mindseye.causal.equivalence import Margin
from mindseye.causal.intervals import Interval
from mindseye.causal.measuring import CUT, PINS, measure_pair
from mindseye.causal.scoring import Asked
from mindseye.causal.summary import (
    answers_frame,
    contrasts_frame,
    effects_frame,
    pinned_frame,
    shares_frame,
)
from mindseye.causal.verdict import Evidence, Verdict, judge
from mindseye.engine import (
    DEFAULT_BUDGET,
    LEVELS,
    Arms,
    Outcome,
    Track,
    find_arms,
    find_outcomes,
    latent_pool,
    needs_pool,
    twin_runs,
)
from mindseye.engine.contrast import unit_of
from mindseye.engine.lengths import LENGTH
from mindseye.engine.levels import check_level
from mindseye.engine.words import WORDS
from mindseye.errors import EditError, SampleError
from mindseye.plugins import find
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Pair

__all__ = ["Mediation", "image_of", "mediate"]


@dataclass(frozen=True, eq=False)
class Mediation:
    """The outcome of `mediate`.

    Attributes:
        reasoner: Name of what ran.
        rows: One row per pair, level and outcome: the four cells (`y00` to `y11`, input before
            latents), the six effects, the token each cell would say (`said_00` to `said_11`) or,
            where runs decoded on, its parsed answer, and the guards.
        pinned: One row per pair, level, pin and outcome: both inputs under the same mediator (`y0`,
            `y1`), `cde`, `intref` and `nec`.
        runs: One row per run: gold and given answer, whether an answer could be parsed, whether it
            imagined, why it stopped, how many latents, whether it said the answer before them.
        latents: Of the runs that imagined, in the order of `runs`; the mean over slots where runs
            differ in their number.
        verdicts: By level.
        conclusion: The verdict over the whole ladder of levels.
        guards: What must hold for a verdict to mean anything.
        outcome: The first one that was asked for, which the verdicts are about.
        margin: How small counts as none, its floor raised to what arithmetic alone moves.
        seed: Of every bootstrap and permutation.
        dtype: Of the model.
    """

    reasoner: str
    rows: pd.DataFrame
    pinned: pd.DataFrame
    runs: pd.DataFrame
    latents: Float[np.ndarray, "runs slots d_model"]
    verdicts: dict[str, Verdict]
    conclusion: Verdict
    guards: dict[str, float]
    outcome: str
    margin: Margin
    seed: int
    dtype: str

    @property
    def verdict(self) -> str:
        """The word over the whole ladder of levels."""
        return self.conclusion.word

    @cached_property
    def effects(self) -> pd.DataFrame:
        """Means with 95 % intervals, by level, outcome and effect; see `effects_frame`."""
        return effects_frame(self.rows, self.seed)

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """What a wider level adds to a narrower one: `relay` and `marker`."""
        return contrasts_frame(self.rows, self.seed)

    @cached_property
    def shares(self) -> pd.DataFrame:
        """The proportion mediated, or why none is shown."""
        return shares_frame(self.rows, self.seed)

    @cached_property
    def controlled(self) -> pd.DataFrame:
        """Controlled direct effects, reference interactions and losses under every pin."""
        return pinned_frame(self.pinned, self.seed)

    @cached_property
    def answers(self) -> pd.DataFrame:
        """How parsed answers differ between cells; empty unless `parsed_answer` was asked for."""
        gold = self.runs[self.runs["side"] == "clean"].set_index("pair")["gold"]
        return answers_frame(self.rows.assign(gold=self.rows["pair"].map(gold)))

    @cached_property
    def checklist(self) -> pd.DataFrame:
        """What a referee would ask, item by item: `done`, `failed` or `not run`."""
        return checklist(self)

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

    @property
    def n_clusters(self) -> int:
        """Images, or families of pairs, that these are about."""
        return int(self.rows["cluster"].nunique())

    @property
    def margin_size(self) -> float:
        """The margin on the first outcome's scale."""
        first = self.rows[self.rows["outcome"] == self.outcome].drop_duplicates("pair")
        return float(self.margin.bounds(first["te"].to_numpy(dtype=float)).mean())

    def effect(self, name: str, *, level: str, outcome: str | None = None) -> Interval:
        """Return one effect's mean with its interval.

        Args:
            name: One of `te pde tde pie tie int`, or `nde` and `nie`, aliases of `pde` and `pie`.
            level: What counts as the mediator.
            outcome: The first one if left out.

        Raises:
            UnknownNameError: No such effect.
            SampleError: It was not measured there.
        """
        wanted = effect_name(name), level, outcome or self.outcome
        columns = zip(*(self.effects[key] for key in ("effect", "level", "outcome")), strict=True)
        places = {key: row for row, key in enumerate(columns)}
        if wanted not in places:
            raise SampleError(
                f"{name!r} of {outcome or self.outcome!r} was not measured at level {level!r}; "
                f"there are levels {', '.join(self.verdicts)} and outcomes "
                f"{', '.join(self.rows['outcome'].unique())}."
            )
        row = self.effects.iloc[places[wanted]]
        return Interval(float(row["mean"]), float(row["low"]), float(row["high"]))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per pair, level and outcome."""
        return self.rows

    def plot(self) -> Any:
        """Draw the effects of every level with their intervals."""
        return find("figure", "mediation")(self)


def image_of(pair: Pair) -> Hashable:
    """Return what a pair belongs to: its cluster, or else its clean images."""
    return pair.cluster or pair.clean.image_key or pair.id


def mediate(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    *,
    levels: Sequence[str] = LEVELS,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    margin: float | Margin = 0.1,
    pins: Arms | None = None,
    cluster: Callable[[Pair], Hashable] = image_of,
    seed: int = 0,
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> Mediation:
    """Compute natural direct and indirect effects along input, latents, answer.

    For every pair, each sample is run once; then the four cells Y(x_i, Z(x_j)) are computed open
    loop with the latents of the one run in the other, at every level. Those with a run's own
    latents put back must equal the unedited run. A deterministic network gives these
    counterfactuals exactly; the statistics are only about generalising over images.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples. Pairs in which a run does not imagine, or in which the
            two runs' segments stand at different positions, are left out and counted.
        levels: What counts as the mediator: `embedding` (the fed-back vectors), `residual:LAYER`,
            `kv` (all that can be read from the slots), `span` (the same with both markers),
            `suffix`; and, for which positions may differ, `length`, the number of slots, and
            `words`, imagination in words read anew.
        outcome: Names of registered outcomes, or functions; the verdict is about the first.
        margin: How small counts as none: a share of the total effect, or a whole policy.
        pins: What the mediator is pinned to for controlled effects: replacements by name, or a
            mapping from names to replacements or functions, as in `battery`; zeros and norm-matched
            noise if left out. One that is made of other runs' latents takes those of all pairs.
        cluster: What a pair belongs to; its image if left out.
        seed: Of every bootstrap and permutation.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Raises:
        EditError: No such level, or a pin that feeds no vectors.
        UnknownNameError: No replacement or outcome of a name.
        SampleError: A margin that is none, or no pair gave two runs that imagined at the same
            positions.
        EngineError: `parsed_answer` of a model that answers from two routes.

    Source: Pearl 2001; Robins & Greenland 1992; for language models Vig et al. 2020, 2004.12265.
    """
    policy = margin if isinstance(margin, Margin) else Margin(share_of_te=margin)
    for level in levels:
        if level not in (LENGTH, WORDS):
            check_level(reasoner, level)
    if WORDS in levels and not reasoner.protocol.in_words:
        raise EditError(
            f"Level {WORDS!r} exchanges words, and {reasoner.name!r} imagines in latents. Use "
            "'embedding', or load the model with protocol='text'."
        )
    arms = find_arms(PINS if pins is None else pins, seed=seed)
    asked = Asked(
        tuple(levels),
        find_outcomes(outcome, everything=True),
        arms,
        latent_pool(reasoner, pairs) if needs_pool(arms) else None,
        budget,
    )
    rows: list[dict[str, Any]] = []
    pinned: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    latents: list[np.ndarray] = []
    every = twin_runs(reasoner, pairs, track, whole_answer=asked.whole_answer)
    for name, twins in zip(_names(pairs), every, strict=True):
        for side, trace in zip(("clean", "reference"), twins.said, strict=True):
            runs.append(_run_row(name, side, trace))
            if trace.emitted:
                latents.append(trace.latents.float().cpu().numpy())
        measured = measure_pair(reasoner, twins, name, cluster(twins.pair), asked)
        if measured is not None:
            rows += measured.rows
            pinned += measured.pinned
    if not rows:
        raise SampleError(
            f"{reasoner.name} imagined in {sum(r['emitted'] for r in runs)} of {len(runs)} runs, "
            "in no pair on both sides at the same positions; there is nothing to mediate. Give it "
            f"pairs it imagines on, a protocol with a fixed count, or levels=({LENGTH!r},)."
        )
    table, under = pd.DataFrame(rows), pd.DataFrame(pinned, columns=_PINNED)
    first = next(iter(asked.outcomes))
    guards = _guards(table, first, len(pairs))
    policy = policy.above(guards["identity_max_abs"])
    evidence = _evidence(table, under, first, guards)
    conclusion, verdicts = judge(evidence, policy, seed=seed)
    return Mediation(
        reasoner=reasoner.name,
        rows=table,
        pinned=under,
        runs=pd.DataFrame(runs),
        latents=_stacked(latents),
        verdicts=verdicts,
        conclusion=conclusion,
        guards=guards,
        outcome=first,
        margin=policy,
        seed=seed,
        dtype=str(reasoner.model.dtype).removeprefix("torch."),
    )


_PINNED = ["pair", "cluster", "level", "pin", "outcome", "y0", "y1", "cde", "intref", "nec"]


def _guards(rows: pd.DataFrame, outcome: str, n_pairs: int) -> dict[str, float]:
    """Return what must hold; the noise floor is that of the outcome that is judged."""
    main = rows[rows["outcome"] == outcome]
    cells = rows[["y00", "y01", "y10", "y11"]].to_numpy(dtype=float)
    guards = {
        "identity_max_abs": float(main["identity"].max()),
        "edits_missed_max_abs": float(rows["missed"].max()),
        "latents_moved_min": float(rows["latents_moved"].min()),
        "not_a_number": float((~np.isfinite(cells)).sum()),
        "pairs_left_out": float(n_pairs - rows.groupby("level")["pair"].nunique().min()),
    }
    fired = rows["fired"]
    return guards if fired.isna().any() else guards | {"pins_fired_min": float(fired.min())}


def _evidence(
    rows: pd.DataFrame, pinned: pd.DataFrame, outcome: str, guards: Mapping[str, float]
) -> Evidence:
    by_level = {
        str(level): held
        for level, held in rows[rows["outcome"] == outcome].groupby("level", sort=False)
    }
    # What is lost is told from what the slots are fed, and from their not being read at all.
    lost = pinned[(pinned["outcome"] == outcome)]
    lost = lost[(lost["level"] == "embedding") | (lost["pin"] == CUT)]
    arms = {str(pin): held for pin, held in lost.groupby("pin", sort=False)}
    return Evidence(
        effects={
            level: {name: held[name].to_numpy(dtype=float) for name in EFFECTS}
            for level, held in by_level.items()
        },
        clusters={level: held["cluster"].tolist() for level, held in by_level.items()},
        guards=guards,
        losses={pin: held["nec"].to_numpy(dtype=float) for pin, held in arms.items()},
        losses_clusters=next(iter(arms.values()))["cluster"].tolist() if arms else (),
        # Equal latents are an answer, once edits are seen to fire; equal counts ask no question.
        unexchanged=frozenset(
            level
            for level, held in by_level.items()
            if level == LENGTH and (held["latents_moved"] == 0).all()
        ),
        unit={"share": "(share)"}.get(unit_of(outcome), unit_of(outcome)),
    )


def _stacked(latents: list[np.ndarray]) -> np.ndarray:
    if len({each.shape for each in latents}) > 1:
        latents = [each.mean(axis=0, keepdims=True) for each in latents]
    return np.stack(latents)


def _names(pairs: Sequence[Pair]) -> list[str]:
    """Return what pairs are called in the rows: their ids, made unique where they are not."""
    ids = [pair.id for pair in pairs]
    unique = all(ids) and len(set(ids)) == len(ids)
    return ids if unique else [f"{name}#{i}" for i, name in enumerate(ids)]


def _run_row(pair: str, side: str, trace: Trace) -> dict[str, Any]:
    return {
        "pair": pair,
        "side": side,
        "kind": trace.sample.kind,
        "gold": trace.sample.answer,
        "answer": trace.answer,
        "parsed": trace.parsed,
        "emitted": trace.emitted,
        "stop": trace.stop,
        "n_latents": len(trace.latent_positions),
        "stated_before": _stated_before(trace),
    }


def _stated_before(trace: Trace) -> bool:
    """Say whether the model named its answer before it imagined."""
    spoken = trace.spans["text"]
    if not len(spoken) or not trace.sample.answer:
        return False
    ids = [trace.all_ids[place] for place in spoken.tolist()]
    return trace.sample.answer.lower() in trace.reasoner.read(ids, special=False).lower()
