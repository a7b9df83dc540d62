"""A small audit of a model that imagines, made once per session, and hostile variants of it."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mindseye.causal import Mediation, Verdict
from mindseye.reasoners import Trace, load
from mindseye.studies import Audit, audit
from mindseye.tasks import task
from tests.models import checkpoint

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><b onmouseover="alert(1)">x</b>',
    "</title></style><svg onload=alert(1)>",
)


@functools.cache
def small_audit(base: Path) -> Audit:
    reasoner = load(checkpoint(base), device="cpu")
    return replace(audit(reasoner, task("digits"), n_pairs=10, seed=3), name="small")


def altered(
    mediation: Mediation, frames: dict[str, pd.DataFrame] | None = None, **fields: Any
) -> Mediation:
    """A mediation with other fields, and with frames in the place of those it would compute."""
    odd = replace(mediation, **fields)
    vars(odd).update(frames or {})
    return odd


def computed(mediation: Mediation) -> dict[str, pd.DataFrame]:
    """The frames that a mediation computes, which take a moment."""
    return {name: getattr(mediation, name) for name in ("effects", "contrasts", "shares")}


def hostile_audit(found: Audit) -> Audit:
    """The same audit with markup wherever data of others ends up.

    Names of pins are whatever their author calls them; they reach the checklist's notes, too.
    """
    name, *texts = HOSTILE
    mediation = altered(
        found.mediation,
        computed(found.mediation),
        conclusion=Verdict(texts[2], (texts[0], texts[1])),
        pinned=found.mediation.pinned.replace({"pin": {"zero": texts[0], "noise": texts[1]}}),
    )
    return replace(
        found,
        name=name,
        truth=texts[2],
        mediation=mediation,
        examples=(_hostile_trace(found.examples[0], texts),),
    )


def _hostile_trace(trace: Trace, texts: list[str]) -> Trace:
    sample = replace(trace.sample, question=texts[0], answer=texts[1], id=texts[2])
    return replace(trace, sample=sample, answer=texts[2])
