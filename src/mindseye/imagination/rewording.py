"""Replacements that exist in language only: the run's words said otherwise.

A task that knows its scenes rewords them by itself, exactly; anything else is asked of a language
model, with prompts in `prompts/`. The paper has a language model rewrite imagination so that it
leads to a wrong conclusion (arXiv 2602.22766, Table 3); `adversarial` is that arm, and the others
are what it has to be compared with.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Hashable
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
import torch

from mindseye.errors import SampleError
from mindseye.imagination.building.asking import Asker, Request, Unanswered, Unusable, cleaned
from mindseye.imagination.building.endpoints import Endpoint
from mindseye.interventions.perturbations.redrawing import task_of
from mindseye.interventions.replacements import Given, Structure, replacement
from mindseye.samples import Sample

__all__ = ["Rewords", "adversarial", "attribute", "paraphrase"]

_MAX_NEW_TOKENS = 512


@typing.runtime_checkable
class Rewords(typing.Protocol):
    """What a task offers that can say the imagination of its samples otherwise."""

    def reword(self, sample: Sample, edit: str, *, rng: np.random.Generator) -> str:
        """Return the imagination of one of the task's samples, edited.

        `edit` is `paraphrase` (the same facts), `attribute` (one fact changed that was not asked
        for) or `contradiction` (leads to another answer).

        Raises:
            SampleError: An edit it does not know, or a sample that is not one of its own.
        """
        ...


@replacement("paraphrase", carries="own", in_distribution="partly", needs=("words",))
def paraphrase(
    given: Given, *, by: Any = None, url: str = "", model: str = "", rng: torch.Generator
) -> Structure:
    """Say the same otherwise.

    Args:
        given: The run.
        by: Who rewords: a task, or a model that can be asked; the sample's own task if left out.
        url: An OpenAI-compatible server that is asked instead.
        model: What the server calls its model.
        rng: Draws what a task says.

    Raises:
        SampleError: Nobody can reword this sample, or no usable reply came.
    """
    return _reworded(given, "paraphrase", by or _server(url, model), rng)


@replacement("attribute", carries="own", in_distribution="partly", needs=("words",))
def attribute(
    given: Given, *, by: Any = None, url: str = "", model: str = "", rng: torch.Generator
) -> Structure:
    """Change one fact in the words that the answer does not depend on.

    Args:
        given: The run.
        by: Who rewords: a task, or a model that can be asked; the sample's own task if left out.
        url: An OpenAI-compatible server that is asked instead.
        model: What the server calls its model.
        rng: Draws what a task says.

    Raises:
        SampleError: Nobody can reword this sample, or no usable reply came.
    """
    return _reworded(given, "attribute", by or _server(url, model), rng)


@replacement("adversarial", carries="another", in_distribution="partly", needs=("words",))
def adversarial(
    given: Given, *, by: Any = None, url: str = "", model: str = "", rng: torch.Generator
) -> Structure:
    """Rewrite the words so that they lead to another answer.

    Args:
        given: The run.
        by: Who rewords: a task, or a model that can be asked; the sample's own task if left out.
        url: An OpenAI-compatible server that is asked instead.
        model: What the server calls its model.
        rng: Draws what a task says.

    Raises:
        SampleError: Nobody can reword this sample, or no usable reply came.

    Source: Li et al. 2026, arXiv 2602.22766, Table 3, whose prompt is not published.
    """
    return _reworded(given, "adversarial", by or _server(url, model), rng)


def _reworded(given: Given, edit: str, by: Any, rng: torch.Generator) -> Structure:
    """Return other words, as ids.

    A task words the sample as it truly is; a model rewords what the run said.

    Raises:
        SampleError: Nobody can reword this sample, or no usable reply came.
    """
    reasoner, sample = given.trace.reasoner, given.trace.sample
    own = reasoner.read(given.trace.words, special=False).strip()
    if by is None:
        by = task_of(sample, "Pass by=, or url= and model= of a server.")
    if isinstance(by, Rewords):
        seed = int(torch.randint(2**31, (), generator=rng))
        asked_for = "contradiction" if edit == "adversarial" else edit
        said = by.reword(sample, asked_for, rng=np.random.default_rng(seed))
    elif isinstance(by, Asker):
        said = _ask(by, edit, sample, own)
    else:
        raise SampleError(
            f"{type(by).__name__} cannot reword sample {sample.id!r}; expected a task with "
            "reword(), or a model that can be asked. Pass by=, or url= and model= of a server."
        )
    return Structure(words=tuple(reasoner.tokenizer.encode(said, add_special_tokens=False)))


def _ask(by: Asker, edit: str, sample: Sample, own: str) -> str:
    """Return what a model makes of a run's words.

    Raises:
        SampleError: It gave no reply that can be used, or the words as they were.
    """
    prompt = files("mindseye.imagination").joinpath("prompts", f"reword-{edit}.md")
    text = Template(prompt.read_text("utf-8")).substitute(
        question=sample.question, answer=sample.answer, words=own
    )
    try:
        said = (_remembered if isinstance(by, Hashable) else _reply)(by, text.strip())
    except (Unanswered, Unusable) as fault:
        raise SampleError(
            f"The words of sample {sample.id!r} were to be reworded ({edit}), and no usable reply "
            f"came: {fault}. Ask again, or leave the sample out."
        ) from fault
    if said == own:
        raise SampleError(
            f"The words of sample {sample.id!r} were to be reworded ({edit}), and came back as "
            "they were. Leave the sample out, or ask another model."
        )
    return said


def _reply(by: Asker, text: str) -> str:
    return cleaned(by.ask(Request(text, (), _MAX_NEW_TOKENS)))


_remembered = functools.lru_cache(maxsize=8192)(_reply)
"""Asks once; the arms of open and closed loop are then the same words."""


@functools.lru_cache(maxsize=8)
def _server(url: str, model: str) -> Endpoint | None:
    return Endpoint(model, url or None) if url or model else None
