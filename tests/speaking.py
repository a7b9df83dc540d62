"""Tiny untrained models that imagine in words, and what makes them say something.

A blank model never says an answer mark. A speaker is handed what a script has for a sample, mark
included, whenever it is asked; whatever it says after that is its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mindseye as me
from mindseye import Reasoner, Sample, Trace
from mindseye.engine import Twins, twin_runs
from mindseye.reasoners.prompt import encode
from mindseye.tasks.digits import Digits

MARK = "\n\\boxed{"
EXACT = {"atol": 1e-9, "rtol": 1e-9}

Script = Callable[[Sample], str]


def own_words(sample: Sample) -> str:
    """What somebody who sees everything would say."""
    return f"{sample.imagination}{MARK}"


def reader(folder: Path, **changes: Any) -> Reasoner:
    """The tiny random model of these tests, in words and in double precision."""
    protocol = me.protocol("text", **changes)
    return me.load(folder, device="cpu", dtype=torch.float64, protocol=protocol)


def hasty(reasoner: Reasoner) -> Reasoner:
    """The same model, ending its turn at the first token that nobody says in the digits world."""
    texts = [own_words(sample) for sample in Digits().samples(60)]
    known = {id for text in [*texts, "Well. ", "0123456789", "}"] for id in ids_of(reasoner, text)}
    return dataclasses.replace(
        reasoner, eos=reasoner.eos | (frozenset(range(len(reasoner.tokenizer))) - known)
    )


def speaker(reasoner: Reasoner, script: Script = own_words) -> Reasoner:
    """The same model with words put into its mouth, as if they were its own."""

    class Speaker(Reasoner):
        def _generate(self, asked: Any, **kept: Any) -> list[Trace]:
            told = [
                (sample, prompt, settings if settings.saying else self._told(sample, settings))
                for sample, prompt, settings in asked
            ]
            return super()._generate(told, **kept)

        def _told(self, sample: Sample, settings: Any) -> Any:
            return dataclasses.replace(settings, saying=tuple(ids_of(self, script(sample))))

    fields = dataclasses.fields(reasoner)
    return Speaker(**{field.name: getattr(reasoner, field.name) for field in fields})


def ids_of(reasoner: Reasoner, text: str) -> list[int]:
    return reasoner.tokenizer.encode(text, add_special_tokens=False)


def stock(reasoner: Reasoner, sample: Sample, said: Sequence[int]) -> Tensor:
    """Logits of the stock class over a sample's prompt and ids, from the prompt's last one on.

    Nothing of our own loop is used: ids and pixels go into the transformers model.
    """
    prompt = encode(reasoner.processor, [sample], reasoner.protocol.prompt)
    n_prompt = prompt.input_ids.shape[1]
    ids = torch.cat([prompt.input_ids, torch.tensor([list(said)], dtype=torch.long)], dim=1)
    features = {
        name: value.to(reasoner.model.dtype) if value.is_floating_point() else value
        for name, value in prompt.features.items()
        if value.shape != prompt.input_ids.shape
    }
    kinds = (ids == reasoner.model.config.image_token_id).long()
    with torch.no_grad():
        logits = reasoner.model(input_ids=ids, mm_token_type_ids=kinds, **features).logits
    return logits[0, n_prompt - 1 :]


def twins_of(reasoner: Reasoner, pair: me.Pair) -> Twins:
    (twins,) = twin_runs(reasoner, [pair])
    return twins
