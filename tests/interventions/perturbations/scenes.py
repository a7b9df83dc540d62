"""Samples to perturb, and for every built-in perturbation one that it fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import mindseye.interventions.perturbations
from mindseye.interventions.perturbations import Perturbation
from mindseye.plugins import find, names
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.strategies import pixels

HOME = mindseye.interventions.perturbations.__name__


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def built_in() -> list[str]:
    """The names of our own perturbations; what a test or a package registers is not among them."""
    found = {name: find("perturbation", name) for name in names("perturbation")}
    return [name for name, each in found.items() if is_ours(each)]


def is_ours(perturbation: Perturbation) -> bool:
    return perturbation.function.__module__.startswith(f"{HOME}.")


@st.composite
def boxes(draw: st.DrawFn, height: int, width: int) -> tuple[int, int, int, int]:
    """Boxes of a pixel or more inside a picture."""
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))


@st.composite
def located(draw: st.DrawFn, low: int = 1, high: int = 12) -> Sample:
    """Samples with a target somewhere in their picture, which is all noise."""
    height, width = draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    image = draw(pixels(st.just((height, width))))
    return Sample((image,), "Where?", "here", regions={"target": draw(boxes(height, width))})


def lettered() -> Sample:
    """A sample whose question lists four options by letter, and whose answer is one."""
    return replace(
        Digits().samples(1)[0],
        question="Which animal is it?\nA. cat\nB. dog\nC. grey mouse\nD. cow\nSay a letter.",
        options=("cat", "dog", "grey mouse", "cow"),
        answer="C",
    )


def worded() -> Sample:
    """A sample with other wordings of its question."""
    return replace(
        Digits().samples(1)[0],
        meta={"paraphrases": ("What number is in that cell?", "Read the cell.")},
    )


def examples() -> dict[str, tuple[Sample, dict[str, Any]]]:
    """For each built-in perturbation a sample, and parameters with which it changes something."""
    pool = Digits().samples(12)
    digits = pool[0]
    drawn = Digits().samples(1)[0]
    return {name: (digits, {}) for name in built_in()} | {
        "another_image": (digits, {"pool": pool}),
        "another_question": (digits, {"pool": pool}),
        "paraphrase": (worded(), {}),
        "permute_options": (lettered(), {}),
        "redraw": (drawn, {"attribute": "digit", "task": Digits()}),
    }
