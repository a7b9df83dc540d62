"""A battery: many things done to the latents, at every level, beside the run as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mindseye.engine.arms import Arm, Arms, fed_by, find_arms, latent_pool
from mindseye.engine.contrast import Outcome, find_outcomes
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, snapshot
from mindseye.engine.lengths import of_length
from mindseye.engine.levels import LEVELS, check_level, tail_start
from mindseye.engine.measuring import measure
from mindseye.engine.pins import pinned
from mindseye.engine.twins import Track, Twins, comparable
from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import Chosen, Familiarity, Pool, Structure
from mindseye.reasoners import Edit, Reasoner, Trace
from mindseye.samples import Pair

__all__ = ["STRUCTURE", "Loop", "battery", "replaced"]

Loop = Literal["open", "closed"]

STRUCTURE = "structure"
"""The level of replacements that change how a run is made up instead of what is fed."""


def battery(
    reasoner: Reasoner,
    pairs: Sequence[Pair],
    arms: Arms,
    *,
    levels: Sequence[str] = LEVELS,
    outcome: str | Outcome | Sequence[str | Outcome] = "logit_difference",
    loop: Loop = "open",
    pool: Pool | None = None,
    seed: int = 0,
    budget: int = DEFAULT_BUDGET,
    track: Track = iter,
) -> pd.DataFrame:
    """Replace the clean run's latents in many ways and measure what that does to its answer.

    Open loop, everything that was fed after the latents stays: at `embedding` an arm's vectors are
    fed and the slots recompute; at `kv` and `span` the clean run's later positions read what the
    slots hold in the *reference* run when it is fed the arm's vectors, so that nothing of the clean
    image remains in them. All arms and levels of a pair are branches of one run. Closed loop, the
    sample is decoded again with the arm's vectors fed, so that later latents and words react.

    Args:
        reasoner: What runs.
        pairs: Clean and reference samples; those that cannot be compared are left out.
        arms: Replacements by name, such as `["identity", "noise:scale=0.3", "zero:slots=0-2"]`, or
            a mapping from names to replacements or functions of a pair's runs:
            `{"mine": lambda twins: torch.zeros_like(twins.clean.fed_latents)}`.
        levels: Names of `LEVELS`; closed loop there is `embedding` only.
        outcome: Name of a registered outcome, or a function, or several.
        loop: `open` or `closed`.
        pool: Latents of other runs, which donors and means come from and vectors are compared
            with; those of both sides of all pairs, if left out.
        seed: Of the replacements' draws.
        budget: Most bytes of activations at a time.
        track: Wraps the pairs, to show progress.

    Returns:
        One row per pair, arm, level and outcome: `pair arm level loop outcome value clean effect
        moved norm_percentile mahalanobis nearest`, and closed loop `answer parsed emitted` of the
        run that came of it. `effect` is `value - clean`, `moved` the largest change of a fed
        vector's entry; the next three are means over the vectors that were put in, as `Strangeness`
        says. Replacements that change how a run is made up are at level `structure` and have none
        of these four: what they remove is always taken out open loop, and what they run again is
        always a run of its own, closed. An arm that needs what a pair lacks, such as a donor of the
        same answer, has no row for that pair.

    Raises:
        EditError: No such level, no arm, or one whose vectors are not what it declares.
        SampleError: In no pair did both runs imagine at the same positions, or an arm needs what
            every pair lacks.
        UnknownNameError: No replacement or outcome of a name.
    """
    chosen = find_arms(arms, seed=seed)
    if not chosen or not levels:
        raise EditError(
            f"battery got arms {tuple(chosen)} and levels {tuple(levels)}; pass at least one of "
            "each."
        )
    if loop not in ("open", "closed"):
        raise EditError(f"battery got loop={loop!r}; it is 'open' or 'closed'.")
    if loop == "closed" and tuple(levels) not in (LEVELS, ("embedding",)):
        raise EditError(
            f"battery got loop='closed' and levels {tuple(levels)}; what a run decodes again can "
            "only be fed at 'embedding'. Leave levels out."
        )
    measures = find_outcomes(outcome)
    for level in levels:
        check_level(reasoner, level)
    known = latent_pool(reasoner, pairs, track) if pool is None else pool
    familiar = Familiarity(known)
    faults: dict[str, SampleError] = {}
    frames = [
        replaced(
            twins,
            chosen,
            levels=levels,
            measures=measures,
            loop=loop,
            familiar=familiar,
            faults=faults,
            budget=budget,
        )
        for twins in comparable(reasoner, pairs, track=track)
    ]
    rows = pd.concat(frames, ignore_index=True)
    for name in chosen:
        if name not in set(rows["arm"]):
            raise SampleError(f"Arm {name!r} could be applied to no pair. {faults[name]}")
    return rows


def replaced(
    twins: Twins,
    arms: Mapping[str, Chosen | Arm],
    *,
    levels: Sequence[str] = LEVELS,
    measures: Mapping[str, Outcome],
    loop: Loop = "open",
    familiar: Familiarity,
    faults: dict[str, SampleError] | None = None,
    budget: int = DEFAULT_BUDGET,
) -> pd.DataFrame:
    """Return the rows of a battery for one pair; arguments are those of `battery`.

    Arms that need what this pair lacks, such as a donor of the same answer, have no rows; why is
    put into `faults`.
    """
    job = _Job(twins, arms, familiar, measures, budget)
    if faults is not None:
        faults.update(job.faults)
    rows = job.fed_again() if loop == "closed" else []
    rows += job.edited(() if loop == "closed" else levels) + job.run_again()
    columns = [*_COLUMNS, *(_SAID if loop == "closed" else ())]
    return pd.DataFrame([{"pair": twins.pair.id} | row for row in rows], columns=columns)


_COLUMNS = (
    *("pair", "arm", "level", "loop", "outcome", "value", "clean", "effect"),
    *("moved", "norm_percentile", "mahalanobis", "nearest"),
)
_SAID = ("answer", "parsed", "emitted")


class _Job:
    """One pair's battery.

    Args:
        twins: The pair's runs.
        arms: What is done.
        familiar: What the model's own latents look like.
        measures: Outcomes by name.
        budget: Most bytes of activations at a time.
    """

    def __init__(
        self,
        twins: Twins,
        arms: Mapping[str, Chosen | Arm],
        familiar: Familiarity,
        measures: Mapping[str, Outcome],
        budget: int,
    ) -> None:
        self.twins, self.arms, self.measures, self.budget = twins, arms, measures, budget
        first = next(iter(measures.values()))
        made: dict[str, Tensor | Structure] = {}
        self.faults: dict[str, SampleError] = {}
        for name, arm in arms.items():
            try:
                made[name] = fed_by(name, arm, twins, familiar.pool, first)
            except SampleError as fault:
                self.faults[name] = fault
        self.fed = {n: each for n, each in made.items() if isinstance(each, Tensor)}
        shapes = {n: each for n, each in made.items() if isinstance(each, Structure)}
        self.cut = {n: each.removed for n, each in shapes.items() if each.removed is not None}
        self.rebuilt = {n: each for n, each in shapes.items() if each.removed is None}
        self.about = {name: self._about(name, familiar) for name in self.fed}

    def edited(self, levels: Sequence[str]) -> list[dict[str, Any]]:
        """Edit the clean run at every level, and take out of it what arms remove."""
        clean = self.twins.clean
        start = tail_start(clean, levels)
        feeds = self.fed and levels
        edits = pinned(self.twins, self.fed, levels, start, self.budget).edits if feeds else {}
        branches = [Branch(each) for each in edits.values()]
        held = snapshot(clean, start)
        own, values = measure(held, branches, self.measures, self.twins.parting, self.budget)
        found = [
            row
            for (level, name), each in zip(edits, values, strict=True)
            for row in self._rows(name, level, "open", each, own)
        ]
        for name, removed in self.cut.items():
            # Not a branch: where nothing follows the end marker, the outcome is read before it.
            values = self._value(clean.without(removed))
            found += self._rows(name, STRUCTURE, "open", values, own)
        return found

    def fed_again(self) -> list[dict[str, Any]]:
        """Decode the clean sample again with arms' vectors fed."""
        clean = self.twins.said[0]
        edits = [
            # Other slots react, and so may the words.
            [Edit("hook_embed", clean.latent_positions[mask], vectors[mask])]
            for name, vectors in self.fed.items()
            for mask in [self._mask(name)]
        ]
        own, *runs = clean.reasoner.replay(clean, [[], *edits], mode="closed_loop")
        return [
            row
            for name, run in zip(self.fed, runs, strict=True)
            for row in self._of_run(name, "embedding", run, own)
        ]

    def run_again(self) -> list[dict[str, Any]]:
        """Run the clean sample with other numbers of latents, or with a segment forced."""
        clean, found = self.twins.said[0], []
        for name, wanted in self.rebuilt.items():
            ours = clean.reasoner
            if wanted.n_slots is not None:
                ours = of_length(ours, wanted.n_slots)
            run = ours.run(
                clean.sample,
                max_new_tokens=clean.settings.max_new_tokens,
                force_start=wanted.forced or clean.settings.force_start,
            )
            found += self._of_run(name, STRUCTURE, run, clean)
        return found

    def _mask(self, name: str) -> Bool[Tensor, " slots"]:
        """Return which slots an arm replaces; a function replaces all."""
        arm, where = self.arms[name], self.twins.clean.latent_positions
        if isinstance(arm, Chosen):
            return arm.mask(len(where)).to(where.device)
        return torch.ones_like(where, dtype=torch.bool)

    def _of_run(self, name: str, level: str, run: Trace, own: Trace) -> list[dict[str, Any]]:
        """Return the rows of a run of its own."""
        said = {"answer": run.answer, "parsed": run.parsed, "emitted": run.emitted}
        rows = self._rows(name, level, "closed", self._answered(run), self._answered(own))
        return [row | said for row in rows]

    def _answered(self, run: Trace) -> Float[Tensor, " outcomes"]:
        """Return a whole run's outcomes where the pair's answers part."""
        parting = self.twins.parting
        cut = run.until_answer(parting.forced)
        unsaid = parting.forced or len(cut.logits) == len(run.logits)
        if unsaid or run.reasoner.blend is not None:  # a run's own logits are of one route
            return self._value(cut)
        logits = run.logits[None, len(cut.logits)]
        every = [outcome(logits, parting)[0] for outcome in self.measures.values()]
        return torch.stack(every).double().cpu()

    def _value(self, cut: Trace) -> Float[Tensor, " outcomes"]:
        """Return the outcomes at the end of a run."""
        held = snapshot(cut, min(cut.n_prompt, len(cut.labels) - 1))
        return measure(held, [], self.measures, self.twins.parting, self.budget).own

    def _about(self, name: str, familiar: Familiarity) -> dict[str, float]:
        """Return how far an arm moves what is fed, and how strange what it puts in is."""
        clean, vectors = self.twins.clean, self.fed[name]
        moved = float((vectors - clean.fed_latents).abs().max())
        strange = familiar.of(vectors[self._mask(name)], id=clean.sample.id)
        return {"moved": moved} | strange.means()

    def _rows(
        self,
        name: str,
        level: str,
        loop: Loop,
        values: Float[Tensor, " outcomes"],
        own: Float[Tensor, " outcomes"],
    ) -> list[dict[str, Any]]:
        return [
            {"arm": name, "level": level, "loop": loop, "outcome": outcome}
            | {"value": value, "clean": unedited, "effect": value - unedited}
            | self.about.get(name, {})
            for outcome, value, unedited in zip(
                self.measures, values.tolist(), own.tolist(), strict=True
            )
        ]
