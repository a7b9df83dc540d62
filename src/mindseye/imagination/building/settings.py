"""What a build does, and what must not change while it is under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mindseye.errors import MindseyeError
from mindseye.imagination.building.asking import Asker
from mindseye.imagination.building.items import Kind
from mindseye.imagination.building.prompts import Prompts

__all__ = ["PLACEHOLDER", "Rewriting", "Settings", "check_choice"]

PLACEHOLDER = "<think_image>"
"""What stands for an imagined picture in the paper's ablations."""

Rewriting = Literal["captioner", "own", "placeholder"]


def check_choice(name: str, given: str, choices: Sequence[str]) -> None:
    """Refuse a word that is none of those there are.

    Raises:
        MindseyeError: It is none.
    """
    if given not in choices:
        raise MindseyeError(
            f"A build got {name}={given!r}; it takes {', '.join(map(repr, choices))}. Pass one of "
            "these."
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """The stages of a build and their bounds.

    The paper's ablation *without rewriting* is `rewriting="placeholder", refining=False`; the one
    *without filtering* has `filtering=False` besides.

    Attributes:
        rewriting: What stands where a helper image stood: the `captioner`'s words, the data's `own`
            words for it, which are dropped if there are none, or a `placeholder`.
        refining: Whether the whole chain is rewritten to read as one.
        filtering: Whether a judge decides what is kept.
        kinds: What helper images do, by a part of their source's name.
        max_new_tokens: Most tokens of a reply.
        attempts: How often an item is asked the same before it fails.
        workers: Items that are under way at once.
        give_up_after: Requests without any reply, in a row, that stop the build: then it is the
            server or model that fails, and not the items.
    """

    rewriting: Rewriting = "captioner"
    refining: bool = True
    filtering: bool = True
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    max_new_tokens: int = 512
    attempts: int = 3
    workers: int = 8
    give_up_after: int = 20

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            MindseyeError: A word that is no choice, a bound below one, or a placeholder that is to
                be made fluent.
        """
        check_choice("rewriting", self.rewriting, get_args(Rewriting))
        for source, kind in self.kinds.items():
            check_choice(f"kinds[{source!r}]", kind, get_args(Kind))
        for name in ("max_new_tokens", "attempts", "workers", "give_up_after"):
            if getattr(self, name) < 1:
                raise MindseyeError(
                    f"A build got {name}={getattr(self, name)}; it takes 1 or more. Pass that."
                )
        if self.rewriting == "placeholder" and self.refining:
            raise MindseyeError(
                "A build got rewriting='placeholder' and refining=True; a chain with "
                f"{PLACEHOLDER} in it cannot be made to read as one. Pass refining=False."
            )

    def told(
        self, prompts: Prompts, captioner: Asker | None, judge: Asker | None
    ) -> dict[str, Any]:
        """Return all that an answer depends on, as plain data."""
        return {
            "captioner": captioner.name if captioner else None,
            "judge": judge.name if judge and self.filtering else None,
            "rewriting": self.rewriting,
            "refining": self.refining,
            "filtering": self.filtering,
            "kinds": dict(self.kinds),
            "max_new_tokens": self.max_new_tokens,
            **{f"prompt {name}": digest for name, digest in prompts.digests.items()},
        }
