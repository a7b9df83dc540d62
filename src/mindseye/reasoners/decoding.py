"""The state machine that turns what a model samples into tokens, markers and latents.

One machine for every family: what differs stands in the `LatentProtocol`. It sees ids and, where a
learned vector ends segments, states; it calls no model, so generation, closed-loop replays and
scripted tests drive it alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindseye.reasoners.protocols import EndVector, LatentProtocol, LatentTokens

__all__ = ["Decoding", "Opened", "Span", "Step", "StopReason"]

Span = Literal["text", "start", "latents", "end", "answer"]

StopReason = Literal["end", "count", "vector", "repeat", "mark", "run over", "restart", "length"]
"""Why a segment ended: the model's end marker, the number of slots, the learned end vector,
repeated ids, the mark that closes an imagination in words, ordinary text after latent tokens, a
start marker inside it, or the end of the run."""


_MARK_TOKENS = 16
"""More than a mark is long, so that the text before need not be read again at every step."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to feed next: the embedding of `token`, or the last state.

    Attributes:
        token: The visible id.
        span: The span of the position that is fed.
        feeds_state: Whether that position gets the state, mapped if the family maps it.
    """

    token: int
    span: Span
    feeds_state: bool = False


@dataclass(slots=True)
class Opened:
    """A segment as it grows; indices count the generated ids of its run.

    Attributes:
        start: Of the start marker, -1 if it ended the prompt; none if the segment has none.
        slots: Of its latents.
        end: Of what closed it; none if nothing did.
        stop: Why it ended.
    """

    start: int | None
    slots: list[int] = field(default_factory=list)
    end: int | None = None
    stop: StopReason = "length"


@dataclass(slots=True)
class Decoding:
    """One run under a latent protocol, a step at a time.

    Attributes:
        protocol: How the model emits latents.
        tokens: Its markers.
        eos: Ids that end the run.
        last_prompt_id: The prompt's last id, which may be a start marker.
        force_start: Whether a start marker is forced at the first step, whatever the protocol says.
        saying: Ids that stand at the first steps, whatever the model would say.
        until_answer: Whether the run ends where its words do.
        imagine: Whether segments may open at all.
        end_vector: What `protocol.end_by_vector` names.
        read: Turns ids into text; needed where `protocol.answer_marks` end an imagination.
        ids: Visible ids so far.
        sampled: What the model chose at each of these steps.
        spans: Their spans.
        segments: Segments so far.
    """

    protocol: LatentProtocol
    tokens: LatentTokens
    eos: frozenset[int]
    last_prompt_id: int | None = None
    force_start: bool = False
    saying: tuple[int, ...] = ()
    until_answer: bool = False
    imagine: bool = True
    end_vector: Float[Tensor, " d_model"] | None = None
    read: Callable[[list[int]], str] | None = None
    ids: list[int] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    segments: list[Opened] = field(default_factory=list)
    _open: bool = False
    _n: int = 0
    _since: int = 0
    _forced: int | None = None
    _feeds_state: bool = False
    _before: Tensor | None = None
    _ended: bool = False
    _end_sampled: bool = False

    def __post_init__(self) -> None:
        """Open what is open from the beginning, and note what must be said first."""
        protocol, start = self.protocol, self.tokens.start
        if not self.imagine:
            return
        if start is not None and protocol.prompt_start and self.last_prompt_id == start:
            self._begin(-1)
        if start is not None and (self.force_start or protocol.trigger == "forced"):
            self._forced = start
        if start is None and protocol.trigger == "forced":
            self._begin(None)

    @property
    def opened_by_prompt(self) -> bool:
        """Whether the prompt's last id is the start marker of a segment."""
        return bool(self.segments) and self.segments[0].start == -1

    def advance(self, sampled: int, state: Float[Tensor, " d_model"] | None = None) -> Step:
        """Say what a step means.

        Args:
            sampled: What the model chose.
            state: The state it chose from, for families that judge a segment by it.
        """
        self.sampled.append(sampled)
        token = sampled if self._forced is None else self._forced
        if len(self.ids) < len(self.saying):
            token = self.saying[len(self.ids)]
        self._forced = None
        step = self._inside(token) if self._open else self._outside(token)
        if step.span == "latents":
            self.segments[-1].slots.append(len(self.ids))
        self.ids.append(step.token)
        self.spans.append(step.span)
        self._feeds_state = step.feeds_state
        self._before = state
        return step

    def stopped(self, max_new_tokens: int) -> Literal["eos", "length"] | None:
        """Say whether the last step ended the run, and why."""
        if not self.ids:
            return None
        if self.until_answer and self.spans[-1] == "end":
            return "eos"
        obeys_eos = not self._feeds_state or self.protocol.eos_inside == "stop"
        if self.ids[-1] in self.eos and obeys_eos:
            return "eos"
        obeys_length = not self._feeds_state or self.protocol.length_inside == "stop"
        return "length" if len(self.ids) >= max_new_tokens and obeys_length else None

    def _outside(self, token: int) -> Step:
        if token == self.tokens.end and self.protocol.flags == "run":
            self._ended = self._end_sampled = True
        if token == self.tokens.start and self._may_open():
            return self._start(token)
        if token in self.tokens.slots and self._may_open():
            self._begin(None)
            self._n = 1
            return Step(token, "latents")
        return Step(token, "answer" if self.segments else "text")

    def _inside(self, token: int) -> Step:
        again = self.protocol.start_inside if token == self.tokens.start else "noise"
        if again == "restart":
            self.segments[-1].stop = "restart"
            return self._start(token)
        if again == "embed":
            return Step(token, "start")
        reason = self._reason_to_stop(token)
        if reason is not None:
            return self._stop(token, reason)
        self._n = 0 if again == "recount" else self._n + 1
        return Step(self._visible(token), "latents", feeds_state=self.protocol.feeds_back)

    def _start(self, token: int) -> Step:
        replaced = self.protocol.start_slot == "replace"
        self._begin(len(self.ids))
        self._n = int(replaced)
        return Step(token, "latents", feeds_state=True) if replaced else Step(token, "start")

    def _begin(self, start: int | None) -> None:
        self._open, self._n = True, 0
        self._since = len(self.ids) if start is None else start + 1
        self.segments.append(Opened(start))

    def _may_open(self) -> bool:
        return self.imagine and (self.protocol.segments == "many" or not self.segments)

    def _visible(self, token: int) -> int:
        uncounted_end = self._ended and token == self.tokens.end
        if self.protocol.visible == "sampled" or self.tokens.pad is None or uncounted_end:
            return token
        return self.tokens.pad

    def _reason_to_stop(self, token: int) -> StopReason | None:
        protocol = self.protocol
        full = protocol.n_slots is not None and self._n >= protocol.n_slots
        if not protocol.feeds_back:
            return self._reason_among_tokens(token, full)
        if protocol.end_by_token and token == self.tokens.end and not self._end_sampled:
            return "end"
        if protocol.end_by_vector is not None and self._near_end(protocol.end_by_vector):
            return "vector"
        if full and not self._ended:
            return "count"
        if protocol.n_repeat is not None and self._repeats(token, protocol.n_repeat):
            return "repeat"
        return None

    def _reason_among_tokens(self, token: int, full: bool) -> StopReason | None:
        """Say why a segment of ordinary tokens ends with this one, or before it."""
        protocol = self.protocol
        if protocol.end_by_token and token == self.tokens.end:
            return "end"
        if full:
            return "count"
        if protocol.visible == "pad":  # put there whatever the model would say
            return None
        if protocol.answer_marks and self._marked(token):
            return "mark"
        if protocol.answer_marks or self.segments[-1].start is not None:
            return "run over" if token in self.eos else None
        return None if token in self.tokens.slots else "run over"

    def _marked(self, token: int) -> bool:
        assert self.read is not None
        begin = max(self._since, len(self.ids) - _MARK_TOKENS)
        said = self.read([*self.ids[begin:], token])
        return any(mark in said for mark in self.protocol.answer_marks)

    def _repeats(self, token: int, n_repeat: int) -> bool:
        recent = [self.last_prompt_id, *self.ids][1 - n_repeat :]
        return self._n > 0 and len(recent) == n_repeat - 1 and set(recent) == {token}

    def _stop(self, token: int, reason: StopReason) -> Step:
        self._open = False
        segment = self.segments[-1]
        segment.stop = reason
        end = self.tokens.end
        if self.protocol.flags == "run":
            self._ended = True
            self._end_sampled = self._end_sampled or reason == "end"
        forced = self.protocol.at_stop == "force_end" and reason not in ("mark", "run over")
        if end is not None and (forced or token == end):
            segment.end = len(self.ids)
            full = self.protocol.n_slots is not None and self._n >= self.protocol.n_slots
            if full or reason == "repeat":
                self._forced = self.tokens.after_forced_end
            return Step(end, "end")
        if reason == "mark":
            self._give_back_mark(token)
            segment.end = len(self.ids)
            return Step(token, "end")
        return self._outside(token)

    def _give_back_mark(self, token: int) -> None:
        """Take the mark's first tokens, and the blanks before it, out of the words it ends."""
        assert self.read is not None
        slots = self.segments[-1].slots
        words = [self.ids[slot] for slot in slots]
        said = self.read([*words, token])
        at = min(said.index(mark) for mark in self.protocol.answer_marks if mark in said)
        begins = len(said[:at].rstrip())
        while slots and len(self.read(words[: len(slots) - 1])) >= begins:
            self.spans[slots.pop()] = "end"

    def _near_end(self, rule: EndVector) -> bool:
        """Judge the vector that was consumed in this step: the state before it, once it is fed."""
        if self._before is None or self.end_vector is None:
            return False
        return bool(_distance(self._before, self.end_vector, rule.metric) < rule.below)


def _distance(one: Tensor, other: Tensor, metric: str) -> Tensor:
    other = other.to(one)
    if metric == "cosine":
        return 1 - F.cosine_similarity(one, other, dim=-1)
    return (F.mse_loss if metric == "mse" else F.l1_loss)(one, other)
