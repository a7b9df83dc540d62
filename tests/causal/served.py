"""Pairs of runs of tiny random models, in double precision, served to `mediate`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import mindseye as me
from mindseye.causal import Mediation
from mindseye.engine import Contrast, Twins
from tests.engine.random_twins import twins
from tests.tiny import EOS, FIRST_WORD

ANSWERS = (FIRST_WORD, FIRST_WORD + 1)
SHARED = (FIRST_WORD + 2, FIRST_WORD + 3)
"""Ids with which both answers of `worded` twins begin."""


def worded(model_type: str) -> Twins:
    """Twins whose answers have four ids, end-of-turn included, and part at the third."""
    held = twins(model_type)
    answer = (*SHARED, ANSWERS[0], EOS)
    clean, reference = (trace.until_answer(answer[:-1]) for trace in held.said)
    return replace(
        held, parting=Contrast(SHARED, *ANSWERS, answer), clean=clean, reference=reference
    )


def mediated(patch: pytest.MonkeyPatch, *given: Twins, **asked: Any) -> Mediation:
    """Mediate these runs as if they had just been made."""
    patch.setattr("mindseye.causal.mediation.twin_runs", lambda *_, **__: iter(given))
    return me.mediate(given[0].clean.reasoner, [each.pair for each in given], **asked)
