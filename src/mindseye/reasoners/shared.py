"""Edited runs that decode again, all together, over the one prefix that they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from mindseye.reasoners.architectures import Prefill
from mindseye.reasoners.attention import Rectangle, intercepted, tried
from mindseye.reasoners.stream import Stream, Visitor, held
from mindseye.reasoners.wiring import Cut

if TYPE_CHECKING:
    from mindseye.reasoners.trace import Trace

__all__ = ["SharedStream", "key_values"]


@dataclass(slots=True, eq=False)
class SharedStream(Stream):
    """A stream whose rows read one copy of their common prefix.

    Attributes:
        reading: The prefix, and what each row has of its own.
    """

    reading: Rectangle = field(default_factory=lambda: Rectangle([]))

    @classmethod
    def branch(
        cls,
        trace: Trace,
        n_rows: int,
        start: int,
        knockouts: tuple[Cut, ...],
        visitor: Visitor | None = None,
        source: str | None = None,
    ) -> SharedStream | None:
        """Open rows on a run's prompt, of which everything before `start` is shared.

        Returns none if the model's attention cannot be intercepted.

        Args:
            trace: The run; its prompt is not embedded anew.
            n_rows: How many rows.
            start: The first position that a row has of its own, within the prompt.
            knockouts: Attention edges that are cut, the model's wiring included.
            visitor: What to do at hook points on the way.
            source: Hook name of what is fed back, if it is not the post-norm state.
        """
        prompt = trace.prefill().part(0, trace.n_prompt)
        many, labels = prompt.repeat(n_rows), trace.labels[: trace.n_prompt].expand(n_rows, -1)
        stream = cls(
            model=trace.reasoner.model,
            architecture=trace.reasoner.architecture,
            knockouts=knockouts,
            cache=DynamicCache(),
            embeds=many.embeds[:, :start],
            labels=labels[:, :start],
            position_ids=many.position_ids[:, :, :start],
            states=many.embeds[:, :0],
            sources=many.embeds[:, :0],
            prompt=many,
            visitor=visitor,
            source=source,
            reading=Rectangle(key_values(trace, start)),
        )
        new = prompt.part(start, trace.n_prompt).repeat(n_rows)
        n_layers = len(stream.architecture.blocks(stream.model))
        with tried(stream.reading, n_layers):
            stream._append(new, labels[:, start:])
        return stream if len(stream.reading.own) == n_layers else None

    def _decode(self, new: Prefill) -> Float[Tensor, "batch new d_model"]:
        bias = self.architecture.bias(
            self.model,
            self.labels,
            self._images(),
            new.embeds.shape[1],
            self.knockouts,
            new.embeds.dtype,
        )
        with intercepted(self.model):
            return self.architecture.decode(self.model, new, bias, reading=self.reading)


@torch.no_grad()
def key_values(
    trace: Trace, end: int
) -> list[
    tuple[Float[Tensor, "1 kv_heads prefix d_head"], Float[Tensor, "1 kv_heads prefix d_head"]]
]:
    """Return a run's keys and values before a position, by layer: kept ones, or computed ones."""
    if trace.past_key_values is not None:
        return [(k[:, :, :end], v[:, :, :end]) for k, v in trace.past_key_values]
    reasoner = trace.reasoner
    model, architecture = reasoner.model, reasoner.architecture
    cache = DynamicCache()
    # One position at least, so that every layer says what shape its keys have.
    n_computed = max(end, 1)
    part, labels = trace.prefill().part(0, n_computed), trace.labels[None, :n_computed]
    bias = architecture.mask(
        model, labels, part.image_mask, n_computed, reasoner.wiring, part.embeds.dtype
    )
    architecture.decode(model, part, bias, cache)
    return [(k[:, :, :end], v[:, :, :end]) for k, v in held(cache)]
