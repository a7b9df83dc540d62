"""Perturbation of one thing in the scene, drawn anew by the task that knows the scene.

A box filled with another colour is no other object. So colour, shape and position are changed only
where a task can draw its scenes again; the picture is as good as its other ones, and the right
answer is known.
"""

from __future__ import annotations

import typing
from typing import Any

import numpy as np

from mindseye.errors import SampleError, UnknownNameError
from mindseye.interventions.perturbations.perturbing import perturbation
from mindseye.plugins import find
from mindseye.samples import Sample

__all__ = ["Redraws", "redraw", "task_of"]


@typing.runtime_checkable
class Redraws(typing.Protocol):
    """What a task offers that can draw its scenes again."""

    def redraw(self, sample: Sample, attribute: str, *, rng: np.random.Generator) -> Sample:
        """Return one of the task's samples, to the same question, with one attribute changed.

        Answer, regions, helper image and imagination fit the new scene.

        Raises:
            SampleError: The task cannot change this attribute, or the sample is not one of its own.
        """
        ...


@perturbation(
    "redraw",
    keeps_grid=True,
    in_distribution="yes",
    changes_answer="maybe",
    touches=("image", "answer", "regions", "imagination"),
)
def redraw(
    sample: Sample,
    *,
    attribute: str,
    task: Redraws | None = None,
    rng: np.random.Generator,
) -> Sample:
    """Draw the scene again with one attribute changed, if its task can.

    Args:
        sample: One of the task's own.
        attribute: What is changed, in the task's words, such as colour or position.
        task: Who draws; the task that the sample's id begins with, if left out.
        rng: Draws what it is changed to.

    Raises:
        SampleError: No task is known, it cannot draw scenes again, or not with this attribute.
    """
    drawer = task_of(sample, "Pass task=.") if task is None else task
    if not isinstance(drawer, Redraws):
        raise SampleError(
            f"{type(drawer).__name__}, the task of sample {sample.id!r}, cannot draw a scene again "
            f"with another {attribute}. Use its pairs, or pass task= with one that has redraw()."
        )
    return drawer.redraw(sample, attribute, rng=rng)


def task_of(sample: Sample, instead: str) -> Any:
    """Return the task that a sample's id begins with.

    Args:
        sample: One of the task's own.
        instead: What to pass where there is none, as a sentence.

    Raises:
        SampleError: No task has that name.
    """
    name = sample.id.partition("/")[0]
    try:
        return find("task", name)()
    except UnknownNameError as fault:
        raise SampleError(
            f"Sample {sample.id!r} begins with no task's name, so that nobody knows its scene. "
            f"{instead} {fault}"
        ) from fault
