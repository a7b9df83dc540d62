"""Named protocols: which samples, which arms, which readouts.

Start reading at `audit`, the protocol behind `mindseye demo` and `mindseye audit`.
"""

from mindseye.studies.audit import Audit, audit

__all__ = ["Audit", "audit"]
