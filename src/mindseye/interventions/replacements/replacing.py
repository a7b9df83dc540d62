"""Replacements: what is fed in the place of latents, with what it declares about itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindseye.errors import EditError, SampleError
from mindseye.interventions.asking import (
    Declared,
    check_signature,
    find_declared,
    parameters_of,
    read,
    values_of,
)
from mindseye.interventions.replacements.given import Given
from mindseye.plugins import register

__all__ = ["Chosen", "Replacement", "Slots", "Structure", "find_replacement", "replacement"]

Carries = Literal["own", "another", "nothing", "truth"]
"""What the fed vectors still tell: of this sample's own latents, of another sample, of no sample,
or what the sample's annotations know."""

Keeps = Literal["norms", "vectors", "mean"]
"""What stays: the norm of every vector; that each is one of a run's own; the mean over slots."""

Needs = Literal["pool", "twin", "outcome", "region", "helper", "words"]

Slots = Sequence[int] | str | None
"""Which slots: numbers from 0, or a text such as `0-2+5`; all, if none."""

_NORM_TOLERANCE = 1e-3
"""Relative; bf16 rounds norms to about as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Another make-up of a run, where no vectors could be fed instead.

    Attributes:
        removed: Positions taken out, later ones moving up.
        n_slots: The sample is run again with so many latents in each segment.
        forced: The sample is run again with a segment opened at once.
        words: Ids that are said instead of the run's own words, as many as there are.
    """

    removed: Int[Tensor, " removed"] | None = None
    n_slots: int | None = None
    forced: bool = False
    words: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Replacement(Declared):
    """A named change of what is fed as latents.

    Attributes:
        function: Takes what is given, `rng` and its parameters; returns vectors, or a `Structure`.
        carries: What the fed vectors still tell.
        in_distribution: Whether they look like what the model feeds itself. Every vector's
            distance is measured besides.
        keeps: What stays.
        needs: What must be given.
    """

    carries: Carries
    in_distribution: Literal["yes", "partly", "no"]
    keeps: frozenset[Keeps]
    needs: frozenset[Needs]

    def __call__(
        self, given: Given, *, rng: torch.Generator, slots: Slots = None, **told: Any
    ) -> Float[Tensor, "slots d_model"] | Structure:
        """Return what is fed at the slots, or how else the run is made.

        Args:
            given: The run, and what is known beside it.
            rng: Draws what is random, on the CPU; equal states give equal vectors.
            slots: Which slots are replaced; the others keep what they had.
            told: Parameters; the others have their defaults.

        Raises:
            EditError: An unknown parameter, a slot that the run does not have, or vectors that are
                not what was declared.
            SampleError: Something that it needs was not given.
        """
        values = self.told(told)
        self._check_needs(given)
        made = self.function(given, rng=rng, **values)
        if isinstance(made, Structure):
            if slots is not None:
                raise EditError(
                    f"Replacement {self.name!r} changes how a run is made up, all of it; slots "
                    f"{slots!r} cannot be chosen. Leave them out."
                )
            return made
        self._check(given, made)
        return torch.where(
            slot_mask(slots, len(given.latents)).to(made.device)[:, None],
            made.to(given.latents),
            given.latents,
        )

    def _check_needs(self, given: Given) -> None:
        """Refuse to work without what was declared to be needed.

        Raises:
            SampleError: It was not given.
        """
        sample = given.trace.sample
        there = {
            "pool": given.pool is not None,
            "twin": given.twin is not None,
            "outcome": given.outcome is not None,
            "region": bool(sample.regions),
            "helper": sample.helper is not None,
            "words": given.in_words,
        }
        if not len(given.latents):
            raise SampleError(
                f"The run of sample {given.id!r} has no latents to replace. Choose runs that "
                "imagined (trace.emitted)."
            )
        for need in sorted(self.needs):
            if not there[need]:
                raise SampleError(
                    f"Replacement {self.name!r} needs {_ADVICE[need][0]}, which sample "
                    f"{given.id!r} came without. {_ADVICE[need][1]}"
                )

    def _check(self, given: Given, made: Any) -> None:
        """Hold vectors to what was declared of them.

        Raises:
            EditError: They have another shape, are not finite, or do not keep what they should.
        """
        own = given.latents
        if not isinstance(made, Tensor) or made.shape != own.shape:
            what = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise EditError(
                f"Replacement {self.name!r} returned {what}; expected one vector per slot, "
                f"{tuple(own.shape)}, or a Structure."
            )
        if not bool(made.isfinite().all()):
            raise EditError(
                f"Replacement {self.name!r} returned numbers that are not finite for sample "
                f"{given.id!r}. Check its parameters."
            )
        broken = [each for each in sorted(self.keeps) if not _KEPT[each](given, made.to(own))]
        if broken:
            raise EditError(
                f"Replacement {self.name!r} declares that it keeps the {broken[0]}, but for sample "
                f"{given.id!r} it did not. Keep them, or leave {broken[0]!r} out of keeps."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A replacement with what it was told, ready to be applied to any run.

    Attributes:
        name: As it was asked for, such as `noise:scale=0.3`.
        replacement: Which one.
        told: Its parameters.
        slots: Which slots.
        seed: Of its draws; every run has draws of its own.
    """

    name: str
    replacement: Replacement
    told: Mapping[str, Any]
    slots: Slots = None
    seed: int = 0

    def __call__(self, given: Given) -> Float[Tensor, "slots d_model"] | Structure:
        """Return what is fed at the slots of a run; equal runs give equal vectors."""
        key = f"{self.seed}/{self.name}/{given.name or given.id}".encode()
        # Not hash(), which differs from process to process.
        seed = int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big")
        rng = torch.Generator().manual_seed(seed)
        return self.replacement(given, rng=rng, slots=self.slots, **self.told)

    def mask(self, n_slots: int) -> Bool[Tensor, " slots"]:
        """Return which of so many slots are replaced.

        Raises:
            EditError: One that there is not.
        """
        return slot_mask(self.slots, n_slots)


def replacement(
    name: str,
    *,
    carries: Carries = "own",
    in_distribution: Literal["yes", "partly", "no"] = "no",
    keeps: Collection[Keeps] = (),
    needs: Collection[Needs] = (),
) -> Callable[[Callable[..., Tensor | Structure]], Replacement]:
    """Offer a function as the replacement `name`.

    The function takes a `Given`, `rng` by keyword and its parameters by keyword, and returns one
    vector per slot. What it may be told and what that means is read from its signature and
    docstring.

    Args:
        name: What it is called.
        carries: What the fed vectors still tell; `own` if nothing is promised.
        in_distribution: Whether they look like what the model feeds itself.
        keeps: What stays.
        needs: What must be given.

    Raises:
        EditError: An unknown word in `keeps` or `needs`, or a function that takes no `rng`, or
            parameters by place.
    """
    for what, words, known in (
        ("keeps", keeps, get_args(Keeps)),
        ("needs", needs, get_args(Needs)),
    ):
        if unknown := [word for word in words if word not in known]:
            raise EditError(
                f"Replacement {name!r} declares {what}={unknown[0]!r}; it takes some of "
                f"{', '.join(known)}."
            )

    def offer(change: Callable[..., Tensor | Structure]) -> Replacement:
        check_signature(f"Replacement {name!r}", change)
        made = Replacement(
            name,
            change,
            parameters_of(change),
            carries,
            in_distribution,
            frozenset(keeps),
            frozenset(needs),
        )
        return register("replacement", name)(made)

    return offer


def find_replacement(asked: str, *, slots: Slots = None, seed: int = 0, **told: Any) -> Chosen:
    """Return a replacement from a text such as `noise:scale=0.3` or `zero:slots=0-2`.

    Args:
        asked: Its name, and after a colon what it is told; every replacement takes `slots`.
        slots: Which slots; these win.
        seed: Of its draws.
        told: What else it is told, from Python; these win.

    Raises:
        UnknownNameError: No replacement of that name.
        EditError: A parameter that it does not have, or of another kind, or a missing one; or what
            was registered is no `Replacement`.
    """
    name, texts = read(asked)
    found = find_declared("replacement", name, Replacement)
    given_slots = texts.pop("slots", None)
    chosen = given_slots if slots is None else slots
    values = found.told(values_of(found.parameters, texts) | told)
    return Chosen(asked, found, values, chosen, seed)


def slot_mask(slots: Slots, n_slots: int) -> Bool[Tensor, " slots"]:
    """Return which slots are meant.

    Raises:
        EditError: There is no such slot, or a text that names none.
    """
    if slots is None:
        return torch.ones(n_slots, dtype=torch.bool)
    try:
        chosen = _ranges(slots) if isinstance(slots, str) else list(slots)
    except ValueError as fault:
        raise EditError(
            f"slots={slots!r}; expected numbers from 0 and ranges with + between, such as 0-2+5."
        ) from fault
    if not chosen or not all(0 <= slot < n_slots for slot in chosen):
        raise EditError(
            f"slots={slots!r}, but this run has slots 0 to {n_slots - 1}. Name some of these."
        )
    mask = torch.zeros(n_slots, dtype=torch.bool)
    mask[chosen] = True
    return mask


def _ranges(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        found += range(int(first), int(last) + 1) if dash else [int(first)]
    return found


def _keeps_norms(given: Given, made: Tensor) -> bool:
    own, new = (each.double().norm(dim=-1) for each in (given.latents, made))
    return torch.allclose(own, new, rtol=_NORM_TOLERANCE * _coarseness(made))


def _keeps_mean(given: Given, made: Tensor) -> bool:
    own, new = (each.double().mean(dim=0) for each in (given.latents, made))
    scale = float(given.latents.double().abs().max())
    return torch.allclose(own, new, atol=1e-3 * scale * _coarseness(made))


def _keeps_vectors(given: Given, made: Tensor) -> bool:
    """Say whether every vector is one that some run fed itself."""
    known = [given.latents]
    known += [] if given.twin is None else [given.twin.fed_latents]
    known += [] if given.pool is None else [given.pool.vectors.to(made)]
    every = torch.cat(known)
    return all(bool((every == vector).all(dim=-1).any()) for vector in made)


def _coarseness(made: Tensor) -> float:
    return 10.0 if made.dtype in (torch.bfloat16, torch.float16) else 1.0


_KEPT: Mapping[Keeps, Callable[[Given, Tensor], bool]] = {
    "norms": _keeps_norms,
    "mean": _keeps_mean,
    "vectors": _keeps_vectors,
}

_ADVICE: Mapping[Needs, tuple[str, str]] = {
    "pool": ("a pool of other runs' latents", "Pass pool=Pool.of(traces)."),
    "twin": ("the run of a counterfactual twin", "Give it pairs."),
    "outcome": ("an outcome to differentiate", "Use it within an experiment, such as battery."),
    "region": ("a region", "Choose samples whose task knows where to look."),
    "helper": ("a helper image", "Choose samples whose task knows one."),
    "words": ("imagination in words", "Load the model with protocol='text'."),
}
