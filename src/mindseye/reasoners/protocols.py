"""How a family emits its latents, as data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from mindseye.errors import ProtocolError
from mindseye.reasoners.prompt import PromptStyle

__all__ = ["EndVector", "LatentProtocol", "LatentTokens", "Marker"]

Marker = str | int
"""A token as its string, or as its id; negative ids count from the end of the embedding matrix."""


@dataclass(frozen=True, slots=True)
class EndVector:
    """A learned vector that ends a segment when a fed latent comes near it.

    Attributes:
        name: What the reasoner's `modules` call it.
        metric: Mean squared error, mean absolute error, or one minus the cosine.
        below: The distance under which the segment ends.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    metric: Literal["mse", "mae", "cosine"] = "mse"
    below: float = 0.02


@dataclass(frozen=True, slots=True)
class LatentTokens:
    """A protocol's markers as ids of one tokenizer.

    Attributes:
        start: Opens a segment.
        pad: Shown at latent slots.
        end: Closes a segment.
        slots: Ids that are latents themselves, where nothing is fed back.
        after_forced_end: What must follow an end that the model did not choose.
    """

    start: int | None
    pad: int | None
    end: int | None
    slots: frozenset[int] = frozenset()
    after_forced_end: int | None = None

    @property
    def openers(self) -> tuple[int, ...]:
        """The ids that open a segment when the model chooses them."""
        return (*sorted(self.slots), *(() if self.start is None else (self.start,)))


