"""What is read from the cells of a pair: every outcome, and the effects on its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mindseye.causal.effects import controlled, effects
from mindseye.engine import DEFAULT_BUDGET, Arm, Cells, Contrast, Outcome, Twins, reads
from mindseye.engine.lengths import LENGTH
from mindseye.engine.words import WORDS
from mindseye.interventions.replacements import Chosen, Pool

__all__ = [
    "CELLS",
    "Asked",
    "Score",
    "cell_rows",
    "matrix",
    "pinned_rows",
    "places",
    "run_rows",
    "scorer",
]

CELLS = {"00": (0, 0), "01": (0, 1), "10": (1, 0), "11": (1, 1)}
"""Input before latents; 0 is the reference, 1 the clean run."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is to be measured of every pair.

    Attributes:
        levels: What counts as the mediator.
        outcomes: By name.
        pins: What the mediator is pinned to, by name.
        pool: Latents of other runs, if a pin is made of them.
        budget: Most bytes of activations at a time.
    """

    levels: tuple[str, ...]
    outcomes: Mapping[str, Outcome]
    pins: Mapping[str, Chosen | Arm]
    pool: Pool | None = None
    budget: int = DEFAULT_BUDGET

    @property
    def ladder(self) -> list[str]:
        """The levels at which what slots hold is exchanged."""
        return [level for level in self.levels if level not in (LENGTH, WORDS)]

    @property
    def whole_answer(self) -> bool:
        """Whether some outcome is read along the whole answer."""
        return any(reads(each) == "answer" for each in self.outcomes.values())


Score = Callable[[Tensor], dict[str, np.ndarray]]
"""Logits at the positions that are read, to a value per row, by outcome."""


def places(parting: Contrast, asked: Asked) -> tuple[range, int]:
    """Return the positions to read, from the end, and which of them is where the answers part."""
    n_read = len(parting.answer) if asked.whole_answer else 1
    return range(-n_read, 0), len(parting.forced) if asked.whole_answer else 0


def scorer(asked: Asked, parting: Contrast, place: int) -> Score:
    """Return what turns logits into values of every outcome that reads logits.

    Args:
        asked: The outcomes.
        parting: The two answers, with what the unedited clean run says.
        place: Which of the positions that are read is where the answers part.
    """

    def score(logits: Float[Tensor, "*rows read vocab"]) -> dict[str, np.ndarray]:
        return {
            name: outcome(logits if reads(outcome) == "answer" else logits[..., place, :], parting)
            .double()
            .cpu()
            .numpy()
            for name, outcome in asked.outcomes.items()
            if reads(outcome) != "run"
        }

    return score


def cell_rows(cells: Cells, score: Score, place: int) -> list[dict[str, Any]]:
    """Return a level's rows: effects of every outcome read from logits, said tokens, guards."""
    own, said = score(cells.unedited), cells.crossed[..., place, :].argmax(dim=-1)
    return [
        {
            "outcome": name,
            **_effects(y),
            **{f"said_{cell}": int(said[at]) for cell, at in CELLS.items()},
            "identity": float(np.abs(own[name] - np.diagonal(y)).max()),
        }
        for name, y in score(cells.crossed).items()
    ]


def _effects(y: Float[np.ndarray, "2 2"]) -> dict[str, float]:
    return {
        **{f"y{cell}": float(y[at]) for cell, at in CELLS.items()},
        **{name: float(value[0]) for name, value in effects(y[None]).items()},
    }


def matrix(row: Mapping[str, Any]) -> Float[np.ndarray, "2 2"]:
    """Return a row's cells, by input, then by latents."""
    return np.array([row[f"y{cell}"] for cell in CELLS]).reshape(2, 2)


def pinned_rows(
    pinned: Mapping[str, np.ndarray], cells: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return the controlled effects of one pin.

    Args:
        pinned: Both inputs under it, by outcome.
        cells: The four cells, by outcome.
    """
    return [
        {
            "outcome": name,
            "y0": float(y[0]),
            "y1": float(y[1]),
            **{k: float(v[0]) for k, v in controlled(cells[name][None], y[None]).items()},
        }
        for name, y in pinned.items()
    ]


def run_rows(runs: Mapping[str, Any] | None, asked: Asked, twins: Twins) -> list[dict[str, Any]]:
    """Return the rows of outcomes that are read from runs, with their answers."""
    if runs is None:
        return []
    found = []
    for name, outcome in asked.outcomes.items():
        if reads(outcome) != "run":
            continue
        score: Any = outcome
        y = np.array([score(runs[cell], twins.pair) for cell in CELLS]).reshape(2, 2)
        own = np.array([score(run, twins.pair) for run in twins.said[::-1]])
        found.append(
            {
                "outcome": name,
                **_effects(y),
                **{f"answer_{cell}": runs[cell].answer for cell in CELLS},
                "identity": float(np.abs(own - np.diagonal(y)).max()),
            }
        )
    return found
