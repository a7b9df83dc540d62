"""The crossed design: every input with every other input's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindseye.engine.exact import DEFAULT_BUDGET, Branch, compute, snapshot
from mindseye.engine.levels import aligned, check_level, mediator_hooks, tail_start, transplant
from mindseye.errors import SampleError
from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Sample

__all__ = ["Crossing", "crossed_design"]


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """What every input answers with every latents.

    Attributes:
        logits: Of the candidate answers, by input, then by where the latents are from.
        candidates: The candidate answers.
        answers: The right answer of every input.
        ids: Of the inputs.
    """

    logits: Float[Tensor, "inputs inputs candidates"]
    candidates: tuple[str, ...]
    answers: tuple[str, ...]
    ids: tuple[str, ...]

    @property
    def shares(self) -> dict[str, float]:
        """How the logits' variance splits over `input`, `latents` and `interaction`; sums to 1.

        Sums of squares of the two-way layout, added up over candidates, whose logits are centred
        first because a softmax does not see their level. Not a number where nothing varies.
        """
        return _shares(self.logits)

    @property
    def follows(self) -> dict[str, float]:
        """In cells whose input and donor have different answers, how often each of them is said.

        `latents` is the cue-conflict rate. Not a number without such cells.
        """
        right = self._right()
        return _follows(self.logits.argmax(dim=-1), right, right)

    def intervals(
        self, rng: np.random.Generator, *, level: float = 0.95, draws: int = 1000
    ) -> pd.DataFrame:
        """Return `shares` and `follows` with intervals that know that cells share inputs.

        Inputs are drawn twice, once as rows and once as columns, since a cell depends on both.

        Args:
            rng: Draws the resamples.
            level: Coverage aimed at.
            draws: Resamples.

        Returns:
            One row per number: `quantity name mean low high`.

        Source: pigeonhole bootstrap, Owen 2007.
        """
        right, n = self._right(), len(self.answers)
        found = {"shares": [self.shares], "follows": [self.follows]}
        for drawn in torch.from_numpy(rng.integers(n, size=(draws, 2, n))).to(right.device):
            rows, columns = drawn
            logits = self.logits[rows][:, columns]
            found["shares"].append(_shares(logits))
            found["follows"].append(_follows(logits.argmax(dim=-1), right[rows], right[columns]))
        tail = (1 - level) / 2
        return pd.DataFrame(
            [
                {"quantity": quantity, "name": name, "mean": numbers[name].iloc[0]}
                | {"low": numbers[name][1:].quantile(tail)}
                | {"high": numbers[name][1:].quantile(1 - tail)}
                for quantity, each in found.items()
                for numbers in [pd.DataFrame(each)]
                for name in numbers
            ]
        )

    def _right(self) -> Int[Tensor, " inputs"]:
        """Return the place of every input's right answer among the candidates."""
        places = [self.candidates.index(answer) for answer in self.answers]
        return torch.tensor(places, device=self.logits.device)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell: `input latents answer donor_answer said`."""
        said = self.logits.argmax(dim=-1).tolist()
        return pd.DataFrame(
            [
                {"input": self.ids[i], "latents": self.ids[j], "answer": self.answers[i]}
                | {"donor_answer": self.answers[j], "said": self.candidates[said[i][j]]}
                for i in range(len(self.ids))
                for j in range(len(self.ids))
            ]
        )


def crossed_design(
    reasoner: Reasoner,
    samples: Sequence[Sample],
    *,
    level: str = "kv",
    budget: int = DEFAULT_BUDGET,
) -> Crossing:
    """Give every input every input's latents, its own on the diagonal.

    Answers are compared at their first token, which must tell them apart.

    Args:
        reasoner: What runs.
        samples: Inputs of one image grid and question length; those that do not imagine, or not at
            the first one's positions, are left out.
        level: What counts as the mediator, as in `mediate`.
        budget: Most bytes of activations at a time.

    Raises:
        EditError: No such level.
        SampleError: Fewer than two inputs are left, or two answers begin with the same token.
    """
    check_level(reasoner, level)
    runs = reasoner.run_batch(samples, past_key_values=True)
    traces: list[Trace] = []
    for trace in (run.until_answer() for run in runs if run.emitted):
        if not traces or aligned(trace, traces[0]):
            traces.append(trace)
    if len(traces) < 2:
        raise SampleError(
            f"{len(traces)} of {len(samples)} inputs imagined at the same positions; a crossed "
            "design needs two. Pass samples of one image grid and question length."
        )
    answers = tuple(trace.sample.answer for trace in traces)
    candidates = tuple(dict.fromkeys(answers))
    firsts = [_first_token(reasoner, answer) for answer in candidates]
    if len(set(firsts)) < len(firsts):
        raise SampleError(
            f"The answers {candidates} begin with the same token; a crossed design compares first "
            "tokens. Pass samples whose answers differ there."
        )
    hooks = mediator_hooks(reasoner, level)
    start = tail_start(traces[0], [level])
    held = [snapshot(trace, start, record=hooks) for trace in traces]

    def answers_only(logits: Float[Tensor, "branches 1 vocab"]) -> Float[Tensor, "branches found"]:
        return logits[:, 0, firsts]

    rows = [
        compute(
            recipient,
            [Branch(transplant(level, donor, recipient.trace)) for donor in held],
            reduce=answers_only,
            budget=budget,
        ).logits
        for recipient in held
    ]
    ids = tuple(trace.sample.id for trace in traces)
    return Crossing(torch.stack(rows), candidates, answers, ids)


def _shares(logits: Float[Tensor, "rows columns candidates"]) -> dict[str, float]:
    values = logits.double() - logits.double().mean(dim=-1, keepdim=True)
    grand = values.mean(dim=(0, 1))
    rows, columns = values.mean(dim=1) - grand, values.mean(dim=0) - grand
    rest = values - grand - rows[:, None] - columns[None]
    n_rows, n_columns = values.shape[:2]
    squares = torch.stack(
        [n_columns * (rows**2).sum(), n_rows * (columns**2).sum(), (rest**2).sum()]
    )
    names = ("input", "latents", "interaction")
    return dict(zip(names, (squares / squares.sum()).tolist(), strict=True))


def _follows(
    said: Int[Tensor, "rows columns"], right: Int[Tensor, " rows"], donors: Int[Tensor, " columns"]
) -> dict[str, float]:
    conflict = right[:, None] != donors[None]
    return {
        "input": float((said == right[:, None])[conflict].double().mean()),
        "latents": float((said == donors[None])[conflict].double().mean()),
    }


def _first_token(reasoner: Reasoner, answer: str) -> int:
    return reasoner.tokenizer.encode(answer, add_special_tokens=False)[0]
