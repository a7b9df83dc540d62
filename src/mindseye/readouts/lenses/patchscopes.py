"""Patchscopes: the model itself says what a vector is, put where a word stood in another prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.errors import EditError, SampleError
from mindseye.readouts.lenses.states import LATENT, checked_layers
from mindseye.reasoners import Edit, Reasoner, Trace

__all__ = ["IDENTITY", "Scope", "patchscope"]

IDENTITY = "cat->cat; 1135->1135; hello->hello; ?"
"""The few-shot identity prompt; a vector takes the place of its last token."""

_ROWS = 16
"""Vectors that are decoded together."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where vectors are put, and how much is decoded from there.

    Attributes:
        prompt: The target prompt, as plain text without a chat template.
        position: Of the token whose state is replaced; negative ones count from the end.
        into: The block whose output is replaced there, `LATENT` (-1) for the embedding; the layer
            that a vector comes from if left out, so that latents go where the model reads them.
        n_tokens: How many tokens are decoded.
    """

    prompt: str = IDENTITY
    position: int = -1
    into: int | None = None
    n_tokens: int = 4

    def run(self, reasoner: Reasoner) -> Trace:
        """Return the target prompt's own run, with nothing put into it.

        Raises:
            ModelError: The reasoner has no tokenizer.
            SampleError: The prompt has no token, or nothing is to be decoded.
            EditError: The prompt has no such position, or the model no such layer.
        """
        reasoner.read([])  # speaks up if there is no tokenizer
        ids = reasoner.tokenizer(self.prompt)["input_ids"]
        if not ids or self.n_tokens < 1:
            raise SampleError(
                f"Patchscopes got the prompt {self.prompt!r} of {len(ids)} tokens and "
                f"n_tokens={self.n_tokens}; expected at least one of each."
            )
        if not -len(ids) <= self.position < len(ids):
            raise EditError(
                f"Patchscopes got position={self.position}; the prompt {self.prompt!r} has "
                f"{len(ids)} tokens. Pass a position of it."
            )
        if self.into is not None:
            checked_layers(reasoner, [self.into])
        given = torch.tensor([ids])
        prepared = {"input_ids": given, "attention_mask": torch.ones_like(given)}
        return reasoner.run(
            prepared, max_new_tokens=self.n_tokens, imagine=False, past_key_values=True
        )


@torch.no_grad()
def patchscope(
    reasoner: Reasoner,
    vectors: Float[Tensor, "rows d_model"],
    layer: int,
    scope: Scope,
    target: Trace,
) -> tuple[Float[Tensor, "rows vocab"], Sequence[str]]:
    """Return what the model would say next after each vector, as logits and as decoded text.

    The token that stood there stays visible to earlier layers only; keys and values of the
    replaced position are computed from the vector onward, as in the paper.

    Args:
        reasoner: What reads.
        vectors: What to read.
        layer: Where they come from.
        scope: Where they go.
        target: `scope.run(reasoner)`, made once for many calls.

    Raises:
        EngineError: The model answers from two routes, of which a replay knows one.

    Source: Ghandeharioun et al. 2024, arXiv 2401.06102; the identity prompt is theirs.
    """
    into = layer if scope.into is None else scope.into
    hook = "hook_embed" if into == LATENT else f"blocks.{into}.hook_resid_post"
    place = torch.tensor([scope.position % target.n_prompt], device=target.embeds.device)
    runs: list[Trace] = []
    for begin in range(0, len(vectors), _ROWS):
        chunk = vectors[begin : begin + _ROWS].to(target.embeds)
        edits = [[Edit(hook, place, vector[None])] for vector in chunk]
        runs += reasoner.replay(target, edits, mode="closed_loop")
    logits = torch.stack([run.logits[0] for run in runs])
    exact = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(exact), [reasoner.read(run.token_ids.tolist()) for run in runs]
