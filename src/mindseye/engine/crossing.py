"""The crossed design: every input with every other input's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
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
        values = self.logits.double() - self.logits.double().mean(dim=-1, keepdim=True)
        grand = values.mean(dim=(0, 1))
        rows, columns = values.mean(dim=1) - grand, values.mean(dim=0) - grand
        rest = values - grand - rows[:, None] - columns[None]
        n = len(values)
        squares = torch.stack([n * (rows**2).sum(), n * (columns**2).sum(), (rest**2).sum()])
        names = ("input", "latents", "interaction")
        return dict(zip(names, (squares / squares.sum()).tolist(), strict=True))

    @property
    def follows(self) -> dict[str, float]:
        """In cells whose input and donor have different answers, how often each of them is said.

        `latents` is the cue-conflict rate. Not a number without such cells.
        """
        said = self.logits.argmax(dim=-1)
        own = torch.tensor([self.candidates.index(answer) for answer in self.answers])
        own = own.to(said.device)
        conflict = own[:, None] != own[None]
        return {
            "input": float((said == own[:, None])[conflict].double().mean()),
            "latents": float((said == own[None])[conflict].double().mean()),
        }

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


def _first_token(reasoner: Reasoner, answer: str) -> int:
    return reasoner.tokenizer.encode(answer, add_special_tokens=False)[0]
