"""A tiny model that imagines, its runs, and the same model with a mediator's wiring."""

from __future__ import annotations

from pathlib import Path

import pytest

from mindseye.reasoners import Reasoner, Trace, load
from mindseye.samples import Sample
from mindseye.tasks.digits import Digits
from tests.models import MEDIATOR, checkpoint, wired_copy


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def reasoner(folder: Path) -> Reasoner:
    return load(folder, device="cpu")


@pytest.fixture(scope="session")
def wired(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Reasoner:
    return load(wired_copy(folder, tmp_path_factory.mktemp("wired") / "m", MEDIATOR), device="cpu")


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return Digits().samples(6)


@pytest.fixture(scope="session")
def trace(reasoner: Reasoner, samples: list[Sample]) -> Trace:
    """A run that imagined and went on; tests must not change it."""
    trace = reasoner.run(samples[0], max_new_tokens=12)
    assert trace.emitted
    return trace
