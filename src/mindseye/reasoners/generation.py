"""The loop: a batch of prompts becomes a batch of runs.

This is the only place where tokens are generated. Each row has its own state machine and its own
chooser; all rows share one `Stream`, so a step costs one forward pass whatever the rows are doing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.reasoners.choosing import Chooser
from mindseye.reasoners.decoding import Decoding, Step
from mindseye.reasoners.protocols import LatentProtocol
from mindseye.reasoners.spans import PAD, SPANS
from mindseye.reasoners.stream import Stream

__all__ = ["Feedback", "Row", "generate"]


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """How states become what is fed and what tokens are read from.

    Attributes:
        protocol: Says which state, and where it is mapped.
        map: The module that states go through; the identity if none.
        head: From post-norm states to logits.
    """

    protocol: LatentProtocol
    map: Callable[[Tensor], Tensor] | None
    head: Callable[[Tensor], Tensor]

    def settle(
        self, states: Float[Tensor, "*rows d_model"], at_slots: Tensor
    ) -> Float[Tensor, "*rows d_model"]:
        """Map the states that stand at latent slots, where the family maps them there.

        Args:
            states: Post-norm states.
            at_slots: Which of them came out of a slot.
        """
        if self.map is None or self.protocol.map_at == "fed":
            return states
        return torch.where(at_slots[..., None], self.map(states).to(states), states)

    def feed(
        self, source: Float[Tensor, "*rows d_model"], settled: Float[Tensor, "*rows d_model"]
    ) -> Float[Tensor, "*rows d_model"]:
        """Return what a latent slot is fed.

        Args:
            source: What the family feeds back, unmapped.
            settled: The same positions' post-norm states, after `settle`.
        """
        if self.map is None:
            return source
        return settled if self.protocol.map_at == "slots" else self.map(source).to(source)


@dataclass(slots=True, eq=False)
class Row:
    """One run of the batch as it grows.

    Attributes:
        decoding: Its state machine.
        chooser: Draws its tokens.
        prompt_ids: Its prompt, without padding.
        logits: What each visible id was read beside.
        latents: States as the model produced them, one per fed slot, before any map.
        stop: Why it ended; none while it goes on.
    """

    decoding: Decoding
    chooser: Chooser
    prompt_ids: list[int]
    logits: list[Float[Tensor, " vocab"]] = field(default_factory=list)
    latents: list[Float[Tensor, " d_model"]] = field(default_factory=list)
    stop: str | None = None

    def advance(
        self, logits: Float[Tensor, " vocab"], state: Float[Tensor, " d_model"], limit: int
    ) -> Step | None:
        """Take one step; none once the run is over."""
        if self.stop is not None:
            return None
        sampled = self.chooser.choose(logits, self.prompt_ids + self.decoding.ids)
        step = self.decoding.advance(sampled, state)
        self.logits.append(logits)
        self.stop = self.decoding.stopped(limit)
        return step


def generate(
    stream: Stream,
    rows: list[Row],
    feedback: Feedback,
    embed: Callable[[Tensor], Tensor],
    max_new_tokens: int,
) -> None:
    """Run all rows to their ends; the stream and the rows hold what came of it.

    Args:
        stream: Opened on the prompts.
        rows: One per prompt.
        feedback: How states are fed back and read.
        embed: Token ids to input embeddings.
        max_new_tokens: Most visible ids per row, latents included.
    """
    device = stream.embeds.device  # of a sharded model, the first one
    at_slots = torch.zeros(len(rows), dtype=torch.bool, device=device)
    while True:
        source = stream.sources[:, -1].to(device)
        state = feedback.settle(stream.states[:, -1].to(device), at_slots)
        logits = feedback.head(state).to(device)
        steps = [row.advance(logits[i], state[i], max_new_tokens) for i, row in enumerate(rows)]
        if all(row.stop is not None for row in rows):
            return
        at_slots = torch.tensor([bool(s and s.feeds_state) for s in steps], device=device)
        tokens = torch.tensor([step.token if step else 0 for step in steps], device=device)
        fed = torch.where(at_slots[:, None], feedback.feed(source, state), embed(tokens))[:, None]
        for i, row in enumerate(rows):
            if at_slots[i] and row.stop is None:
                row.latents.append(source[i])
        labels = [
            SPANS.index(step.span) if step and row.stop is None else PAD
            for row, step in zip(rows, steps, strict=True)
        ]
        stream.feed(fed, torch.tensor(labels, device=device)[:, None])
