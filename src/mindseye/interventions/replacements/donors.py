"""Latents of other runs: what the model does feed itself, only to another question or picture.

Words of another run are said as they are, however many; vectors need as many as there are slots.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements.given import Given, Run
from mindseye.interventions.replacements.replacing import Structure, replacement

__all__ = ["donor", "draw_donor", "twin"]


@replacement("donor", carries="another", in_distribution="yes", keeps=("vectors",), needs=("pool",))
def donor(
    given: Given,
    *,
    answer: Literal["any", "same", "other"] = "any",
    step: Literal["same", "any"] = "same",
    rng: torch.Generator,
) -> Float[Tensor, "slots d_model"] | Structure:
    """Feed the latents of another sample's run, or say its words.

    Args:
        given: The run.
        answer: Whether the donor's gold answer must be the same, another, or either.
        step: Slots of one donor in their order, or for each slot any latent of any donor (words
            are then fed like other latents, one per slot).
        rng: Draws the donor, or the latents, evenly.

    Raises:
        SampleError: The pool has no donor of that kind with as many slots.
    """
    own = given.latents
    if step == "same" and given.in_words:
        return Structure(words=draw_donor(given, answer, rng).words)
    if step == "same":
        return draw_donor(given, answer, rng).fed[: len(own)].to(own)
    vectors = torch.cat([run.fed for run in _fitting(given, answer, least=1)])
    places = torch.randint(len(vectors), (len(own),), generator=rng)
    return vectors[places.to(vectors.device)].to(own)


@replacement("twin", carries="another", in_distribution="yes", keeps=("vectors",), needs=("twin",))
def twin(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"] | Structure:
    """Feed the latents of the counterfactual twin, the pair's other run, or say its words.

    Args:
        given: The run.
        rng: Not used.

    Raises:
        EditError: The twin has another number of slots.
    """
    own, other = given.latents, given.twin
    assert other is not None  # declared as needed
    if given.in_words:
        return Structure(words=other.words)
    if other.fed_latents.shape != own.shape:
        raise EditError(
            f"The twin of sample {given.id!r} has {len(other.fed_latents)} latents and the run "
            f"itself {len(own)}. Pair runs of one length, or use donor."
        )
    return other.fed_latents.to(own)


def draw_donor(given: Given, answer: Literal["any", "same", "other"], rng: torch.Generator) -> Run:
    """Draw a run of another sample with at least as many slots, if they are no words.

    Raises:
        SampleError: There is none.
    """
    runs = _fitting(given, answer, least=1 if given.in_words else len(given.latents))
    return runs[int(torch.randint(len(runs), (), generator=rng))]


def _fitting(given: Given, answer: Literal["any", "same", "other"], least: int) -> list[Run]:
    gold = given.trace.sample.answer
    others = given.others
    of_answer = [
        run for run in others if answer == "any" or (run.answer == gold) == (answer == "same")
    ]
    long = [run for run in of_answer if len(run.fed) >= least]
    if not long:
        kind = {"any": "any", "same": "the same", "other": "another"}[answer]
        raise SampleError(
            f"No donor for sample {given.id!r} among {len(given.known.runs)} runs: {len(others)} "
            f"are of other samples, {len(of_answer)} of these have {kind} answer, and none of "
            f"these has {least} latents or more. Give a larger pool."
        )
    return long
