"""One scene for all tests of replacements."""

import pytest

from mindseye import Reasoner, Trace
from mindseye.interventions.replacements import Given
from tests.interventions.replacements.scenes import runs, scene


@pytest.fixture(scope="session")
def traces(reasoner: Reasoner) -> list[Trace]:
    return runs(reasoner)


@pytest.fixture(scope="session")
def given(traces: list[Trace]) -> Given:
    return scene(traces)
