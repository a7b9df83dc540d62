"""Where a pair's outcome is read: the first token at which its two answers part."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from jaxtyping import Float
from torch import Tensor

from mindseye.errors import EditError, SampleError
from mindseye.plugins import find, names, register
from mindseye.reasoners import Reasoner
from mindseye.samples import Pair

__all__ = ["Contrast", "Outcome", "contrast", "find_outcomes", "outcome", "reads", "unit_of"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two answers as a model would write them.

    Attributes:
        forced: Ids that both answers begin with; they are fed before the outcome is read.
        clean: The id with which the clean answer goes on.
        reference: The id with which the other one does.
        answer: All ids of the clean answer, end-of-turn included.
        said: What the unedited clean run says where the answers part, where that is known.
    """

    forced: tuple[int, ...]
    clean: int
    reference: int
    answer: tuple[int, ...] = ()
    said: Float[Tensor, " vocab"] | None = field(default=None, compare=False, repr=False)


@typing.runtime_checkable
class Outcome(typing.Protocol):
    """The contract: logits where a pair's answers part become one number per row.

    An outcome that needs more declares it (`@outcome(name, reads=...)`), and only `mediate` takes
    it: with `"answer"` it gets logits along the whole clean answer, `(*rows, tokens, vocab)`; with
    `"run"` it gets a trace that went on from an edited cell, and the pair.
    """

    def __call__(
        self, logits: Float[Tensor, "*rows vocab"], parting: Contrast, /
    ) -> Float[Tensor, "*rows"]: ...


READS = ("parting", "answer", "run")

F = TypeVar("F", bound=Callable[..., Any])


def reads(outcome: Callable[..., Any]) -> str:
    """Return what an outcome reads: logits where the answers part, along the answer, or a run."""
    found = getattr(outcome, "reads", "parting")
    if found not in READS:
        raise EditError(f"An outcome reads {found!r}; it can read {', '.join(READS)}.")
    return found


def outcome(
    name: str,
    *,
    unit: str = "",
    reads: Literal["parting", "answer", "run"] = "parting",
) -> Callable[[F], F]:
    """Offer a function as the outcome `name`.

    Args:
        name: What it is called.
        unit: Of its values, such as nats or share, for figures and reasons.
        reads: What it gets: logits where the answers part, logits along the whole clean answer, or
            a trace that decoded on from an edited cell, and the pair. The latter two are only for
            `mediate`.

    Raises:
        EditError: It reads something else.
    """
    if reads not in READS:
        raise EditError(f"Outcome {name!r} reads {reads!r}; it can read {', '.join(READS)}.")

    def offer(function: F) -> F:
        function.__dict__.update(unit=unit, reads=reads)
        return register("outcome", name)(function)

    return offer


def unit_of(name: str) -> str:
    """Return the unit that a registered outcome declares; of others none is known.

    Args:
        name: As registered, or in words.
    """
    key = name.replace(" ", "_")
    return getattr(find("outcome", key), "unit", "") if key in names("outcome") else ""


def find_outcomes(
    outcome: str | Outcome | Sequence[str | Outcome], *, everything: bool = False
) -> dict[str, Outcome]:
    """Return outcomes by what they are called, in words for a figure.

    Args:
        outcome: Name of a registered outcome, a function, or several of either.
        everything: Whether outcomes may read more than logits where the answers part.

    Raises:
        UnknownNameError: No outcome of that name.
        EditError: None was given, two of one name, or one that reads too much.
    """
    asked = [outcome] if isinstance(outcome, str) or callable(outcome) else outcome
    found: dict[str, Outcome] = {}
    for each in asked:
        name = each if isinstance(each, str) else getattr(each, "__name__", "outcome")
        name = name.replace("_", " ")
        if name in found:
            raise EditError(f"Two outcomes are called {name!r}; give each a name of its own.")
        found[name] = find("outcome", each) if isinstance(each, str) else each
        if reads(found[name]) != "parting" and not everything:
            raise EditError(
                f"Outcome {name!r} reads more than the token where two answers part; only mediate "
                "takes it. Use logit_difference or log_probability here."
            )
    if not found:
        raise EditError("No outcome was given; pass one, such as 'logit_difference'.")
    return found


def contrast(reasoner: Reasoner, pair: Pair) -> Contrast:
    """Return where the answers of a pair part in a model's tokens.

    Both begin with what the protocol opens an answer by. Each is closed by the end-of-turn token,
    so that one may be the beginning of the other.

    Raises:
        SampleError: The tokenizer maps both answers to the same ids.
    """
    tokenizer, opening = reasoner.tokenizer, reasoner.protocol.answer_opening
    clean, reference = (
        [*tokenizer.encode(opening + answer, add_special_tokens=False), tokenizer.eos_token_id]
        for answer in pair.answers
    )
    shared = next(
        (i for i, two in enumerate(zip(clean, reference, strict=False)) if two[0] != two[1]), None
    )
    if shared is None:
        raise SampleError(
            f"The answers {pair.answers} of pair {pair.id!r} have the same token ids {clean}; "
            "expected two answers the model can tell apart."
        )
    return Contrast(tuple(clean[:shared]), clean[shared], reference[shared], tuple(clean))
