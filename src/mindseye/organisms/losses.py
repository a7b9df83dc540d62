"""What an organism is taught, as losses over a batch of samples.

Two lessons: `answer` (no latents; this makes the base) and `imagine` (latents are the model's own
states; the answer is all that is asked, stage 2 of Mirage, arXiv 2506.17218).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindseye.organisms.blank import PROTOCOL
from mindseye.organisms.circuits import UNWIRED, Circuit, Feed
from mindseye.reasoners.architectures import Architecture
from mindseye.reasoners.decoding import Decoding
from mindseye.reasoners.prompt import Prompt, encode
from mindseye.reasoners.protocols import LatentTokens
from mindseye.reasoners.stream import Stream
from mindseye.samples import Sample

__all__ = ["Lesson", "Pupil"]

_IGNORED = -100
_UNSAID = -1
"""What a pupil samples inside a segment, where nobody listens."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A batch: prompts, and answers' ids, closed by end-of-turn."""

    prompt: Prompt
    answers: Int[Tensor, "batch answer"]


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """A model under training, with what it takes to teach it.

    Attributes:
        model: The stock model.
        processor: Its processor.
        architecture: Where its parts are.
        tokens: The latent markers' ids.
        circuit: How its parts are connected, in training as at run time.
        reader: A linear map from all latents to the answer's id, trained along and thrown away;
            it is how `bypass` comes to encode an answer that it never uses.
    """

    model: Any
    processor: Any
    architecture: Architecture
    tokens: LatentTokens
    circuit: Circuit = UNWIRED
    reader: nn.Linear | None = None

    def lesson(self, samples: Sequence[Sample]) -> Lesson:
        """Encode samples and their answers."""
        tokenizer = self.processor.tokenizer
        answers = [[*tokenizer.encode(s.answer), tokenizer.eos_token_id] for s in samples]
        longest = max(map(len, answers))
        padded = [ids + [_IGNORED] * (longest - len(ids)) for ids in answers]
        device = self.model.device
        return Lesson(
            encode(self.processor, samples).to(device), torch.tensor(padded, device=device)
        )

    def answer(self, lesson: Lesson) -> Tensor:
        """Return the loss of answering at once, without latents."""
        stream = Stream.open(self.model, self.architecture, lesson.prompt)
        return self._answer_loss(stream, stream.states[:, -1:], lesson.answers)

    def imagine(self, lesson: Lesson) -> Tensor:
        """Return the loss of answering after latents that are the model's own states."""
        stream = Stream.open(self.model, self.architecture, lesson.prompt, self.circuit.wiring)
        state = stream.states[:, -1:]
        loss = self._token_loss(state, self._ids(self.tokens.start, lesson))
        decoding = Decoding(PROTOCOL, self.tokens, eos=frozenset(), force_start=True)
        feed = Feed(self.circuit.feeds, self._embed(self.tokens.pad, lesson)[0, 0])
        latents, span = [], ""
        while span != "end":
            step = decoding.advance(_UNSAID)
            if step.feeds_state:
                latents.append(state)
            fed = feed(state) if step.feeds_state else self._embed(step.token, lesson)
            state, span = stream.feed(fed, [step.span]), step.span
        loss = loss + self._answer_loss(stream, state, lesson.answers)
        if self.reader is not None:
            read = self.reader(torch.cat(latents, dim=-1).squeeze(1))
            loss = loss + F.cross_entropy(read, lesson.answers[:, 0])
        return loss

    def _answer_loss(
        self,
        stream: Stream,
        state: Float[Tensor, "batch 1 d_model"],
        answers: Int[Tensor, "batch answer"],
    ) -> Tensor:
        given = self.model.get_input_embeddings()(answers[:, :-1].clamp(min=0))
        states = stream.feed(given, ["answer"] * given.shape[1])
        return self._token_loss(torch.cat([state, states], dim=1), answers)

    def _token_loss(
        self, states: Float[Tensor, "batch seq d_model"], ids: Int[Tensor, "batch seq"]
    ) -> Tensor:
        logits = self.model.lm_head(states)
        return F.cross_entropy(logits.flatten(0, 1), ids.flatten(), ignore_index=_IGNORED)

    def _ids(self, token: int | None, lesson: Lesson) -> Int[Tensor, "batch 1"]:
        assert token is not None
        return torch.full_like(lesson.answers[:, :1], token)

    def _embed(self, token: int | None, lesson: Lesson) -> Float[Tensor, "batch 1 d_model"]:
        return self.model.get_input_embeddings()(self._ids(token, lesson))
