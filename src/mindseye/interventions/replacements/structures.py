"""The run as it is, and runs that are made up otherwise: without slots, without markers, longer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.interventions.asking import check_range
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.replacing import Structure, replacement
from mindseye.reasoners.spans import positions

__all__ = ["forced", "identity", "markers_only", "removal", "slots", "slots_only"]


@replacement("identity", carries="own", in_distribution="yes", keeps=("norms", "vectors", "mean"))
def identity(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"] | Structure:
    """Feed the run's own latents, or say its words, again: the arm that must change nothing.

    Args:
        given: The run.
        rng: Not used.
    """
    if given.in_words:
        return Structure(words=given.trace.words)
    return given.latents.clone()


@replacement("removal", carries="nothing", in_distribution="partly")
def removal(given: Given, *, rng: torch.Generator) -> Structure:
    """Take the slots out with their markers; what follows moves up.

    Args:
        given: The run.
        rng: Not used.
    """
    return Structure(removed=positions(given.trace.labels, "segment"))


@replacement("markers_only", carries="nothing", in_distribution="no")
def markers_only(given: Given, *, rng: torch.Generator) -> Structure:
    """Take the slots out and leave the markers.

    Args:
        given: The run.
        rng: Not used.
    """
    return Structure(removed=positions(given.trace.labels, "latents"))


@replacement("slots_only", carries="own", in_distribution="no")
def slots_only(given: Given, *, rng: torch.Generator) -> Structure:
    """Take the markers out and leave the slots with their latents.

    Args:
        given: The run.
        rng: Not used.
    """
    return Structure(removed=positions(given.trace.labels, "markers"))


@replacement("forced", carries="own", in_distribution="partly")
def forced(given: Given, *, rng: torch.Generator) -> Structure:
    """Run the sample again with a segment opened at once, whether the model wants one or not.

    Args:
        given: The run.
        rng: Not used.
    """
    return Structure(forced=True)


@replacement("slots", carries="own", in_distribution="partly")
def slots(given: Given, *, n: int, rng: torch.Generator) -> Structure:
    """Run the sample again with so many latents per segment; a sweep is a loop over `n`.

    Args:
        given: The run.
        n: How many, 1 or more; `removal` is none.
        rng: Not used.

    Raises:
        EditError: Fewer than 1.
    """
    check_range("slots got n", n, 1, 4096, "For none there are removal and markers_only.")
    return Structure(n_slots=n)
