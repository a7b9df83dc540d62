"""What the model imagines of the sample once something about it is changed."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import EditError, SampleError
from mindseye.interventions.perturbations import find_perturbation
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.replacing import Structure, replacement

__all__ = ["reimagined"]


@replacement("reimagined", carries="another", in_distribution="yes")
def reimagined(
    given: Given, *, after: str, rng: torch.Generator
) -> Float[Tensor, "slots d_model"] | Structure:
    """Feed the latents, or say the words, of a run on the sample after a perturbation.

    It is a twin of one's own choice: what is changed about the picture is all that the latents or
    words can say differently.

    Args:
        given: The run.
        after: The perturbation, such as `redraw:attribute=handwriting`.
        rng: Draws what the perturbation draws.

    Raises:
        UnknownNameError: No perturbation of that name.
        EditError: The run on the perturbed sample has another number of latents.
        SampleError: It did not imagine.
    """
    perturbation, told = find_perturbation(after)
    trace, own = given.trace, given.latents
    seed = int(torch.randint(2**31, (), generator=rng))
    changed = perturbation(trace.sample, rng=np.random.default_rng(seed), **told)
    other = trace.reasoner.run(
        changed,
        max_new_tokens=trace.settings.max_new_tokens,
        force_start=trace.settings.force_start,
    )
    if not other.emitted:
        raise SampleError(
            f"After {after!r} the run of sample {given.id!r} did not finish imagining, so that "
            "there is nothing to feed. Leave the sample out, or raise max_new_tokens."
        )
    if given.in_words:
        return Structure(words=other.words)
    if other.fed_latents.shape != own.shape:
        raise EditError(
            f"After {after!r} the run of sample {given.id!r} has {len(other.fed_latents)} latents "
            f"instead of {len(own)}. Use a protocol with a fixed number of slots."
        )
    return other.fed_latents.to(own)
