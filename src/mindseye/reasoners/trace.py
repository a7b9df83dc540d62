"""What one run leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.plugins import find
from mindseye.reasoners.spans import SPANS, positions
from mindseye.samples import Sample

if TYPE_CHECKING:
    from mindseye.reasoners.cache import TraceCache
    from mindseye.reasoners.reasoner import Reasoner

__all__ = ["Replay", "Segment", "Trace"]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One latent span of a run.

    Attributes:
        start: Position of the start marker.
        slots: Positions of the latents.
        end: Position of the end marker; none if the run stopped inside.
        latents: The post-norm states as the model produced them.
        fed: The vectors its decoder then received.
        stop: Why the segment ended.
    """

    start: int
    slots: tuple[int, ...]
    end: int | None
    latents: Float[Tensor, "slots d_model"]
    fed: Float[Tensor, "slots d_model"]
    stop: Literal["count", "length"]


@dataclass(frozen=True, eq=False)
class Trace:
    """Everything one run left.

    Positions count from the first token of the prompt. The last generated token was never fed, so
    there is one token more than there are positions.

    Attributes:
        reasoner: What ran.
        sample: What it ran on.
        token_ids: Visible ids, prompt included.
        n_prompt: Length of the prompt.
        labels: The span of every position, as an index into `SPANS`.
        embeds: What the decoder received at every position, latents included.
        rotary: Rotary positions: time, height, width.
        logits: Of every generated token, in order; the first was read off the prompt's last state.
        segments: Latent spans, in order.
        text: What the model said, without its latents and special tokens.
        answer: The parsed answer.
        stop: Why the run ended.
    """

    reasoner: Reasoner
    sample: Sample
    token_ids: Int[Tensor, " tokens"]
    n_prompt: int
    labels: Int[Tensor, " seq"]
    embeds: Float[Tensor, "seq d_model"]
    rotary: Int[Tensor, "3 seq"]
    logits: Float[Tensor, "generated vocab"]
    segments: tuple[Segment, ...]
    text: str
    answer: str
    stop: Literal["eos", "length"]

    @property
    def emitted(self) -> bool:
        """Whether the model imagined, from start marker to end marker."""
        return bool(self.segments) and self.segments[-1].end is not None

    @property
    def latents(self) -> Float[Tensor, "slots d_model"]:
        """The latents of all segments as produced, in order."""
        return self._latents("latents")

    @property
    def fed_latents(self) -> Float[Tensor, "slots d_model"]:
        """The latents of all segments as the decoder received them."""
        return self._latents("fed")

    @property
    def fed(self) -> Float[Tensor, "fed d_model"]:
        """Every vector the decoder received after the prompt: token embeddings and latents."""
        return self.embeds[self.n_prompt :]

    @property
    def spans(self) -> dict[str, Int[Tensor, " found"]]:
        """The positions of every named span."""
        return {name: positions(self.labels, name) for name in SPANS}

    @cached_property
    def cache(self) -> TraceCache:
        """A `transformer_lens.ActivationCache` that computes what it is asked for, when asked."""
        from mindseye.reasoners.cache import TraceCache

        return TraceCache(self)

    def tokens(self) -> list[str]:
        """Return the visible tokens as strings, prompt included."""
        return [self.reasoner.processor.tokenizer.decode([i]) for i in self.token_ids.tolist()]

    @torch.no_grad()
    def until_answer(self, forced: Sequence[int] = ()) -> Trace:
        """Return this run cut where the answer begins, then continued by forced ids.

        Every cell of an experiment reads its outcome there, whatever the model went on to say.
        `text`, `answer` and `stop` stay those of the whole run; `token_ids` end with what was fed.

        Args:
            forced: Ids fed after the last segment, such as a prefix that two answers share.
        """
        spoken = positions(self.labels, "answer" if self.segments else "text")
        length = int(spoken[0]) if len(spoken) else len(self.labels)
        ids = torch.tensor(list(forced), dtype=torch.long, device=self.embeds.device)
        steps = torch.arange(1, len(ids) + 1, device=self.embeds.device)
        return Trace(
            reasoner=self.reasoner,
            sample=self.sample,
            token_ids=torch.cat([self.token_ids[:length], ids]),
            n_prompt=self.n_prompt,
            labels=torch.cat([self.labels[:length], torch.full_like(ids, SPANS.index("answer"))]),
            embeds=torch.cat([self.embeds[:length], self.reasoner.embed(ids)]),
            rotary=torch.cat(
                [self.rotary[:, :length], self.rotary[:, length - 1 : length] + steps], dim=1
            ),
            logits=self.logits[: length - self.n_prompt],
            segments=self.segments,
            text=self.text,
            answer=self.answer,
            stop=self.stop,
        )

    def show(self) -> Any:
        """Draw the run: its image, where each latent looks, and what it decodes to."""
        return find("figure", "trace")(self)

    def _latents(self, which: Literal["latents", "fed"]) -> Float[Tensor, "slots d_model"]:
        found = [getattr(segment, which) for segment in self.segments]
        return torch.cat([self.embeds[:0], *found])


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """A run recomputed in one forward pass, one row per branch.

    Attributes:
        states: Post-norm states.
        logits: Of every position from the prompt's last on, so aligned with `Trace.logits`.
        activations: What was asked for, by hook name, batch first.
    """

    states: Float[Tensor, "branches seq d_model"]
    logits: Float[Tensor, "branches generated vocab"]
    activations: dict[str, Tensor]
