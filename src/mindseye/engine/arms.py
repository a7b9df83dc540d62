"""Arms: what is fed at the slots of a pair's runs, by a replacement's name or by a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from mindseye.engine.contrast import Outcome
from mindseye.engine.gradients import differentiable
from mindseye.engine.twins import Track, Twins, twin_runs
from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import (
    Chosen,
    Given,
    Pool,
    Structure,
    find_replacement,
)
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["Arm", "Arms", "fed_by", "find_arms", "latent_pool", "mediators_of", "needs_pool"]

Arm = Callable[[Twins], Float[Tensor, "slots d_model"]]
"""Says what is fed at the slots instead of a pair's clean latents."""

Arms = Mapping[str, str | Chosen | Arm] | Sequence[str | Chosen]
"""Replacements by name, such as `noise:scale=0.3`, or under names of one's own, or functions."""


def find_arms(asked: Arms, *, seed: int = 0) -> dict[str, Chosen | Arm]:
    """Return arms by what they are called.

    Args:
        asked: Names of replacements, or a mapping from names to replacements or functions.
        seed: Of the replacements' draws.

    Raises:
        UnknownNameError: No replacement of a name.
        EditError: One name twice.
    """
    if isinstance(asked, Mapping):
        return {
            name: find_replacement(arm, seed=seed) if isinstance(arm, str) else arm
            for name, arm in asked.items()
        }
    chosen = [
        find_replacement(each, seed=seed) if isinstance(each, str) else each for each in asked
    ]
    names = [each.name for each in chosen]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise EditError(f"Replacement {twice[0]!r} was asked for twice. Ask for each once.")
    return dict(zip(names, chosen, strict=True))


def needs_pool(arms: Mapping[str, Chosen | Arm]) -> bool:
    """Say whether some arm is made of other runs' latents."""
    return any(isinstance(arm, Chosen) and "pool" in arm.replacement.needs for arm in arms.values())


def latent_pool(reasoner: Reasoner, pairs: Sequence[Pair], track: Track = iter) -> Pool:
    """Run both sides of every pair and keep nothing but their latents.

    Raises:
        SampleError: No run imagined.
    """
    # One pair at a time, so that no run's keys and values outlive it.
    runs = [
        run
        for twins in twin_runs(reasoner, pairs, track)
        if any(trace.emitted for trace in twins.said)
        for run in Pool.of(trace for trace in twins.said if trace.emitted).runs
    ]
    if not runs:
        raise SampleError(
            f"None of {len(pairs)} pairs gave a run that imagined, so that there are no latents. "
            "Check the emission rate with reasoner.run(sample).emitted."
        )
    return Pool(tuple(runs))


def fed_by(
    name: str,
    arm: Chosen | Arm,
    twins: Twins,
    pool: Pool | None = None,
    outcome: Outcome | None = None,
) -> Float[Tensor, "slots d_model"] | Structure:
    """Return what an arm feeds at a pair's slots, or how else it makes the clean run up.

    Args:
        name: What the arm is called, for messages.
        arm: Which.
        twins: The pair's runs.
        pool: Latents of other runs, if the arm needs them.
        outcome: What a search optimises.

    Raises:
        EditError: A function whose vectors have another shape than the latents, or a replacement
            that does not keep what it declares.
        SampleError: Something is missing that a replacement needs.
    """
    own = twins.clean.fed_latents
    if isinstance(arm, Chosen):
        slope = None
        if outcome is not None and "outcome" in arm.replacement.needs:
            slope = differentiable(twins, outcome)
        return arm(Given(twins.clean, pool, twins.reference, slope, twins.pair.id))
    vectors = arm(twins)
    if vectors.shape != own.shape:
        raise EditError(
            f"Arm {name!r} feeds vectors of shape {tuple(vectors.shape)}; the latents have "
            f"{tuple(own.shape)}. Return one vector per slot."
        )
    return vectors.to(own)


def mediators_of(
    arms: Mapping[str, Chosen | Arm], twins: Twins, pool: Pool | None = None
) -> tuple[dict[str, Float[Tensor, "slots d_model"]], dict[str, tuple[int, ...]]]:
    """Return the vectors, or else the words, that arms hold a pair's mediator to.

    Raises:
        EditError: An arm changes how a run is made up.
    """
    vectors: dict[str, Float[Tensor, "slots d_model"]] = {}
    words: dict[str, tuple[int, ...]] = {}
    for name, arm in arms.items():
        made = fed_by(name, arm, twins, pool)
        if not isinstance(made, Structure):
            vectors[name] = made
        elif made.words is not None:
            words[name] = made.words
        else:
            raise EditError(
                f"{name!r} changes how a run is made up, so that it leaves no mediator to hold. "
                "Pin what feeds vectors or says words, and measure this one by battery."
            )
    return vectors, words
