"""Runs that several lenses are pointed at."""

from __future__ import annotations

import pytest

from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Sample


@pytest.fixture(scope="session")
def traces(reasoner: Reasoner, samples: list[Sample]) -> list[Trace]:
    """Five runs of the tiny model, each with latents."""
    found = [reasoner.run(sample, max_new_tokens=10, force_start=True) for sample in samples[:5]]
    assert all(trace.emitted for trace in found)
    return found
