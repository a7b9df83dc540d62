"""The state machine that turns logits into tokens, markers and latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mindseye.reasoners.protocol import LatentProtocol, LatentTokens

__all__ = ["Decoding", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """What to feed next: the embedding of `token`, or, at a slot, the last state.

    Attributes:
        token: The visible id.
        span: The span of the position that is fed.
    """

    token: int
    span: Literal["text", "start", "latents", "end", "answer"]


@dataclass(slots=True)
class Decoding:
    """Greedy decoding of one run under a latent protocol, a step at a time.

    Attributes:
        protocol: How the model emits latents.
        tokens: Its markers.
        eos: Ids that end the run outside a segment.
        imagine: Whether the start marker may be chosen.
        ids: Visible ids so far.
        logits: What each of them was chosen from.
    """

    protocol: LatentProtocol
    tokens: LatentTokens
    eos: frozenset[int]
    imagine: bool = True
    ids: list[int] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)
    logits: list[Float[Tensor, " vocab"]] = field(default_factory=list)
    _left: int | None = None
    _imagined: bool = False

    def advance(self, logits: Float[Tensor, " vocab"]) -> Step:
        """Choose the next token and say what it means.

        Inside a segment the logits are kept but not obeyed: the pad is visible until all slots
        are filled, then the end marker is forced.
        """
        self.logits.append(logits)
        step = self._step(logits)
        self.ids.append(step.token)
        self.spans.append(step.span)
        return step

    @property
    def stopped(self) -> bool:
        """Whether the last token ended the run."""
        return bool(self.ids) and self._left is None and self.ids[-1] in self.eos

    def _step(self, logits: Float[Tensor, " vocab"]) -> Step:
        if self._left is not None:
            if self._left > 0:
                self._left -= 1
                return Step(self.tokens.pad, "latents")
            self._left = None
            return Step(self.tokens.end, "end")
        allowed = logits.clone()
        if not self.imagine:
            allowed[self.tokens.start] = -torch.inf
        token = int(allowed.argmax())
        if token == self.tokens.start and not self._imagined:
            self._left, self._imagined = self.protocol.n_slots, True
            return Step(token, "start")
        return Step(token, "answer" if self._imagined else "text")
