"""A reproduction made by hand, with every unit and word, and a hostile variant of it."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pandas as pd

from mindseye.causal import Interval
from mindseye.studies import Reproduction
from mindseye.studies.reproduction import Beside, Claim, Published, Rule
from mindseye.studies.reproduction.claims import ROWS, beside
from tests.report.audits import HOSTILE

FOUND = {
    "agrees": (Interval(0.8, 0.75, 0.85), Interval(0.9, 0.8, 0.95)),
    "disagrees": (Interval(0.1, -0.1, 0.2), Interval(0.3, 0.2, 0.4)),
    "undecided": (Interval(0.8, 0.75, 0.85), Interval(0.3, 0.2, 0.4)),
}
"""Two seeds each, to be held against: at least 0.7."""


def claim(word: str, unit: str = "points", part: str = "Accuracy") -> Claim:
    return Claim(
        key=f"{word}-{unit}",
        title=f"A claim in {unit}, {word}",
        part=part,
        published=Published("As the paper says.", (("one of them", "85.9"),), "table 1"),
        quantity="one number less another",
        unit=unit,
        rule=Rule(low=0.7, why="Written down beforehand."),
        found=FOUND[word],
        unseen="Something it cannot tell.",
        notes=("Seed 0: a note.",),
        beside=(
            beside("Shares", "Of all", "share", {"some arm": FOUND[word]}),
            beside("Tokens", "Medians", "count", {"words": [17.0, 18.0], "none": [2.0, math.nan]}),
        ),
    )


@functools.cache
def reproduction() -> Reproduction:
    leaves = ("everything", "nothing, it is taken out")
    edits = [
        {"leaves": each, "imagines": kind, "arm": "identity", "seed": seed}
        | {"mean": -0.1 * seed, "low": -0.3, "high": 0.1, "n": 8}
        for kind in ("words", "latents")
        for each in leaves
        for seed in (0, 1)
    ]
    steps = [
        {"kind": kind, "model": f"{kind}-{seed}", "seed": seed, "step": step}
        | {"value": 0.5 + 0.1 * step, "low": 0.4, "high": 0.9}
        for kind in ("latents", "words")
        for seed in (0, 1)
        for step in range(4)
    ]
    row = ("accuracy", 0, "natural", "digits/test/0/0", "natural", "right", 1.0, "7")
    return Reproduction(
        claims=(
            claim("agrees", "cosine", part="Finding 1: alike"),
            claim("disagrees"),
            claim("undecided"),
            claim("agrees", "times", part="Cost"),
        ),
        rows=pd.DataFrame([dict(zip(ROWS, row, strict=True))]),
        steps=pd.DataFrame(steps),
        edits=pd.DataFrame(edits),
        models={"natural": ("n-0", "n-1"), "capimagine": ("c-0", "c-1"), "direct": ("d-0", "d-1")},
        n_pairs=8,
        n_questions=24,
        seconds=90.0,
        seed=3,
    )


def hostile_reproduction() -> Reproduction:
    """The same with markup wherever a text could come from somewhere else."""
    found = reproduction()
    first, *others = found.claims
    odd = replace(
        first,
        key=HOSTILE[2],
        title=HOSTILE[0],
        part=HOSTILE[1],
        published=Published(HOSTILE[1], ((HOSTILE[2], HOSTILE[3]),), HOSTILE[0]),
        quantity=HOSTILE[3],
        unseen=HOSTILE[1],
        notes=(HOSTILE[2],),
        beside=(_hostile(first.beside[0]),),
    )
    return replace(
        found,
        claims=(odd, *others),
        models={way: (HOSTILE[3],) for way in found.models},
        edits=found.edits.assign(leaves=HOSTILE[0], arm=HOSTILE[1]),
        steps=found.steps.assign(model=HOSTILE[2]),
    )


def _hostile(held: Beside) -> Beside:
    rows = held.rows.assign(quantity=HOSTILE[0])
    return replace(held, title=HOSTILE[1], meaning=HOSTILE[2], rows=rows)
