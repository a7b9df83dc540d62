"""The states behind the steps of imagination, and how alike they are.

Everything is a cosine of the state behind a step: of a latent what is fed back, of a word the
final-layer state that it was decoded from. Both are h_i of the paper's equation 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindseye.causal import Interval, interval
from mindseye.errors import SampleError
from mindseye.readouts.geometry import cosines, transformed
from mindseye.readouts.geometry.chance import indexed, pair_interval, resamples
from mindseye.reasoners import Trace
from mindseye.studies.reproduction.models import Model

__all__ = ["States", "imagined", "same_length", "states_of"]

_LEAST_RUNS = 4


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """The states behind the steps of one model's runs.

    Attributes:
        model: Whose.
        items: Ids of the samples.
        answers: Their gold answers.
        steps: One state per run and step, as many as the shortest run has.
        ids: The visible token of each.
        images: What each run belongs to, as a number.
        seed: Of the resamples.
    """

    model: Model
    items: tuple[str, ...]
    answers: tuple[str, ...]
    steps: Float[np.ndarray, "runs steps d_model"]
    ids: Int[np.ndarray, "runs steps"]
    images: Int[np.ndarray, " runs"]
    seed: int

    def between(self, how: str = "raw") -> Float[np.ndarray, "steps runs runs"]:
        """Return the cosine of every two runs, step by step."""
        each = [self.steps[:, k] for k in range(self.steps.shape[1])]
        return np.stack([cosines(transformed(rows, how)) for rows in each])  # type: ignore[arg-type]

    def within(self) -> Float[np.ndarray, "runs pairs"]:
        """Return the cosine of every step with the next one of its run."""
        every = cosines(self.steps)
        return np.stack([np.diagonal(one, offset=1) for one in every])

    def same_token(self, same: bool) -> Float[np.ndarray, "runs runs"]:
        """Return mean raw cosines of runs over the steps that show the same token, or another."""
        alike = self.ids.T[:, :, None] == self.ids.T[:, None, :]
        return _over_steps(self.between(), alike if same else ~alike)

    def by_answer(self, same: bool) -> Interval:
        """Return mean cosines, less each step's mean, of runs of one gold answer, or of two."""
        alike = np.array([[one == other for other in self.answers] for one in self.answers])
        every = self.between("centred")
        mean = _over_steps(every, np.isfinite(every))
        return self.over_pairs(np.where(alike == same, mean, np.nan))

    def over_pairs(self, values: Float[np.ndarray, "runs runs"]) -> Interval:
        """Return the mean over pairs of runs on different images, with its interval."""
        rng = np.random.default_rng(self.seed)
        kept = np.ones_like(values, dtype=bool)
        return pair_interval(values, kept, self.images, resamples(self.images, rng))

    def over_runs(self, values: Float[np.ndarray, " runs"]) -> Interval:
        """Return the mean over runs, with its interval over images."""
        return interval(values, self.images.tolist(), rng=np.random.default_rng(self.seed))

    def part(self, items: Sequence[str]) -> States:
        """Return the runs of some items."""
        kept = [self.items.index(item) for item in items]
        return replace(
            self,
            items=tuple(items),
            answers=tuple(self.answers[k] for k in kept),
            steps=self.steps[kept],
            ids=self.ids[kept],
            images=self.images[kept],
        )


def _over_steps(
    values: Float[np.ndarray, "steps runs runs"], kept: Bool[np.ndarray, "steps runs runs"]
) -> Float[np.ndarray, "runs runs"]:
    """Return means over the steps that are kept; no numbers where none is."""
    n = kept.sum(axis=0)
    sums = np.where(kept, values, 0.0).sum(axis=0)
    return np.where(n > 0, sums / np.maximum(n, 1), np.nan)


def imagined(model: Model, runs: Sequence[Trace]) -> list[Trace]:
    """Keep runs that imagined.

    Raises:
        SampleError: Fewer than four did.
    """
    found = [run for run in runs if run.emitted]
    if len(found) < _LEAST_RUNS:
        raise SampleError(
            f"{model.name} imagined in {len(found)} of {len(runs)} runs; a similarity between "
            f"inputs takes {_LEAST_RUNS}. Train it longer, or give more pairs."
        )
    return found


def same_length(
    model: Model, runs: Sequence[Trace], calm: Sequence[Trace]
) -> tuple[list[Trace], list[Trace]]:
    """Keep the runs of the commonest number of latents, with their placebos."""
    pairs = [two for two in zip(runs, calm, strict=True) if all(run.emitted for run in two)]
    lengths = [tuple(len(run.latent_positions) for run in two) for two in pairs]
    equal = [one for one, other in lengths if one == other]
    usual = max(sorted(set(equal)), key=equal.count, default=0)
    kept = [two for two, n in zip(pairs, lengths, strict=True) if n == (usual, usual)]
    imagined(model, [one for one, _ in kept])
    return [one for one, _ in kept], [other for _, other in kept]


@torch.no_grad()
def states_of(model: Model, runs: Sequence[Trace], seed: int) -> States:
    """Return the states behind the steps that every run has."""
    n_steps = min(len(run.latent_positions) for run in runs)
    return States(
        model,
        tuple(run.sample.id for run in runs),
        tuple(run.sample.answer for run in runs),
        np.stack([_behind(run)[:n_steps].double().cpu().numpy() for run in runs]),
        np.array(
            [[run.all_ids[k] for k in run.latent_positions[:n_steps].tolist()] for run in runs]
        ),
        indexed([run.sample.image_key for run in runs], len(runs)),
        seed,
    )


def _behind(run: Trace) -> Float[Tensor, "steps d_model"]:
    """Return what is fed at each step, or what each word was decoded from."""
    if run.reasoner.protocol.feeds_back:
        return run.fed_latents
    # A word at one position was read off the state at the position before it.
    return run.reasoner.replay(run).states[0, run.latent_positions - 1]
