"""Finding 3: latents as the only visual evidence for another question on the same picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mindseye.causal import Interval
from mindseye.readouts.probes import ARMS, DerivedQuestions, derived_question
from mindseye.samples import Sample
from mindseye.studies.reproduction.accuracy import change
from mindseye.studies.reproduction.claims import Claim, Part, Published, Rule, beside
from mindseye.studies.reproduction.models import Models
from mindseye.studies.reproduction.tracking import Track
from mindseye.tasks import Task, task

__all__ = ["derived_claims", "questions"]

PART = "Finding 3: latents hold little of the picture"

_MARGIN = 0.05

_PUBLISHED = Published(
    "With latents in the place of the image, derived questions are answered worse than from the "
    "text alone.",
    (
        ("Monet, latents only", "below text only; no figure"),
        ("Monet, with the image", "76.67 (23 of 30)"),
    ),
    "section 3, 30 questions on V*",
)

_KINDS: dict[str, tuple[str, str, tuple[str, str], str]] = {
    "derived-same-cell": (
        "Latents do not answer for the cell they were made for",
        "the same cell, asked for by its place instead of its colour",
        ("zoom", "digit_at"),
        "This is the easiest question there could be: its answer is the one that the latents were "
        "made for. The paper asks for another attribute of the same region; these models answer "
        "with digits only.",
    ),
    "derived-other-cell": (
        "Latents do not answer for another cell",
        "another cell of a picture that was to be imagined as a whole, turned",
        ("transform", "zoom"),
        "A helper image of the whole picture was the target in training, so that its latents "
        "could hold every cell.",
    ),
}


def questions(kinds: tuple[str, str], n: int, *, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return questions and derived ones: the same pictures, asked for something else.

    Args:
        kinds: Of the original question and of the derived one.
        n: How many.
        seed: Of the pictures.
    """
    # A scene is drawn before its question, so that worlds of other kinds show the same pictures.
    original, other = (list(_world(kind).samples(n, seed=seed)) for kind in kinds)
    assert all(one.image_key == two.image_key for one, two in zip(original, other, strict=True)), (
        "the two questions must be about one picture"
    )
    return original, other


def _world(kind: str) -> Task:
    return task("digits", kinds=(kind,))


def derived_claims(models: Models, n: int, *, seed: int, track: Track) -> Part:
    """Ask derived questions of every model with latents.

    Args:
        models: What runs.
        n: Questions of each kind.
        seed: Of the pictures and the bootstrap.
        track: Shows progress.
    """
    claims, rows = [], []
    for key, (title, what, kinds, about) in _KINDS.items():
        original, other = questions(kinds, n, seed=seed)
        titles = [f"{model.name}: {key}" for model in models.latents]
        found = [
            derived_question(
                model.reasoner,
                original,
                other,
                track=lambda each, title=title: track(title, each),
            )
            for model, title in zip(models.latents, titles, strict=True)
        ]
        rows += [
            _rows(each, key, models.latents[place].name, place) for place, each in enumerate(found)
        ]
        images = [sample.image_key for sample in original]
        claims.append(
            Claim(
                key=key,
                title=title,
                part=PART,
                published=_PUBLISHED,
                quantity=f"accuracy from latents less that from text alone; asked is {what}",
                unit="points",
                rule=Rule(
                    high=_MARGIN,
                    why="Less than five points better than without any evidence; the image is "
                    "worth tens.",
                ),
                found=tuple(
                    change(_right(each, "text only"), _right(each, "latents"), images, seed=seed)
                    for each in found
                ),
                unseen=f"{about} Thirty questions bound nothing: 23 of 30 is 58 % to 90 %. Latents "
                "fed where no image precedes them may mean less than where they were made, so "
                "latents of another picture and latents made without one stand beside.",
                beside=(
                    beside(
                        "Accuracy by evidence",
                        f"Share of right answers to {n} derived questions",
                        "share",
                        {arm: [_accuracy(each, arm) for each in found] for arm in ARMS},
                    ),
                ),
            )
        )
    return Part(tuple(claims), pd.concat(rows, ignore_index=True))


def _right(found: DerivedQuestions, arm: str) -> Bool[np.ndarray, " questions"]:
    rows = found.to_frame()
    return rows.loc[rows["arm"] == arm, "right"].to_numpy(dtype=bool)


def _accuracy(found: DerivedQuestions, arm: str) -> Interval:
    rows = found.accuracy()
    return Interval(*rows.loc[rows["arm"] == arm, ["accuracy", "low", "high"]].to_numpy()[0])


def _rows(found: DerivedQuestions, key: str, model: str, place: int) -> pd.DataFrame:
    rows = found.to_frame()
    return pd.DataFrame(
        {
            "part": key,
            "seed": place,
            "model": model,
            "item": rows["source"],
            "arm": rows["arm"],
            "measure": "right",
            "value": rows["right"].astype(float),
            "answer": rows["answer"],
        }
    )
