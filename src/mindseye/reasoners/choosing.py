"""How the next token is chosen: greedily, or drawn with a generator that is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from mindseye.errors import SampleError

__all__ = ["Chooser", "Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn, in the terms of transformers' generation config.

    Attributes:
        temperature: Above 0; 1 leaves the distribution as it is.
        top_k: Keep this many of the likeliest tokens.
        top_p: Keep the likeliest tokens that hold this much probability.
        repetition_penalty: Above 1, tokens seen before become less likely.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0

    def processors(self) -> LogitsProcessorList:
        """Return transformers' own processors, in the order in which `generate` applies them.

        Raises:
            SampleError: A value that transformers refuses.
        """
        found = LogitsProcessorList()
        try:
            if self.repetition_penalty != 1.0:
                found.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
            if self.temperature != 1.0:
                found.append(TemperatureLogitsWarper(float(self.temperature)))
            if self.top_k is not None:
                found.append(TopKLogitsWarper(self.top_k))
            if self.top_p is not None:
                found.append(TopPLogitsWarper(float(self.top_p)))
        except ValueError as fault:
            raise SampleError(f"{self} cannot be used: {fault}") from fault
        return found


@dataclass(slots=True)
class Chooser:
    """Chooses one run's tokens.

    Attributes:
        sampling: How to draw; none is greedy.
        seed: Of this run's own generator, so that a row of a batch draws as it would alone.
        banned: Ids that are never chosen.
    """

    sampling: Sampling | None = None
    seed: int | None = None
    banned: tuple[int, ...] = ()
    _processors: LogitsProcessorList = field(init=False)
    _generator: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Set up the generator and transformers' processors."""
        self._processors = self.sampling.processors() if self.sampling else LogitsProcessorList()
        if self.seed is not None:
            self._generator = torch.Generator().manual_seed(self.seed)

    def choose(self, logits: Float[Tensor, " vocab"], seen: list[int]) -> int:
        """Choose a token.

        Args:
            logits: As the model gave them; they are not changed.
            seen: Ids of the prompt and of what was said.
        """
        scores = logits.float().clone()
        scores[list(self.banned)] = -torch.inf
        if self.sampling is None:
            return int(scores.argmax())
        ids = torch.tensor([seen], device=scores.device)
        probabilities = self._processors(ids, scores[None])[0].softmax(dim=-1)  # type: ignore[arg-type]
        # Drawn on the CPU, so that a seed means the same on every device.
        return int(torch.multinomial(probabilities.cpu(), 1, generator=self._generator))