@dataclass(frozen=True, slots=True)
class LatentProtocol:
    r"""When a segment opens, what is fed inside it, when it ends, and what is shown meanwhile.

    With the defaults: when the model emits `start`, the marker's own embedding is fed; from then on
    each step feeds the decoder's post-norm state of the step before, `n_slots` times, while `pad`
    is the visible id. Then `end` is forced and decoding goes on with tokens. Markers are token
    strings, resolved in the checkpoint's own tokenizer, because families give the same ids to
    different tokens; for a model without a tokenizer they are ids.

    Attributes:
        start: The start marker; none where the model's own words are the latents.
        pad: What is visible at slots. Several strings where latents are ordinary tokens.
        end: The end marker.
        n_slots: Latents per segment, at most; without a limit, only the model ends it.
        name: What this protocol is called.
        trigger: `sampled`, when the model chooses to; or `forced`, at the first generated token.
        prompt_start: Whether a start marker that ends the prompt opens a segment.
        start_slot: Whether the start marker's position gets its own embedding (`embed`), or the
            state that predicted it, as the first latent (`replace`).
        source: Which state is fed back: `post_norm`, `pre_norm`, `layer:3` (that block's output),
            or `token_embedding` if none is and latents are tokens.
        map: Name of the module in the reasoner's `modules` that states go through; none is the
            identity.
        map_at: Whether only what is `fed` goes through the map, or the states of `slots`
            themselves do, so that the next token is read from the mapped state too.
        end_by_token: Whether the model may end a segment by its end marker.
        bans_end: Whether the end marker is kept from what may be chosen, in runs that imagine.
        end_by_vector: The learned vector that ends it, if there is one.
        n_repeat: End after this many equal visible ids in a row; none is never.
        at_stop: Whether the end marker is forced at the limit, or what was sampled stands.
        after_forced_end: What must follow an end the model did not choose: an id, or a text whose
            first token it is, left out where there is no tokenizer.
        visible: Whether slots show `pad` or the id that was sampled there.
        eos_inside: Whether an end-of-text id that stands visible inside a segment ends the run.
        length_inside: Whether the length limit ends a run inside a segment.
        start_inside: What a start marker sampled inside a segment does. `noise`: nothing; `embed`:
            it is visible, its embedding is fed, and the count goes on; `restart`: the same, and
            another segment begins; `recount`: nothing, but the count begins again.
        segments: Whether an answer may hold `many` segments, or only `one`.
        flags: Whether the end of a segment is forgotten at the next one (`segment`) or outlives it
            (`run`), as in Mirage's loop, where later segments are neither counted nor ended.
        answer_marks: Texts that end an imagination written in words.
        answers_from: Whether the answer follows the words with the `picture` in sight, or is given
            from the `words` alone: they are put to the model again, without any picture.
        answer_opening: What the model writes before its answer, such as `\boxed{`; it is fed
            before an outcome is read. Empty after an answer mark, which is fed already.
        prompt: How a question is put.
        answers: Parsers of the answer, tried in this order (plug-ins of kind `answer`).
    """

    start: Marker | None = None
    pad: Marker | tuple[Marker, ...] | None = None
    end: Marker | None = None
    n_slots: int | None = None
    name: str = ""
    trigger: Literal["sampled", "forced"] = "sampled"
    prompt_start: bool = False
    start_slot: Literal["embed", "replace"] = "embed"
    source: str = "post_norm"
    map: str | None = None
    map_at: Literal["fed", "slots"] = "fed"
    end_by_token: bool = False
    bans_end: bool = False
    end_by_vector: EndVector | None = None
    n_repeat: int | None = None
    at_stop: Literal["force_end", "use_sampled"] = "force_end"
    after_forced_end: Marker | None = None
    visible: Literal["pad", "sampled"] = "pad"
    eos_inside: Literal["ignore", "stop"] = "ignore"
    length_inside: Literal["stop", "ignore"] = "stop"
    start_inside: Literal["noise", "embed", "restart", "recount"] = "noise"
    segments: Literal["many", "one"] = "one"
    flags: Literal["segment", "run"] = "segment"
    answer_marks: tuple[str, ...] = ()
    answers_from: Literal["picture", "words"] = "picture"
    answer_opening: str = ""
    prompt: PromptStyle = dataclasses.field(default_factory=PromptStyle)
    answers: tuple[str, ...] = ("whole",)

    def __post_init__(self) -> None:
        """Refuse a protocol that contradicts itself.

        Raises:
            ProtocolError: A count below 1, a word no field knows, or rules without their marker.
        """
        for name, least in (("n_slots", 1), ("n_repeat", 2)):
            count = getattr(self, name)
            if count is not None and (type(count) is not int or count < least):
                raise ProtocolError(
                    f"LatentProtocol got {name}={count!r}; it takes a whole number from {least} up."
                )
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal and getattr(self, name) not in get_args(hint):
                raise ProtocolError(
                    f"LatentProtocol got {name}={getattr(self, name)!r}; it takes one of "
                    f"{', '.join(map(repr, get_args(hint)))}."
                )
        for wrong, advice in self._contradictions():
            if wrong:
                raise ProtocolError(f"Latent protocol {self.name!r}: {advice}")

    @property
    def feeds_back(self) -> bool:
        """Whether latents are states fed back, instead of ordinary tokens."""
        return self.source != "token_embedding"

    @property
    def in_words(self) -> bool:
        """Whether imagination is said in words, which an answer mark ends."""
        return bool(self.answer_marks)

    def source_hook(self, n_layers: int) -> str | None:
        """Return the hook name whose activation is fed back; none for the post-norm state.

        Raises:
            ProtocolError: The model has no such layer.
        """
        kind, _, layer = self.source.partition(":")
        if kind != "layer":
            return f"blocks.{n_layers - 1}.hook_resid_post" if kind == "pre_norm" else None
        if int(layer) >= n_layers:
            raise ProtocolError(
                f"Latent protocol {self.name!r} feeds back layer {layer}; the model has layers 0 "
                f"to {n_layers - 1}. Choose one of these."
            )
        return f"blocks.{layer}.hook_resid_post"

    def tokens(self, tokenizer: Any, vocab_size: int) -> LatentTokens:
        """Resolve the markers in a tokenizer.

        Args:
            tokenizer: The checkpoint's tokenizer; may be none if all markers are ids.
            vocab_size: Rows of its embedding matrix.

        Raises:
            ProtocolError: A marker is unknown or splits into several ids, or its id lies beyond
                the matrix.
        """
        pads = self.pad if isinstance(self.pad, tuple) else (self.pad,)
        ids = [_resolve(marker, "pad", tokenizer, vocab_size) for marker in pads]
        return LatentTokens(
            start=_resolve(self.start, "start", tokenizer, vocab_size),
            pad=ids[0],
            end=_resolve(self.end, "end", tokenizer, vocab_size),
            slots=frozenset() if self.feeds_back else frozenset(i for i in ids if i is not None),
            after_forced_end=_first_id(self.after_forced_end, tokenizer, vocab_size),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, without the fields that have their defaults."""
        plain = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if getattr(self, field.name) == _default(field):
                del plain[field.name]
        return plain

    @classmethod
    def from_dict(cls, data: Any) -> LatentProtocol:
        """Read what `to_dict` wrote; fields left out take their defaults.

        Raises:
            ProtocolError: Unknown fields, or values of another kind.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(data, Mapping) or not set(data) <= known:
            raise ProtocolError(
                f"A latent protocol was given as {data!r}; expected an object with some of "
                f"{', '.join(sorted(known))}."
            )
        try:
            return TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
        except ValidationError as fault:
            first = fault.errors()[0]
            said = first.get("ctx", {}).get("error")
            if isinstance(said, ProtocolError):
                raise said from fault
            where = ".".join(map(str, first["loc"]))
            raise ProtocolError(
                f"A latent protocol was given with {where} = {first['input']!r}: {first['msg']}."
            ) from fault
        except TypeError as fault:
            raise ProtocolError(
                f"A latent protocol was given as {data!r}, which JSON cannot hold: {fault}."
            ) from fault

    def _contradictions(self) -> list[tuple[bool, str]]:
        kind, _, layer = self.source.partition(":")
        known = self.source in ("post_norm", "pre_norm", "token_embedding")
        numbered = kind == "layer" and layer.isascii() and layer.isdigit()
        bounded = self.n_slots is not None
        return [
            (
                not (known or numbered),
                f"source={self.source!r} is none of post_norm, pre_norm, layer:3, token_embedding.",
            ),
            (
                self.feeds_back and self.start is None and self.trigger == "sampled",
                "it has no start marker, so no segment would ever open. Give it one.",
            ),
            (
                self.feeds_back and self.visible == "pad" and self.pad is None,
                "slots show the pad, but there is none. Give it a pad, or visible='sampled'.",
            ),
            (
                self.feeds_back and self.at_stop == "force_end" and self.end is None,
                "an end marker is forced, but there is none. Give it one, or "
                "at_stop='use_sampled'.",
            ),
            (
                self.feeds_back and not (bounded or self.end_by_token or self.end_by_vector),
                "nothing ends a segment. Give it n_slots, end_by_token or end_by_vector.",
            ),
            (
                self.answers_from == "words" and not self.answer_marks,
                "its answer is given from words, but nothing ends them. Give it answer_marks.",
            ),
            (self.pad == (), "its pad is an empty tuple. Give it a pad, or none."),
            (
                not self.feeds_back and self.start_slot == "replace",
                "start_slot='replace' feeds a state, but latents are tokens. Take 'embed'.",
            ),
            (
                not self.feeds_back
                and self.visible == "pad"
                and not (self.trigger == "forced" and bounded and isinstance(self.pad, Marker)),
                "pads that stand whatever the model says are one token, forced n_slots times. "
                "Give it trigger='forced', one pad and n_slots, or visible='sampled'.",
            ),
            (
                self.length_inside == "ignore" and not bounded,
                "a run that ignores its length limit inside segments may never return. Give it "
                "n_slots.",
            ),
            (
                self.end_by_token and self.end is None,
                "end_by_token is set without an end marker. Give it one.",
            ),
        ]


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory is not dataclasses.MISSING
    return field.default_factory() if made else field.default  # type: ignore[operator,misc]


def _resolve(marker: Marker | None, role: str, tokenizer: Any, vocab_size: int) -> int | None:
    if marker is None:
        return None
    if isinstance(marker, int):
        index = marker if marker >= 0 else vocab_size + marker
    elif tokenizer is None:
        raise ProtocolError(
            f"The protocol's {role} marker is {marker!r}, but there is no tokenizer to look it up "
            f"in. Pass a processor, or give the protocol ids: protocol(..., {role}=151666)."
        )
    else:
        index = _look_up(marker, role, tokenizer)
    if not 0 <= index < vocab_size:
        raise ProtocolError(
            f"Token {marker!r} has id {index}, but the embedding matrix has {vocab_size} rows. "
            "Resize the model's embeddings or mend the tokenizer."
        )
    return index


def _look_up(marker: str, role: str, tokenizer: Any) -> int:
    vocabulary = tokenizer.get_vocab()
    if marker in vocabulary:
        ids = tokenizer.encode(marker, add_special_tokens=False)
        if ids != [vocabulary[marker]]:
            raise ProtocolError(
                f"The tokenizer knows {marker!r} as id {vocabulary[marker]} but splits it into "
                f"{ids}; the protocol's {role} marker must be one token. Add it as a special token."
            )
        return vocabulary[marker]
    raise ProtocolError(
        f"The tokenizer has no token {marker!r}, the protocol's {role} marker (it splits into "
        f"{len(tokenizer.encode(marker, add_special_tokens=False))} ids); expected it as one "
        "token. Use the checkpoint's own tokenizer, or its protocol."
    )


def _first_id(text: Marker | None, tokenizer: Any, vocab_size: int) -> int | None:
    if not isinstance(text, str):
        return _resolve(text, "after_forced_end", tokenizer, vocab_size)
    if tokenizer is None:  # Laser's own loop leaves it out as well where nobody tells it the id
        return None
    ids = tokenizer.encode(text, add_special_tokens=False)
    if not ids:
        raise ProtocolError(f"after_forced_end is {text!r}, which has no token. Leave it out.")
    return ids[0]
