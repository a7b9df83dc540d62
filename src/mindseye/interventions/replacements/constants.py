"""Constants: the slots are filled, and what fills them tells nothing of the sample."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements.given import Given
from mindseye.interventions.replacements.replacing import Structure, replacement

__all__ = [
    "constant",
    "filler",
    "first_repeat",
    "global_mean",
    "pad",
    "shared",
    "step_mean",
    "tiny",
    "zero",
]


@replacement("zero", carries="nothing", in_distribution="no")
def zero(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"]:
    """Feed zeros.

    Args:
        given: The run.
        rng: Not used.
    """
    return torch.zeros_like(given.latents)


@replacement("tiny", carries="nothing", in_distribution="no")
def tiny(
    given: Given, *, value: float = 1e-3, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Feed one small number in every entry, for models whose first norm cannot take zeros.

    Args:
        given: The run.
        value: The number.
        rng: Not used.
    """
    return torch.full_like(given.latents, value)


@replacement(
    "shared", carries="nothing", in_distribution="partly", keeps=("vectors",), needs=("pool",)
)
def shared(
    given: Given, *, run: int = 0, slot: int = 0, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Feed one vector at every slot of every sample: a latent that one run of the pool had.

    Args:
        given: The run.
        run: Which run of the pool it is taken from, counted from 0.
        slot: At which slot.
        rng: Not used.

    Raises:
        SampleError: The pool has no such run, or that run no such slot.

    Source: the shared tensor of arXiv 2602.22766, which does not say where it came from.
    """
    runs = given.known.runs
    if not (0 <= run < len(runs) and 0 <= slot < len(runs[run].fed)):
        raise SampleError(
            f"shared got run={run} and slot={slot}, but the pool has {len(runs)} runs, of which "
            f"the first has {len(runs[0].fed)} slots. Name a latent that there is."
        )
    return runs[run].fed[slot].to(given.latents).expand_as(given.latents)


@replacement("global_mean", carries="nothing", in_distribution="partly", needs=("pool",))
def global_mean(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"]:
    """Feed the mean of the pool over runs and slots.

    Args:
        given: The run.
        rng: Not used.
    """
    return given.known.mean.to(given.latents).expand_as(given.latents)


@replacement("step_mean", carries="nothing", in_distribution="partly", needs=("pool",))
def step_mean(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"]:
    """Feed every slot its own mean over the pool.

    Args:
        given: The run.
        rng: Not used.

    Raises:
        SampleError: No run of the pool has as many slots.
    """
    pool = given.known
    means = [pool.at(slot).mean(dim=0) for slot in range(len(given.latents))]
    return torch.stack(means).to(given.latents)


@replacement("first_repeat", carries="own", in_distribution="partly", keeps=("vectors",))
def first_repeat(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"]:
    """Feed the run's own first latent at every slot.

    Args:
        given: The run.
        rng: Not used.

    Source: arXiv 2605.12374's ablations and others; it keeps content, not progress.
    """
    return given.latents[:1].expand_as(given.latents)


@replacement("pad", carries="nothing", in_distribution="partly")
def pad(given: Given, *, rng: torch.Generator) -> Float[Tensor, "slots d_model"]:
    """Feed the embedding of the token that is visible at slots: computation without content.

    Args:
        given: The run.
        rng: Not used.

    Raises:
        EditError: The protocol shows no token of its own there.
    """
    reasoner = given.trace.reasoner
    if reasoner.tokens.pad is None:
        raise EditError(
            f"Protocol {reasoner.protocol.name!r} has no pad token, so that there is none to feed. "
            "Use zero or step_mean."
        )
    id = torch.tensor([reasoner.tokens.pad], device=given.latents.device)
    return reasoner.embed(id).detach().to(given.latents).expand_as(given.latents)


@replacement("filler", carries="nothing", in_distribution="partly")
def filler(
    given: Given, *, token: str = ".", rng: torch.Generator
) -> Float[Tensor, "slots d_model"] | Structure:
    """Feed the embedding of one ordinary token at every slot, or say it once per word.

    Args:
        given: The run.
        token: What is said; one token of the model.
        rng: Not used.

    Raises:
        EditError: It is not one token.

    Source: Pfau et al. 2024, arXiv 2404.15758, on filler tokens.
    """
    reasoner = given.trace.reasoner
    ids = reasoner.tokenizer.encode(token, add_special_tokens=False)
    if len(ids) != 1:
        raise EditError(
            f"filler got token={token!r}, which is {len(ids)} tokens of {reasoner.name!r}; "
            "expected one, such as a full stop."
        )
    if given.in_words:
        return Structure(words=tuple(ids) * len(given.latents))
    id = torch.tensor(ids, device=given.latents.device)
    return reasoner.embed(id).detach().to(given.latents).expand_as(given.latents)


@replacement("constant", carries="nothing", in_distribution="no")
def constant(
    given: Given, *, vectors: Tensor, rng: torch.Generator
) -> Float[Tensor, "slots d_model"]:
    """Feed given vectors to every sample, such as those that `optimal_constant` fits.

    Args:
        given: The run.
        vectors: One for all slots, or one per slot.
        rng: Not used.

    Raises:
        EditError: They fit no run of this reasoner.
    """
    own = given.latents
    if vectors.shape not in (own.shape, own.shape[1:]):
        raise EditError(
            f"constant got vectors of shape {tuple(vectors.shape)}; this run takes "
            f"{tuple(own.shape)}, or {tuple(own.shape[1:])} for all slots alike."
        )
    return vectors.to(own).expand_as(own)
