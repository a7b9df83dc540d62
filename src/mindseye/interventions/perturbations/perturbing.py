"""Perturbations: changes of a sample, with what they declare about themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from mindseye.errors import EditError, SampleError
from mindseye.interventions.asking import (
    Declared,
    check_signature,
    find_declared,
    parameters_of,
    read,
    settle,
    values_of,
)
from mindseye.plugins import register
from mindseye.samples import ImageSource, Sample, read_image

__all__ = [
    "Perturbation",
    "Touched",
    "changed_parts",
    "find_perturbation",
    "perturbation",
    "same_images",
]

Touched = Literal["image", "question", "options", "answer", "regions", "imagination"]
"""A part of a sample; `imagination` is its helper image and its imagination in words."""


@dataclass(frozen=True, slots=True, eq=False)
class Perturbation(Declared):
    """A named change of a sample.

    Attributes:
        function: Takes a sample, `rng` and its parameters; returns another sample.
        keeps_grid: Whether images keep their number and sizes and the question its number of words,
            so that latents keep their positions. Tokens are the tokenizer's affair: a run checks
            these itself.
        in_distribution: Whether what comes out looks like what the model knows.
        changes_answer: Whether the right answer is expected to change, or to be no longer visible.
            Where it is not `"no"`, the sample keeps its old answer unless the new one is known.
        touches: The parts of a sample that it may change; all others must stay.
    """

    keeps_grid: bool
    in_distribution: Literal["yes", "partly", "no"]
    changes_answer: Literal["yes", "no", "maybe"]
    touches: frozenset[Touched]

    def told(
        self, given: Mapping[str, Any], *, pool: Sequence[Sample] | None = None
    ) -> dict[str, Any]:
        """Return all that it is told.

        Args:
            given: Parameters; the others have their defaults.
            pool: What its parameter `pool` is, if it needs one and none is given.

        Raises:
            EditError: An unknown parameter, a missing one, or a value of another kind.
        """
        takes_pool = any(each.name == "pool" and each.needed for each in self.parameters)
        own = {"pool": pool} if takes_pool and pool is not None else {}
        return settle(self.name, self.parameters, own | dict(given))

    def __call__(self, sample: Sample, *, rng: np.random.Generator, **given: Any) -> Sample:
        """Return a changed sample.

        Args:
            sample: What to change; it stays as it is. Its arrays are handed on read-only.
            rng: Draws what is random; equal states give equal samples.
            given: Parameters; the others have their defaults.

        Raises:
            EditError: An unknown parameter or a value of another kind, or a change that does not
                keep what it declares.
        """
        values = self.told(given)
        locked = tuple(map(_locked, sample.images))
        changed = self.function(replace(sample, images=locked), rng=rng, **values)
        if not isinstance(changed, Sample):
            raise EditError(
                f"Perturbation {self.name!r} returned a {type(changed).__name__}; expected a "
                "Sample. Return dataclasses.replace(sample, ...)."
            )
        own = {id(view): source for view, source in zip(locked, sample.images, strict=True)}
        changed = replace(changed, images=tuple(own.get(id(i), i) for i in changed.images))
        self._check(sample, changed)
        return changed

    def _check(self, before: Sample, after: Sample) -> None:
        """Hold a change to its declaration.

        Raises:
            EditError: It touched more, changed the grid, or made an image that is none.
        """
        try:
            touched = changed_parts(before, after)
        except SampleError as fault:
            raise EditError(
                f"Perturbation {self.name!r} made an image that cannot be used. {fault}"
            ) from fault
        if self.keeps_grid and _grid(before) != _grid(after):
            raise EditError(
                f"Perturbation {self.name!r} declares that it keeps the grid, but "
                f"{_told(before)} became {_told(after)}. Keep these, or declare keeps_grid=False."
            )
        if beyond := sorted(touched - self.touches):
            declared = ", ".join(sorted(self.touches)) or "nothing"
            raise EditError(
                f"Perturbation {self.name!r} changed the {' and the '.join(beyond)}, though it "
                f"declares to touch only {declared}. Leave it, or declare it in touches."
            )


def perturbation(
    name: str,
    *,
    keeps_grid: bool = True,
    in_distribution: Literal["yes", "partly", "no"] = "partly",
    changes_answer: Literal["yes", "no", "maybe"] = "maybe",
    touches: Collection[Touched] = ("image",),
) -> Callable[[Callable[..., Sample]], Perturbation]:
    """Offer a function as the perturbation `name`.

    The function takes a sample, `rng` by keyword and its parameters by keyword, and returns a new
    sample. What it may be told and what that means is read from its signature and docstring.

    Args:
        name: What it is called.
        keeps_grid: Whether images keep their sizes and the question its number of words.
        in_distribution: Whether what comes out looks like what the model knows.
        changes_answer: Whether the right answer is expected to change, or to be no longer visible.
        touches: The parts of a sample that it may change.

    Raises:
        EditError: An unknown part in `touches`, or a function that takes no `rng`, or parameters by
            place.
    """
    if unknown := [part for part in touches if part not in get_args(Touched)]:
        raise EditError(
            f"Perturbation {name!r} declares to touch {unknown[0]!r}; the parts of a sample are "
            f"{', '.join(get_args(Touched))}. Name some of these."
        )

    def offer(change: Callable[..., Sample]) -> Perturbation:
        check_signature(f"Perturbation {name!r}", change)
        made = Perturbation(
            name,
            change,
            parameters_of(change),
            keeps_grid,
            in_distribution,
            changes_answer,
            frozenset(touches),
        )
        return register("perturbation", name)(made)

    return offer


def find_perturbation(
    asked: str,
    given: Mapping[str, Any] | None = None,
    *,
    pool: Sequence[Sample] | None = None,
) -> tuple[Perturbation, Mapping[str, Any]]:
    """Return a perturbation and its parameters from a text such as `blur:sigma=2`.

    Args:
        asked: Its name, and after a colon what it is told.
        given: What else it is told, from Python; these win.
        pool: Where it takes samples from, if it needs a pool and is told of none.

    Raises:
        UnknownNameError: No perturbation of that name.
        EditError: A parameter that it does not have, or of another kind, or a missing one; or what
            was registered is no `Perturbation`.
    """
    name, texts = read(asked)
    found = find_declared("perturbation", name, Perturbation)
    told = values_of(found.parameters, texts)
    return found, found.told(told | dict(given or {}), pool=pool)


def changed_parts(before: Sample, after: Sample) -> frozenset[Touched]:
    """Return the parts in which two samples differ; images are compared by their pixels.

    Raises:
        SampleError: An image cannot be read.
    """
    helpers = [() if each.helper is None else (each.helper,) for each in (before, after)]
    same: dict[Touched, bool] = {
        "image": same_images(before.images, after.images),
        "question": before.question == after.question,
        "options": before.options == after.options,
        "answer": before.answer == after.answer,
        "regions": dict(before.regions) == dict(after.regions),
        "imagination": before.imagination == after.imagination and same_images(*helpers),
    }
    return frozenset(part for part, stayed in same.items() if not stayed)


def same_images(some: Sequence[ImageSource], others: Sequence[ImageSource]) -> bool:
    """Return whether images are as many and equal in every pixel.

    Raises:
        SampleError: One cannot be read.
    """
    return len(some) == len(others) and all(
        a is b or np.array_equal(read_image(a), read_image(b))
        for a, b in zip(some, others, strict=True)
    )


def _locked(source: ImageSource) -> ImageSource:
    """Return an image that cannot be written on, so that the original outlives any plug-in."""
    if not isinstance(source, np.ndarray):
        return source
    view = source.view()
    view.flags.writeable = False
    return view


def _grid(sample: Sample) -> tuple[list[tuple[int, ...]], int]:
    sizes = [read_image(source).shape[1::-1] for source in sample.images]
    return sizes, len(sample.question.split())


def _told(sample: Sample) -> str:
    sizes, n_words = _grid(sample)
    seen = ", ".join(f"{width}x{height}" for width, height in sizes) or "no image"
    return f"{seen} and {n_words} words"
