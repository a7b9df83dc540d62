"""A tiny model that imagines; the parity tests hold it against other libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from mindseye.reasoners import Reasoner, Trace, load
from mindseye.samples import Sample
from mindseye.tasks.digits import TASK_KINDS, Digits
from tests.models import checkpoint


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def reasoner(folder: Path) -> Reasoner:
    return load(folder, device="cpu")


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Three samples of each question kind."""
    return [s for kind in TASK_KINDS for s in Digits(kinds=(kind,)).samples(3)]


@pytest.fixture(scope="session")
def trace(reasoner: Reasoner, samples: list[Sample]) -> Trace:
    """A run that imagined and went on; tests must not change it."""
    trace = reasoner.run(samples[0], max_new_tokens=12)
    assert trace.emitted
    return trace
