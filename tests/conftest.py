"""What every test shares: how long Hypothesis searches, and where the browser is."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import settings

settings.register_profile("mindseye", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("mindseye")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    found = [path for path in map(shutil.which, BROWSERS) if path]
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    return found[0]
