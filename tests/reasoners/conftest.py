"""The tiny model with a mediator's wiring."""

from __future__ import annotations

from pathlib import Path

import pytest

from mindseye.reasoners import Reasoner, load
from tests.models import MEDIATOR, wired_copy


@pytest.fixture(scope="session")
def wired(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Reasoner:
    return load(wired_copy(folder, tmp_path_factory.mktemp("wired") / "m", MEDIATOR), device="cpu")
