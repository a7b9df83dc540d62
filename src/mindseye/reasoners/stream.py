"""A batch of runs that grow: the one place where the decoder is called step by step.

Generation and training both feed embeddings to a `Stream` and get post-norm states back. Cache,
rotary positions and the attention bias are explicit, because the stock model's own defaults for
them go wrong silently once latents are fed (stale position deltas, text positions after an image).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache

from mindseye.reasoners.architectures import Architecture, Prefill
from mindseye.reasoners.hooks import Visit, hooked
from mindseye.reasoners.prompt import Prompt
from mindseye.reasoners.spans import SPANS
from mindseye.reasoners.wiring import Cut

__all__ = ["Stream", "Visitor", "held"]

Visitor = Callable[[int, int], Mapping[str, Visit]]
"""Says what to do at hook points while positions from one index up to another are computed."""


@dataclass(slots=True, eq=False)
class Stream:
    """The state of a batch of runs.

    Attributes:
        model: The stock model.
        architecture: Where its parts are.
        knockouts: Attention edges that are cut.
        prompt: What the prompt's images gave, as in `Prefill`.
        visitor: What to do at hook points on the way.
        source: Hook name of what is fed back, if it is not the post-norm state.
        cache: Keys and values so far.
        embeds: What was fed so far.
        labels: The span of every position so far.
        position_ids: Rotary (or learned) positions so far.
        states: Post-norm states of what was fed last.
        sources: What could be fed back next, at the same positions.
    """

    model: Any
    architecture: Architecture
    knockouts: tuple[Cut, ...]
    cache: DynamicCache
    embeds: Float[Tensor, "batch seq d_model"]
    labels: Int[Tensor, "batch seq"]
    position_ids: Int[Tensor, "axes batch seq"]
    states: Float[Tensor, "batch new d_model"]
    sources: Float[Tensor, "batch new d_model"]
    prompt: Prefill
    visitor: Visitor | None = None
    source: str | None = None

    @classmethod
    def open(
        cls,
        model: Any,
        architecture: Architecture,
        prompt: Prompt,
        knockouts: tuple[Cut, ...] = (),
        visitor: Visitor | None = None,
        source: str | None = None,
        prefill: Prefill | None = None,
    ) -> Stream:
        """Prefill a batch of prompts, from images and ids, or from what these gave before."""
        prefill = prefill or architecture.prefill(model, prompt)
        stream = cls(
            model=model,
            architecture=architecture,
            knockouts=knockouts,
            # Without a config it keeps all keys, also those that a sliding window leaves behind.
            cache=DynamicCache(),
            embeds=prefill.embeds[:, :0],
            labels=prompt.labels[:, :0],
            position_ids=prefill.position_ids[:, :, :0],
            states=prefill.embeds[:, :0],
            sources=prefill.embeds[:, :0],
            prompt=prefill,
            visitor=visitor,
            source=source,
        )
        stream._append(prefill, prompt.labels)
        return stream

    def feed(
        self,
        embeds: Float[Tensor, "batch new d_model"],
        spans: list[str] | Int[Tensor, "batch new"],
    ) -> Float[Tensor, "batch new d_model"]:
        """Append embeddings to every row and return their post-norm states.

        Args:
            embeds: Token embeddings or latents.
            spans: The span of each new position, by name for all rows, or as labels row by row.
        """
        n_rows, n_new = embeds.shape[:2]
        if isinstance(spans, list):
            names = torch.tensor([SPANS.index(span) for span in spans], device=embeds.device)
            spans = names.expand(n_rows, n_new)
        # Text goes on from the furthest position of any axis, on all axes alike.
        steps = torch.arange(1, n_new + 1, device=embeds.device)
        furthest = self.position_ids.amax(dim=(0, 2))[:, None]
        position_ids = (furthest + steps).expand(len(self.position_ids), n_rows, n_new)
        no_image = torch.zeros_like(spans, dtype=torch.bool)
        return self._append(Prefill(embeds, position_ids, no_image), spans)

    def _append(
        self, new: Prefill, labels: Int[Tensor, "batch new"]
    ) -> Float[Tensor, "batch new d_model"]:
        begin, n_new = self.embeds.shape[1], new.embeds.shape[1]
        visits = self._visits(begin, begin + n_new)
        # Edited here and not on the way, so that the record shows what was really fed.
        edited = visits.pop("hook_embed", _leave)(new.embeds)
        if edited is not None:
            new = dataclasses.replace(new, embeds=edited)
        self.embeds = torch.cat([self.embeds, new.embeds], dim=1)
        self.labels = torch.cat([self.labels, labels], dim=1)
        self.position_ids = torch.cat([self.position_ids, new.position_ids], dim=2)
        with hooked(self.model, self.architecture, visits):
            self.states = self._decode(new)
        if self.source is None:
            self.sources = self.states
        return self.states

    def _decode(self, new: Prefill) -> Float[Tensor, "batch new d_model"]:
        """Run the decoder on what was just appended."""
        bias = self.architecture.mask(
            self.model,
            self.labels,
            self._images(),
            new.embeds.shape[1],
            self.knockouts,
            new.embeds.dtype,
        )
        return self.architecture.decode(self.model, new, bias, self.cache)

    def _images(self) -> Bool[Tensor, "batch seq"]:
        """Return which positions so far hold image features; only the prompt's can."""
        n_after = self.labels.shape[1] - self.prompt.image_mask.shape[1]
        return torch.nn.functional.pad(self.prompt.image_mask, (0, n_after))

    def _visits(self, begin: int, end: int) -> dict[str, Visit]:
        visits = dict(self.visitor(begin, end)) if self.visitor else {}
        if self.source is None:
            return visits
        edit = visits.get(self.source)

        def visit(activation: Tensor) -> Tensor | None:
            new = edit(activation) if edit else None
            self.sources = activation if new is None else new
            return new

        return {**visits, self.source: visit}


def held(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    """Return the keys and values of a filled cache, by layer."""
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def _leave(_activation: Tensor) -> None:
    """Change nothing."""
