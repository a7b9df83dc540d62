"""The logit lens: what the model's own output head makes of a state."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mindseye.reasoners import Reasoner

__all__ = ["final_norm", "reading_of_latents", "unembedded"]


def final_norm(reasoner: Reasoner) -> nn.Module:
    """Return the norm between the last block and the output head."""
    row = reasoner.architecture
    return reasoner.model.get_submodule(f"{row.decoder}.{row.norm}")


def unembedded(
    reasoner: Reasoner,
    vectors: Float[Tensor, "rows d_model"],
    *,
    normed: bool,
    at_slots: Bool[Tensor, " rows"],
) -> Float[Tensor, "rows vocab"]:
    """Return the logits that the model would read, were these the states of its last block.

    A post-norm latent has the final norm in it already; another norm would change it, since a
    norm's gain acts twice. Families that map the states of slots read tokens from mapped states,
    and so does this.

    Args:
        reasoner: Whose norm, map and head are used.
        vectors: States, on any device.
        normed: Whether they are post-norm.
        at_slots: Which of them stand at a latent slot.

    Source: nostalgebraist 2020; the norm's place after Belrose et al. 2023, arXiv 2303.08112.
    """
    weight = reasoner.model.get_output_embeddings().weight
    states = vectors.to(weight)
    if not normed:
        states = final_norm(reasoner)(states)
    settled = reasoner.feedback().settle(states, at_slots.to(weight.device))
    logits = reasoner.unembed(settled)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def reading_of_latents(reasoner: Reasoner) -> str:
    """Return in words what is unembedded as the latent of this model's protocol."""
    protocol = reasoner.protocol
    read = {
        "post_norm": "the latent, a post-norm state: exactly the logits the model read there",
        "pre_norm": "the final norm of the latent: exactly the logits the model read there",
        "token_embedding": "the post-norm state that the latent's token was read from",
    }.get(
        protocol.source,
        f"the final norm of the latent, a state of {protocol.source}; the model read its token "
        "from a later layer",
    )
    if protocol.map is None:
        return read
    if protocol.map_at == "slots":
        return f"{read}, through {protocol.map!r} where the model itself read it so"
    return f"{read}; before the map {protocol.map!r}, which only what is fed goes through"
