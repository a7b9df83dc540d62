"""Pairs made by a perturbation: the sample is the clean side, what comes out the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mindseye.errors import EditError, SampleError
from mindseye.interventions.perturbations.options import other_options
from mindseye.interventions.perturbations.perturbing import Perturbation, find_perturbation
from mindseye.samples import Pair, Sample, read_image

__all__ = ["perturbed_pairs"]


def perturbed_pairs(
    samples: Sequence[Sample],
    perturbation: str | Perturbation,
    *,
    rng: np.random.Generator,
    foil: str | Sequence[str] | None = None,
    **parameters: Any,
) -> list[Pair]:
    """Pair every sample with its perturbed self.

    A pair is `"minimal"` if the perturbation gave another right answer, `"placebo"` if it declares
    that the answer stays, and otherwise of the perturbation's own name: what is right behind noise
    or a mask nobody knows. The latter two are scored against a foil, which is another option, or
    without options an answer of the other samples, of the same kind of question where there is one.

    What happens to a sample does not depend on how many come after it, as long as no pool and no
    foil is taken from these.

    Args:
        samples: The clean sides.
        perturbation: Its name, with parameters after a colon, such as `"noise:sigma=0.2"`, or the
            perturbation itself.
        rng: Spawns a generator for each sample.
        foil: Of all pairs, or one for each sample; drawn, if left out. Minimal pairs have none.
        parameters: What the perturbation is told. One that needs a pool gets `samples`.

    Raises:
        EditError: Parameters that do not fit, or a perturbation that changes the size or number of
            images, so that there is no pair.
        SampleError: A sample that cannot be perturbed, or has no foil.
        UnknownNameError: No perturbation of that name.
    """
    if isinstance(perturbation, str):
        chosen, values = find_perturbation(perturbation, parameters, pool=samples)
    else:
        chosen, values = perturbation, perturbation.told(parameters, pool=samples)
    foils = _given_foils(foil, samples)
    pairs = []
    for i, (sample, own) in enumerate(zip(samples, rng.spawn(len(samples)), strict=True)):
        # Two streams, so that giving foils leaves the pictures as they are.
        of_change, of_foil = own.spawn(2)
        changed = chosen(sample, rng=of_change, **values)
        _check_grid(chosen, sample, changed)
        is_minimal = changed.answer != sample.answer
        kind = "placebo" if chosen.changes_answer == "no" else chosen.name
        name = f"{sample.id or i}/{chosen.name}"
        pairs.append(
            Pair(
                clean=sample,
                reference=replace(changed, id=name),
                kind="minimal" if is_minimal else kind,
                foil=None if is_minimal else foils[i] or _drawn_foil(sample, samples, of_foil),
                id=name,
            )
        )
    return pairs


def _check_grid(perturbation: Perturbation, before: Sample, after: Sample) -> None:
    """Refuse a change that leaves no pair.

    Raises:
        EditError: Images are of another number or size.
    """
    sizes = [[read_image(each).shape for each in sample.images] for sample in (before, after)]
    if sizes[0] != sizes[1]:
        raise EditError(
            f"{perturbation.name!r} made images of {sizes[1]} (height, width, 3) from {sizes[0]}; "
            "the sides of a pair need the same ones, or latents would stand elsewhere. Run the "
            "perturbed samples by themselves, or perturb in a way that keeps the grid; for a run "
            "without its image there is strict_runs."
        )


def _given_foils(
    foil: str | Sequence[str] | None, samples: Sequence[Sample]
) -> Sequence[str | None]:
    """Return the foil of each sample, or None where one is to be drawn.

    Raises:
        SampleError: Foils are more or fewer than samples.
    """
    if foil is None or isinstance(foil, str):
        return [foil] * len(samples)
    if len(foil) != len(samples):
        raise SampleError(
            f"There are {len(foil)} foils for {len(samples)} samples. Give one for each, or one "
            "for all."
        )
    return foil


def _drawn_foil(sample: Sample, samples: Sequence[Sample], rng: np.random.Generator) -> str:
    """Draw another option, or another sample's answer.

    Raises:
        SampleError: There is none.
    """
    if sample.options:
        others = other_options(sample)
    else:
        different = [each for each in samples if each.answer != sample.answer]
        alike = [each for each in different if each.kind == sample.kind]
        others = sorted({each.answer for each in alike or different})
    if not others:
        raise SampleError(
            f"Sample {sample.id!r} has no options, and no other sample answers otherwise than "
            f"{sample.answer!r}, so that there is nothing to score it against. Pass foil='...'."
        )
    return others[int(rng.integers(len(others)))]
