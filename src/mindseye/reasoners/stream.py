"""A batch of runs that grow: the one place where the decoder is called step by step.

Generation and training both feed embeddings to a `Stream` and get post-norm states back. Cache,
rotary positions and the attention bias are explicit, because the stock model's own defaults for
them go wrong silently once latents are fed (stale position deltas, text positions after an image).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from mindseye.reasoners.architectures import Architecture
from mindseye.reasoners.prompt import Prompt
from mindseye.reasoners.spans import SPANS
from mindseye.reasoners.wiring import Knockout, attention_bias

__all__ = ["Stream"]


@dataclass(slots=True, eq=False)
class Stream:
    """The state of a batch of runs.

    Attributes:
        model: The stock model.
        architecture: Where its parts are.
        knockouts: Attention edges that are cut.
        cache: Keys and values so far.
        embeds: What was fed so far.
        labels: The span of every position so far.
        rotary: Rotary positions so far: time, height, width.
        states: Post-norm states of what was fed last.
    """

    model: Any
    architecture: Architecture
    knockouts: tuple[Knockout, ...]
    cache: DynamicCache
    embeds: Float[Tensor, "batch seq d_model"]
    labels: Int[Tensor, "batch seq"]
    rotary: Int[Tensor, "3 batch seq"]
    states: Float[Tensor, "batch new d_model"]

    @classmethod
    def open(
        cls,
        model: Any,
        architecture: Architecture,
        prompt: Prompt,
        knockouts: tuple[Knockout, ...] = (),
    ) -> Stream:
        """Prefill a batch of prompts."""
        embeds = architecture.embed(model, prompt)
        rotary = architecture.positions(model, prompt)
        stream = cls(
            model=model,
            architecture=architecture,
            knockouts=knockouts,
            cache=DynamicCache(config=model.config.get_text_config()),
            embeds=embeds[:, :0],
            labels=prompt.labels[:, :0],
            rotary=rotary[:, :, :0],
            states=embeds[:, :0],
        )
        stream._append(embeds, prompt.labels, rotary)
        return stream

    def feed(
        self, embeds: Float[Tensor, "batch new d_model"], spans: list[str]
    ) -> Float[Tensor, "batch new d_model"]:
        """Append embeddings to every row and return their post-norm states.

        Args:
            embeds: Token embeddings or latents.
            spans: The span of each new position.
        """
        n_rows, n_new = embeds.shape[:2]
        labels = torch.tensor([SPANS.index(span) for span in spans], device=embeds.device)
        # All three axes go on from the last one: a prompt ends in text, where they agree.
        steps = torch.arange(1, n_new + 1, device=embeds.device)
        rotary = self.rotary[:, :, -1:] + steps
        return self._append(embeds, labels.expand(n_rows, n_new), rotary)

    def _append(
        self,
        embeds: Float[Tensor, "batch new d_model"],
        labels: Int[Tensor, "batch new"],
        rotary: Int[Tensor, "3 batch new"],
    ) -> Float[Tensor, "batch new d_model"]:
        self.embeds = torch.cat([self.embeds, embeds], dim=1)
        self.labels = torch.cat([self.labels, labels], dim=1)
        self.rotary = torch.cat([self.rotary, rotary], dim=2)
        output = self.architecture.text_decoder(self.model)(
            inputs_embeds=embeds,
            attention_mask=attention_bias(
                self.labels, embeds.shape[1], self.knockouts, embeds.dtype
            ),
            position_ids=rotary,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.states = output.last_hidden_state
        return self.states
