"""`reproduce`: the whole argument, from models to claims."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mindseye.errors import SampleError, UnknownNameError
from mindseye.imagination.miniature import KINDS
from mindseye.plugins import find
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair
from mindseye.studies.plain import plain
from mindseye.studies.reproduction.accuracy import accuracy_claims
from mindseye.studies.reproduction.claims import ROWS, Claim
from mindseye.studies.reproduction.costs import cost_claims
from mindseye.studies.reproduction.derived import derived_claims
from mindseye.studies.reproduction.interventions import (
    LATENT_ARMS,
    Edited,
    edit,
    latent_claims,
    mediated,
)
from mindseye.studies.reproduction.matching import match, tables
from mindseye.studies.reproduction.models import MODELS, Model, load_models
from mindseye.studies.reproduction.similarity import similarity_claims
from mindseye.studies.reproduction.tracking import Track, untracked
from mindseye.studies.reproduction.words import BOTH, DECIDING, WORD_ARMS, word_claims
from mindseye.tasks import task

__all__ = ["PAPER", "Reproduction", "check_paper", "reproduce"]

PAPER = "2602.22766"
"""The arXiv number of the paper whose argument this is."""

_LEAST_PAIRS = 8
_MOST_MEDIATED = 32
_MOST_DERIVED = 40
_MOST_TIMED = 24
_MOST_BESIDE = 24
"""Pairs for what stands beside a claim and decides nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Reproduction:
    """What the miniature says of the paper.

    Attributes:
        claims: In the order of the argument.
        rows: Every single measurement: `part seed model item arm measure value answer`.
        steps: Cosines between inputs along the steps, of latents and of words.
        edits: What edits of the same strength do to answers, of words and of latents; see
            `mindseye.imagination.matched`.
        models: Names by way, in the order of their training seeds.
        n_pairs: Pairs that were edited.
        n_questions: Questions that accuracies rest on.
        seconds: How long it took, loading left out.
        seed: Of pairs and statistics.
    """

    claims: tuple[Claim, ...]
    rows: pd.DataFrame
    steps: pd.DataFrame
    edits: pd.DataFrame
    models: Mapping[str, tuple[str, ...]]
    n_pairs: int
    n_questions: int
    seconds: float
    seed: int

    def to_frame(self) -> pd.DataFrame:
        """Return one row per claim and training seed.

        Columns: `claim part quantity unit seed value low high rule_low rule_high says word`; `says`
        is what that seed says, `word` what all of them do.
        """
        return pd.DataFrame([row for claim in self.claims for row in claim.rows()])

    def counts(self) -> dict[str, int]:
        """Return how many claims came out which way."""
        words = [claim.word for claim in self.claims]
        return {word: words.count(word) for word in ("agrees", "disagrees", "undecided")}

    def summary(self) -> dict[str, Any]:
        """Return all of it but single measurements, as plain data for JSON."""
        return plain(
            {
                "paper": PAPER,
                "models": dict(self.models),
                "n_pairs": self.n_pairs,
                "n_questions": self.n_questions,
                "seconds": self.seconds,
                "counts": self.counts(),
                "claims": [_said(claim) for claim in self.claims],
                "steps": self.steps,
                "edits": self.edits,
            }
        )

    def plot(self) -> Any:
        """Draw what edits of the same strength do to answers, words beside latents."""
        return find("figure", "edits")(self)


def _said(claim: Claim) -> dict[str, Any]:
    return {
        "claim": claim.key,
        "title": claim.title,
        "part": claim.part,
        "word": claim.word,
        "published": {
            "statement": claim.published.statement,
            "figures": dict(claim.published.figures),
            "place": claim.published.place,
        },
        "quantity": claim.quantity,
        "unit": claim.unit,
        "rule": {"low": claim.rule.low, "high": claim.rule.high, "why": claim.rule.why},
        "found": [
            {"mean": each.mean, "low": each.low, "high": each.high, "says": word}
            for each, word in zip(claim.found, claim.words, strict=True)
        ],
        "unseen": claim.unseen,
        "notes": claim.notes,
        "beside": [
            {"title": each.title, "meaning": each.meaning, "unit": each.unit, "rows": each.rows}
            for each in claim.beside
        ],
    }


