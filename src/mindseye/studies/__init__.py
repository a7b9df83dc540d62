"""Named protocols: which samples, which arms, which readouts.

Start reading at `audit`, the protocol behind `mindseye demo` and `mindseye audit`; `read_latents`
is the part of it that reads what latents say. `validate` runs the same instrument on models whose
truth is known, beside the `practices` it is meant to replace.
"""

from mindseye.studies.audit import Audit, audit
from mindseye.studies.latents import REPLACEMENTS, Latents, read_latents
from mindseye.studies.reproduction import Reproduction, reproduce
from mindseye.studies.validation import Validation, sensitivity, validate

__all__ = [
    "REPLACEMENTS",
    "Audit",
    "Latents",
    "Reproduction",
    "Validation",
    "audit",
    "read_latents",
    "reproduce",
    "sensitivity",
    "validate",
]
