"""What is compared: latents, and the states that stand beside them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mindseye.errors import SampleError
from mindseye.readouts.geometry.chance import indexed, resamples

__all__ = ["LATENTS", "Population", "Runs", "populations"]

LATENTS = "latents"
"""What the latents are called beside their baselines."""

_LEAST = 4

States = Shaped[np.ndarray, "runs slots d_model"]
Placebos = Shaped[np.ndarray, "*placebos runs slots d_model"]


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """States of one kind in every run.

    Attributes:
        name: What they are.
        states: As many positions as there are slots.
        placebos: The same in the same runs under benign changes; none if that was not run.
    """

    name: str
    states: Shaped[np.ndarray, "runs slots d_model"]
    placebos: Shaped[np.ndarray, "placebos runs slots d_model"] | None = None

    def slot(self, k: int) -> Float[np.ndarray, "runs d_model"]:
        """Return the states of one slot, in double precision."""
        return self.states[:, k].astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """What is known of the runs, and how they are measured.

    Attributes:
        groups: What each run belongs to, as a number.
        answers: Of every run; none if not given.
        n_top: How many components `without top` takes out.
        n_permutations: Of every test.
        weights: How often each group is drawn, by resample; all means over pairs share them.
        rng: Draws permutations and other resamples.
    """

    groups: Int[np.ndarray, " runs"]
    answers: Sequence[Hashable] | None
    n_top: int
    n_permutations: int
    weights: Float[np.ndarray, "resamples groups"]
    rng: np.random.Generator

    @classmethod
    def of(
        cls,
        n: int,
        groups: Sequence[Hashable] | None,
        answers: Sequence[Hashable] | None,
        n_top: int,
        n_permutations: int,
        rng: np.random.Generator,
    ) -> Runs:
        """Check what is given of `n` runs.

        Raises:
            SampleError: Not one group or answer per run, one group only, or a negative number.
        """
        if answers is not None and len(answers) != n:
            raise SampleError(
                f"{n} runs came with {len(answers)} answers; expected one answer per run."
            )
        if n_top < 1 or n_permutations < 1:
            raise SampleError(
                f"similarity got n_top={n_top} and n_permutations={n_permutations}; both are at "
                "least 1."
            )
        index = indexed(groups, n)
        return cls(index, answers, n_top, n_permutations, resamples(index, rng), rng)


def populations(
    latents: States,
    baselines: Mapping[str, States],
    placebo: Placebos | Mapping[str, Placebos] | None,
) -> list[Population]:
    """Return the latents and their baselines, checked.

    Raises:
        SampleError: As `similarity` says.
    """
    if LATENTS in baselines:
        raise SampleError(f"A baseline is called {LATENTS!r}, as the latents are; rename it.")
    states = {LATENTS: latents, **baselines}
    moved = placebo if isinstance(placebo, Mapping) else {LATENTS: placebo}
    unknown = sorted(set(moved) - set(states))
    if unknown:
        raise SampleError(
            f"Placebo runs of {unknown[0]!r} were given, which is none of {', '.join(states)}. "
            "Name one of these."
        )
    for name, held in states.items():
        check(name, held, latents.shape if name != LATENTS else None)
    return [Population(name, held, _placebos(name, held, moved)) for name, held in states.items()]


def check(name: str, states: States, shape: tuple[int, ...] | None = None) -> None:
    """Refuse states that no cosine can be taken of.

    Args:
        name: What they are.
        states: One vector per run and slot.
        shape: What they must have; none asks only for enough runs.

    Raises:
        SampleError: As `similarity` says.
    """
    if shape is None and (states.ndim != 3 or len(states) < _LEAST or 0 in states.shape):
        raise SampleError(
            f"{name} have shape {states.shape}; expected (runs, slots, d_model) with at least "
            f"{_LEAST} runs. Run more samples, or stack runs that have equally many slots."
        )
    if shape is not None and states.shape != shape:
        raise SampleError(
            f"{name} have shape {states.shape} and latents {shape}; expected the same runs, slots "
            "and dimensions. Draw as many positions as there are slots (windows)."
        )
    lengths = np.linalg.norm(states.astype(np.float64), axis=-1)
    for wrong, what in (
        (~np.isfinite(lengths), "entries that are no finite numbers"),
        (lengths == 0, "nothing but zeros, which have no direction"),
    ):
        if wrong.any():
            run, slot = np.argwhere(wrong)[0]
            raise SampleError(
                f"{name} have {what}, first in run {run}, slot {slot} ({wrong.sum()} vectors in "
                "all). Leave these runs or slots out, or see why the model made them."
            )


def _placebos(
    name: str, states: States, moved: Mapping[str, Placebos | None]
) -> Shaped[np.ndarray, "placebos runs slots d_model"] | None:
    held = moved.get(name)
    if held is None:
        return None
    sets = held[None] if held.ndim == 3 else held
    for each in sets:
        check(f"placebo {name}", each, states.shape)
    if not len(sets):
        raise SampleError(f"placebo {name} hold no set of runs; pass one or more, or leave it out.")
    return sets
