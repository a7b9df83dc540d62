"""A small audit of a model that imagines, made once per session, and hostile variants of it."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

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


def hostile_audit(found: Audit) -> Audit:
    """The same audit with markup wherever data of others ends up."""
    name, *texts = HOSTILE
    return replace(found, name=name, examples=(_hostile_trace(found.examples[0], texts),))


def _hostile_trace(trace: Trace, texts: list[str]) -> Trace:
    sample = replace(trace.sample, question=texts[0], answer=texts[1], id=texts[2])
    return replace(trace, sample=sample, answer=texts[2])
