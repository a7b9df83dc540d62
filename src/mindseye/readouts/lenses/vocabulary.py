"""Lenses that end in the vocabulary: the likeliest tokens, and what else would have given them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mindseye.readouts.lenses.states import States

__all__ = ["Reader", "Reading", "read_vocabulary"]

_ROWS = 64
"""Rows whose logits are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a lens shows of one layer.

    Attributes:
        ids: Tokens, best first.
        scores: Probabilities, or cosines.
        others: What the same tokens score in other runs at the same slot, on average.
        permuted: What they score in the same vector with its entries in random order.
        permuted_ids: Tokens that this permuted vector shows itself.
        more: Further columns.
    """

    ids: Int[np.ndarray, "rows top"]
    scores: Float[np.ndarray, "rows top"]
    others: Float[np.ndarray, "rows top"]
    permuted: Float[np.ndarray, "rows top"]
    permuted_ids: Int[np.ndarray, "rows top"]
    more: Mapping[str, np.ndarray] = field(default_factory=dict)


Reader = Callable[
    [Float[Tensor, "rows d_model"], Bool[Tensor, " rows"]],
    tuple[Float[Tensor, "rows vocab"], Sequence[str]],
]
"""From states, and which of them stand at slots, to logits and, if there is one, a text each."""


@torch.no_grad()
def read_vocabulary(
    states: States,
    read: Reader,
    top: int,
    shuffled: Float[Tensor, "rows d_model"] | None,
) -> Reading:
    """Show the likeliest tokens of every row beside its two floors.

    Args:
        states: What the lens is pointed at.
        read: The lens.
        top: How many tokens.
        shuffled: The rows' vectors with permuted entries; without them there are no floors.
    """
    sums: dict[int, Tensor] = {}
    scores, ids = [], []
    texts: list[str] = []
    for rows in _chunks(len(states.vectors)):
        logits, said = read(states.vectors[rows], states.at_slots[rows])
        chances = logits.softmax(dim=-1).cpu()
        best = chances.topk(min(top, chances.shape[-1]), dim=-1)
        scores.append(best.values)
        ids.append(best.indices)
        texts += said
        for slot in np.unique(states.slots[rows]).tolist():
            mine = torch.from_numpy(states.slots[rows] == slot)
            here = chances[mine].double().sum(dim=0)
            sums[slot] = sums[slot] + here if slot in sums else here
    scores, ids = torch.cat(scores), torch.cat(ids)
    nothing = np.full(ids.shape, np.nan)
    more = {"context": np.repeat(np.array(texts, object)[:, None], ids.shape[1], axis=1)}
    if shuffled is None:
        no_ids = np.full(ids.shape, -1)
        return Reading(
            ids.numpy(), scores.double().numpy(), nothing, nothing, no_ids, more if texts else {}
        )
    chances, shuffled_ids = _floor(read, shuffled, states.at_slots, ids)
    return Reading(
        ids=ids.numpy(),
        scores=scores.double().numpy(),
        others=_others(states.slots, sums, ids, scores.double()),
        permuted=chances.double().numpy(),
        permuted_ids=shuffled_ids.numpy(),
        more=more if texts else {},
    )


def _others(
    slots: Int[np.ndarray, " rows"],
    sums: Mapping[int, Float[Tensor, " vocab"]],
    ids: Int[Tensor, "rows top"],
    scores: Float[Tensor, "rows top"],
) -> Float[np.ndarray, "rows top"]:
    """Return what tokens score on average in the other runs; not a number where there is none."""
    means = torch.full_like(scores, torch.nan)
    for slot, total in sums.items():
        mine = torch.from_numpy(slots == slot)
        n = int(mine.sum())
        if n > 1:
            means[mine] = (total[ids[mine]] - scores[mine]).clamp(min=0) / (n - 1)
    return means.numpy()


def _floor(
    read: Reader,
    shuffled: Float[Tensor, "rows d_model"],
    at_slots: Bool[Tensor, " rows"],
    ids: Int[Tensor, "rows top"],
) -> tuple[Float[Tensor, "rows top"], Int[Tensor, "rows top"]]:
    """Return what tokens score in permuted vectors, and the tokens that these show."""
    scores, own = [], []
    for rows in _chunks(len(shuffled)):
        chances = read(shuffled[rows], at_slots[rows])[0].softmax(dim=-1).cpu()
        scores.append(chances.gather(-1, ids[rows]))
        own.append(chances.topk(ids.shape[1], dim=-1).indices)
    return torch.cat(scores), torch.cat(own)


def _chunks(n_rows: int) -> list[slice]:
    return [slice(begin, begin + _ROWS) for begin in range(0, n_rows, _ROWS)]
