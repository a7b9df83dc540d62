"""What every test shares: Hypothesis' pace, types unchecked on request, where the browser is."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import config

import mindseye as me
from mindseye import Reasoner, Sample, Trace
from mindseye.tasks.digits import TASK_KINDS, Digits
from tests.models import checkpoint

settings.register_profile("mindseye", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("mindseye")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    found = [path for path in map(shutil.which, BROWSERS) if path]
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    return found[0]


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Let wrong types through to our own messages, as they are met outside the tests."""
    held = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", held)


@pytest.fixture(scope="session")
def organism() -> Callable[[str], Reasoner]:
    """Load a shipped organism once per session."""
    return functools.cache(lambda name: me.load(f"organism:{name}"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a tiny random model that imagines."""
    return checkpoint(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def reasoner(folder: Path) -> Reasoner:
    return me.load(folder, device="cpu")


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Three samples of each question kind."""
    return [s for kind in TASK_KINDS for s in Digits(kinds=(kind,)).samples(3)]


@pytest.fixture(scope="session")
def trace(reasoner: Reasoner, samples: list[Sample]) -> Trace:
    """A run of the tiny model that imagined and went on; tests must not change it."""
    trace = reasoner.run(samples[0], max_new_tokens=12)
    assert trace.emitted
    return trace
