"""How a family emits its latents, as data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from mindseye.errors import ProtocolError

__all__ = ["LatentProtocol", "LatentTokens"]


@dataclass(frozen=True, slots=True)
class LatentTokens:
    """A protocol's markers as ids of one tokenizer."""

    start: int
    pad: int
    end: int


@dataclass(frozen=True, slots=True)
class LatentProtocol:
    """One latent segment: start marker, `n_slots` fed-back states, end marker.

    When the model emits `start`, the marker's own embedding is fed; from then on each step feeds
    the decoder's post-norm state of the step before, `n_slots` times, while `pad` is the visible
    id. Then `end` is forced and decoding goes on with tokens. Ids are resolved from these strings
    in the checkpoint's own tokenizer, because families reuse the same numbers for other tokens.

    Attributes:
        start: String of the start marker.
        pad: String shown at latent slots.
        end: String of the end marker.
        n_slots: Latents per segment.
    """

    start: str
    pad: str
    end: str
    n_slots: int

    def __post_init__(self) -> None:
        """Refuse a protocol that could emit nothing.

        Raises:
            ProtocolError: `n_slots` is not a positive whole number.
        """
        if not isinstance(self.n_slots, int) or self.n_slots < 1:
            raise ProtocolError(
                f"LatentProtocol got n_slots={self.n_slots!r}; it takes a whole number from 1 up."
            )

    def tokens(self, tokenizer: Any, vocab_size: int) -> LatentTokens:
        """Resolve the markers in a tokenizer.

        Args:
            tokenizer: The checkpoint's tokenizer.
            vocab_size: Rows of its embedding matrix.

        Raises:
            ProtocolError: A marker is unknown, or its id lies beyond the matrix.
        """
        vocabulary = tokenizer.get_vocab()
        ids = {}
        for role in ("start", "pad", "end"):
            marker = getattr(self, role)
            if marker not in vocabulary:
                raise ProtocolError(
                    f"The tokenizer has no token {marker!r}, the protocol's {role} marker; "
                    "expected it as one token. Use the checkpoint's own tokenizer, or its protocol."
                )
            if vocabulary[marker] >= vocab_size:
                raise ProtocolError(
                    f"Token {marker!r} has id {vocabulary[marker]}, but the embedding matrix has "
                    f"{vocab_size} rows. Resize the model's embeddings or mend the tokenizer."
                )
            ids[role] = vocabulary[marker]
        return LatentTokens(**ids)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> LatentProtocol:
        """Read what `to_dict` wrote.

        Raises:
            ProtocolError: Fields are missing or unknown.
        """
        wanted = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(data, dict) or set(data) != wanted:
            raise ProtocolError(
                f"A latent protocol was given as {data!r}; expected an object with exactly "
                f"{', '.join(sorted(wanted))}."
            )
        markers = [data[role] for role in ("start", "pad", "end")]
        if not all(isinstance(m, str) for m in markers) or type(data["n_slots"]) is not int:
            raise ProtocolError(
                f"A latent protocol was given as {data!r}; markers are strings and n_slots is a "
                "whole number from 1 up."
            )
        return cls(**data)
