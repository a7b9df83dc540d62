"""Named protocols: which samples, which arms, which readouts.

Start reading at `audit`, the protocol behind `mindseye demo` and `mindseye audit`. `validate` runs
the same instrument on models whose truth is known, beside the `practices` it is meant to replace.
"""

from mindseye.studies.audit import Audit, audit
from mindseye.studies.validation import Validation, sensitivity, validate

__all__ = ["Audit", "Validation", "audit", "sensitivity", "validate"]