def check_paper(paper: str) -> None:
    """Refuse papers whose argument is not here.

    Raises:
        UnknownNameError: Any other number.
    """
    if paper.removeprefix("arXiv:").split("v")[0] != PAPER:
        raise UnknownNameError(
            f"No reproduction of {paper!r}; there is one of {PAPER}. Name that arXiv number."
        )


def reproduce(
    models: Mapping[str, Sequence[str | Reasoner]] = MODELS,
    *,
    n_pairs: int = 80,
    seed: int = 0,
    track: Track = untracked,
) -> Reproduction:
    """Run the argument of arXiv 2602.22766 on small models that differ only in how they imagine.

    Similarities, edits and accuracies are those of the paper, each beside what its own measurement
    cannot tell. Everything but seconds is the same for the same seed.

    Args:
        models: What runs, or what to load, by `natural` (latents), `capimagine` (words) and
            `direct` (no imagination): one per training seed, equally many of each. The shipped
            ones, if left out.
        n_pairs: Pairs of the digits world that are edited; accuracies rest on three times as many
            questions, and what is slow on fewer.
        seed: Of pairs, draws and intervals.
        track: Shows progress.

    Raises:
        UnknownNameError: A way that does not exist, or one that is missing.
        SampleError: Too few pairs, or a model that imagines in hardly any run.
        ModelError: A model that cannot be loaded.

    Source: Li et al. 2026, arXiv 2602.22766.
    """
    if n_pairs < _LEAST_PAIRS:
        raise SampleError(
            f"reproduce got {n_pairs} pairs; expected at least {_LEAST_PAIRS}, and about a hundred "
            "for anything to be decided."
        )
    held = load_models(models)
    began = time.perf_counter()
    world, options = task("digits", kinds=KINDS), {"seed": seed, "track": track}
    pairs = world.pairs(n_pairs, seed=seed)
    placebo = world.pairs(n_pairs, kind="placebo", seed=seed)
    samples = world.samples(3 * n_pairs, seed=seed)
    alike, steps = similarity_claims(held, pairs, placebo, **options)
    latents = [
        edit(model, pairs, (*LATENT_ARMS, *_also(LATENT_ARMS)), **options) for model in held.latents
    ]
    through = [mediated(model, pairs[:_MOST_MEDIATED], **options) for model in held.latents]
    words = [_reworded(model, pairs, **options) for model in held.words]
    said = [mediated(model, pairs[:_MOST_MEDIATED], **options) for model in held.words]
    edits = match(held, pairs[:_MOST_BESIDE], **options)
    parts = (
        alike,
        latent_claims(latents, through, seed=seed),
        derived_claims(held, min(n_pairs, _MOST_DERIVED), **options),
        accuracy_claims(held, samples, **options),
        word_claims(words, latents, said, tables(edits), seed=seed),
        cost_claims(held, samples[:_MOST_TIMED], **options),
    )
    return Reproduction(
        claims=tuple(claim for part in parts for claim in part.claims),
        rows=pd.concat([part.rows for part in parts], ignore_index=True)[list(ROWS)],
        steps=steps,
        edits=edits,
        models={way: tuple(model.name for model in each) for way, each in held.named.items()},
        n_pairs=n_pairs,
        n_questions=len(samples),
        seconds=time.perf_counter() - began,
        seed=seed,
    )


def _reworded(model: Model, pairs: Sequence[Pair], *, seed: int, track: Track) -> Edited:
    """Edit words; on few pairs where no claim depends on it, since each is a run of its own."""
    deciding = edit(model, pairs, DECIDING, seed=seed, track=track)
    others = [arm for arm in WORD_ARMS if arm not in DECIDING]
    return deciding.with_more(edit(model, pairs[:_MOST_BESIDE], others, seed=seed, track=track))


def _also(arms: Sequence[str]) -> tuple[str, ...]:
    """Return what latents undergo besides, because words do."""
    return tuple(arm for arm in BOTH if arm not in arms)
