"""What one run leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindseye.errors import EditError
from mindseye.plugins import find
from mindseye.reasoners.architectures import Prefill
from mindseye.reasoners.choosing import Sampling
from mindseye.reasoners.decoding import StopReason
from mindseye.reasoners.prompt import Prompt
from mindseye.reasoners.spans import SPANS, positions
from mindseye.samples import Sample

if TYPE_CHECKING:
    from mindseye.reasoners.cache import TraceCache
    from mindseye.reasoners.reasoner import Reasoner

__all__ = ["KeysValues", "Replay", "Segment", "Settings", "Trace"]


KeysValues = tuple[
    tuple[Float[Tensor, "1 kv_heads kept d_head"], Float[Tensor, "1 kv_heads kept d_head"]], ...
]
"""Keys, after rotation, and values, by layer."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One latent span of a run.

    Attributes:
        start: Position of the start marker; none if the segment has none.
        slots: Positions of the latents.
        sources: Positions whose state each latent is.
        end: Position of what closed it; none if nothing did.
        latents: The states as the model produced them, before any map; token embeddings where
            latents are ordinary tokens.
        fed: The vectors its decoder then received.
        visible_ids: What stood at the slots for the eye.
        stop: Why the segment ended: `end` (the model's own end marker), `count`, `vector`,
            `repeat`, `mark`, `run over`, `restart` or, unfinished, `length`.
        complete: Whether it ended, and its end marker, if it has one, was fed.
    """

    start: int | None
    slots: tuple[int, ...]
    sources: tuple[int, ...]
    end: int | None
    latents: Float[Tensor, "slots d_model"]
    fed: Float[Tensor, "slots d_model"]
    visible_ids: tuple[int, ...]
    stop: StopReason
    complete: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was asked for, beside its prompt; enough to run it again.

    Attributes:
        max_new_tokens: Most visible ids, latents included.
        imagine: Whether segments could open.
        force_start: Whether the first token was a start marker without the model's choosing it.
        sampling: How tokens were drawn; none is greedily.
        seed: Of the run's own generator.
        saying: Ids that were said first without the model's choosing them.
    """

    max_new_tokens: int = 64
    imagine: bool = True
    force_start: bool = False
    sampling: Sampling | None = None
    seed: int | None = None
    saying: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Trace:
    """Everything one run left.

    Positions count from the first token of the prompt. The last generated token was never fed, so
    there is one token more than there are positions.

    Attributes:
        reasoner: What ran.
        sample: What it ran on; `PREPARED` if its inputs were prepared elsewhere.
        prompt: The prompt, unpadded, as a batch of one.
        token_ids: Visible ids that were generated.
        sampled_ids: What the model chose at each of these steps.
        labels: The span of every position, as an index into `SPANS`.
        embeds: What the decoder received at every position, latents included.
        position_ids: Rotary (or learned) positions: one axis, or time, height and width.
        fed_is_latent: Which of the vectors after the prompt are latents.
        logits: Of every generated token, in order; the first was read off the prompt's last state.
        segments: Latent spans, in order.
        text: What the model said, without its latents and special tokens.
        answer: The parsed answer; empty if there was none to parse.
        parsed: Whether the answer could be parsed.
        stop: Why the run ended.
        settings: What it was asked for.
        deepstack: Features that the first blocks add at image positions, as in `Prefill`.
        past_key_values: Keys and values of every position, by layer, if they were to be kept.
        description: The run that saw the picture and wrote the words, where they were then put to
            the model without it.
    """

    reasoner: Reasoner
    sample: Sample
    prompt: Prompt
    token_ids: Int[Tensor, " tokens"]
    sampled_ids: Int[Tensor, " tokens"]
    labels: Int[Tensor, " seq"]
    embeds: Float[Tensor, "seq d_model"]
    position_ids: Int[Tensor, "axes seq"]
    fed_is_latent: Bool[Tensor, " fed"]
    logits: Float[Tensor, "generated vocab"]
    segments: tuple[Segment, ...]
    text: str
    answer: str
    parsed: bool
    stop: Literal["eos", "length"]
    settings: Settings
    deepstack: tuple[Tensor, ...] = ()
    past_key_values: KeysValues | None = None
    description: Trace | None = None

    @property
    def prompt_ids(self) -> Int[Tensor, " prompt"]:
        """The prompt's token ids."""
        return self.prompt.input_ids[0]

    @property
    def n_prompt(self) -> int:
        """Length of the prompt."""
        return self.prompt.input_ids.shape[1]

    @property
    def all_ids(self) -> list[int]:
        """Visible ids, prompt included; the last one was never fed."""
        return [*self.prompt_ids.tolist(), *self.token_ids.tolist()]

    @property
    def emitted(self) -> bool:
        """Whether the model imagined, and every segment came to its end with a latent in it."""
        return bool(self.segments) and all(s.slots and s.complete for s in self.segments)

    @property
    def latents(self) -> Float[Tensor, "slots d_model"]:
        """The latents of all segments as produced, in order."""
        return self._latents("latents")

    @property
    def fed_latents(self) -> Float[Tensor, "slots d_model"]:
        """The latents of all segments as the decoder received them."""
        return self._latents("fed")

    @property
    def words(self) -> tuple[int, ...]:
        """The visible ids at the slots of all segments: what was imagined, if it was in words."""
        return tuple(id for segment in self.segments for id in segment.visible_ids)

    @property
    def latent_positions(self) -> Int[Tensor, " slots"]:
        """Where the latents of all segments stand."""
        return positions(self.labels, "latents")

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
        """Return the visible tokens as strings, prompt included.

        Raises:
            ModelError: The reasoner has no tokenizer.
        """
        return [self.reasoner.read([index]) for index in self.all_ids]

    @torch.no_grad()
    def until_answer(self, forced: Sequence[int] = ()) -> Trace:
        """Return this run cut where the answer begins, then continued by forced ids.

        Every cell of an experiment reads its outcome there, whatever the model went on to say.
        `text`, `answer` and `stop` stay those of the whole run; `token_ids` end with what was fed.

        Args:
            forced: Ids fed after the last segment, such as a prefix that two answers share.
        """
        length = self._answer_begins()
        said = length - self.n_prompt
        ids = torch.tensor(list(forced), dtype=torch.long, device=self.embeds.device)
        steps = torch.arange(1, len(ids) + 1, device=self.embeds.device)
        furthest = self.position_ids[:, :length].max()
        return dataclasses.replace(
            self,
            token_ids=torch.cat([self.token_ids[:said], ids]),
            sampled_ids=torch.cat([self.sampled_ids[:said], ids]),
            labels=torch.cat([self.labels[:length], torch.full_like(ids, SPANS.index("answer"))]),
            embeds=torch.cat([self.embeds[:length], self.reasoner.embed(ids)]),
            position_ids=torch.cat(
                [
                    self.position_ids[:, :length],
                    (furthest + steps).expand(len(self.position_ids), len(ids)),
                ],
                dim=1,
            ),
            fed_is_latent=torch.cat([self.fed_is_latent[:said], torch.zeros_like(ids).bool()]),
            logits=self.logits[:said],
            past_key_values=self.past_key_values
            and tuple((k[:, :, :length], v[:, :, :length]) for k, v in self.past_key_values),
        )

    def without(self, positions: Int[Tensor, " removed"]) -> Trace:
        """Return this run as if some of what was fed after the prompt had never been there.

        Later positions move up, in the sequence and in their rotary positions. `text`, `answer` and
        `segments` stay those of the whole run, so it is a run to recompute, not to read.

        Args:
            positions: What to take out, such as slots and markers.

        Raises:
            EditError: A position of the prompt, or outside the run.
        """
        self.check_removable(positions)
        taken = torch.zeros_like(self.labels, dtype=torch.bool)
        taken[positions] = True
        kept, own = ~taken, ~taken[self.n_prompt :]
        return dataclasses.replace(
            self,
            labels=self.labels[kept],
            embeds=self.embeds[kept],
            position_ids=(self.position_ids - taken.cumsum(dim=0))[:, kept],
            fed_is_latent=self.fed_is_latent[own],
            past_key_values=None,
        )

    def with_words(self, ids: Sequence[int]) -> Trace:
        """Return this run as if other words had stood in its segment, as many as there are.

        Later positions move, in the sequence and in their rotary positions. As after `without`, it
        is a run to recompute, not to read.

        Args:
            ids: What is said instead; may be empty.

        Raises:
            EditError: Its latents are no words, or stand in several segments or none.
        """
        if not self.reasoner.protocol.in_words or len(self.segments) != 1:
            raise EditError(
                f"Words were to be put into a run of protocol {self.reasoner.protocol.name!r} with "
                f"{len(self.segments)} segments; expected one segment of words. Load the model "
                "with protocol='text', and choose runs that imagined."
            )
        slots = self.latent_positions.tolist()
        first, after = slots[0], slots[-1] + 1
        words = torch.tensor(list(ids), dtype=torch.long, device=self.embeds.device)
        steps = torch.arange(len(words), device=self.embeds.device)
        more = len(words) - len(slots)
        before, rest = first - self.n_prompt, after - self.n_prompt

        def spliced(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old[:before], new, old[rest:]])

        return dataclasses.replace(
            self,
            token_ids=spliced(self.token_ids, words),
            sampled_ids=spliced(self.sampled_ids, words),
            labels=torch.cat(
                [
                    self.labels[:first],
                    torch.full_like(words, SPANS.index("latents")),
                    self.labels[after:],
                ]
            ),
            embeds=torch.cat(
                [self.embeds[:first], self.reasoner.embed(words), self.embeds[after:]]
            ),
            position_ids=torch.cat(
                [
                    self.position_ids[:, :first],
                    self.position_ids[:, first : first + 1] + steps,
                    self.position_ids[:, after:] + more,
                ],
                dim=1,
            ),
            fed_is_latent=spliced(self.fed_is_latent, torch.ones_like(words).bool()),
            past_key_values=None,
        )

    def check_removable(self, positions: Int[Tensor, " removed"]) -> None:
        """Refuse to remove what was not fed after the prompt.

        Raises:
            EditError: A position of the prompt, or outside the run.
        """
        outside = (positions < self.n_prompt) | (positions >= len(self.labels))
        if bool(outside.any()):
            raise EditError(
                f"Positions {positions[outside].tolist()} cannot be removed: the prompt takes up 0 "
                f"to {self.n_prompt - 1}, and this run ends at {len(self.labels) - 1}. Pass "
                "positions that were fed after the prompt."
            )

    def prefill(self) -> Prefill:
        """Return what was fed at every position, as a batch of one for the decoder."""
        image = torch.zeros_like(self.labels, dtype=torch.bool)
        image[: self.n_prompt] = self.reasoner.architecture.image_mask(
            self.reasoner.model, self.prompt_ids
        )
        return Prefill(self.embeds[None], self.position_ids[:, None], image[None], self.deepstack)

    def reached_from(self, position: int) -> int:
        """Return the first position that reads `position`: itself, or the image it belongs to."""
        if self.reasoner.architecture.mutual_images:
            images = self.prefill().image_mask[0]
            while position > 0 and bool(images[position] & images[position - 1]):
                position -= 1
        return position

    def _answer_begins(self) -> int:
        """Return the position after the last segment; without one, that of the first own word."""
        if not self.segments:
            return self.n_prompt
        last = self.segments[-1]
        marked = [last.start, *last.slots, last.end]
        after = max(place for place in marked if place is not None) + 1
        return min(after, len(self.labels))

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
