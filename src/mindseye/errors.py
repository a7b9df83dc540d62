"""What can go wrong on the user's side, as one small tree of exceptions.

Every message says what was given, what was expected and what to do. The command line prints it as
one line and exits with 2; in Python it is an ordinary exception that is also a `ValueError`,
`LookupError` or `OSError`, whichever is nearest.
"""

from __future__ import annotations

__all__ = [
    "EditError",
    "EngineError",
    "MindseyeError",
    "ModelError",
    "OutputError",
    "ProtocolError",
    "SampleError",
    "UnknownNameError",
    "first_line",
]


class MindseyeError(Exception):
    """Any failure that the user can mend."""


class SampleError(MindseyeError, ValueError):
    """A sample or pair that cannot be run: its image, its question, its grid."""


class EngineError(MindseyeError, RuntimeError):
    """An edited run that cannot be computed, in the memory it was given or in this model."""


class ModelError(MindseyeError, ValueError):
    """A checkpoint that cannot be loaded, or lacks weights."""


class ProtocolError(MindseyeError, ValueError):
    """A model without a (usable) latent protocol."""


class EditError(MindseyeError, ValueError):
    """A level, layer, slot or hook name that this run does not have."""


class UnknownNameError(MindseyeError, LookupError):
    """A task, organism or other plug-in that nobody registered."""


class OutputError(MindseyeError, OSError):
    """A result that cannot be written where it was asked for."""


def first_line(fault: Exception) -> str:
    """Return what somebody else's exception says, as far as one line of ours can hold it."""
    return (str(fault).strip() or repr(fault)).splitlines()[0]
