"""The audit that figures and pages are made of."""

from __future__ import annotations

import pytest

from mindseye.studies import Audit
from tests.report.audits import small_audit


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return small_audit(tmp_path_factory.getbasetemp())
