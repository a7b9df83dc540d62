"""One pair's battery: each arm made, put into the clean run and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mindseye.engine.arms import Arm, fed_by
from mindseye.engine.contrast import Outcome
from mindseye.engine.exact import DEFAULT_BUDGET, Branch, snapshot
from mindseye.engine.lengths import of_length
from mindseye.engine.levels import LEVELS, tail_start
from mindseye.engine.measuring import measure
from mindseye.engine.pins import pinned
from mindseye.engine.twins import Twins
from mindseye.engine.words import WORDS, runs_saying
from mindseye.errors import SampleError
from mindseye.interventions.replacements import Chosen, Familiarity, Structure
from mindseye.reasoners import Edit, Trace

__all__ = ["STRUCTURE", "Loop", "replaced"]

Loop = Literal["open", "closed"]

STRUCTURE = "structure"
"""The level of replacements that change how a run is made up instead of what is fed."""


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
    if loop == "open" and not twins.comparable:
        job.leave_out_vectors()
    if faults is not None:
        faults.update(job.faults)
    if loop == "closed":
        rows = job.fed_again() + job.said_again() + job.edited(())
    else:
        rows = job.edited(levels) + job.reworded()
    rows += job.run_again()
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
        self.said = {n: each.words for n, each in shapes.items() if each.words is not None}
        self.rebuilt = {
            n: each for n, each in shapes.items() if each.removed is None and each.words is None
        }
        self.about = {name: self._about(name, familiar) for name in self.fed}

    def leave_out_vectors(self) -> None:
        """Note why what is fed as vectors has no rows for runs of unequal lengths."""
        for name in self.fed:
            self.faults[name] = SampleError(
                f"The runs of pair {self.twins.pair.id!r} have segments at different positions, "
                "and vectors are held against the other run's. Use arms that say words."
            )
        self.fed = {}

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
        if not self.fed:
            return []
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

    def reworded(self) -> list[dict[str, Any]]:
        """Put other words into the clean run."""
        clean = self.twins.clean
        own = self._value(clean)
        return [
            row
            for name, words in self.said.items()
            for row in self._rows(name, WORDS, "open", self._value(clean.with_words(words)), own)
        ]

    def said_again(self) -> list[dict[str, Any]]:
        """Let the clean sample be answered from other words."""
        clean = self.twins.said[0]
        runs = runs_saying(clean, *self.said.values())
        return [
            row
            for name, run in zip(self.said, runs, strict=True)
            for row in self._of_run(name, WORDS, run, clean)
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
