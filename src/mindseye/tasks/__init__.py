"""Where samples come from.

A task is anything with `samples` and `pairs`; `task(name)` finds it among our own and among those
that installed packages or `@register("task", name)` offer. Inheriting `Perturbed` adds pairs made
by perturbations. Start reading at `digits`, the built-in world that needs no download.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

from mindseye.plugins import find
from mindseye.samples import Pair, Sample
from mindseye.tasks.perturbed import Perturbed

__all__ = ["Perturbed", "Task", "task"]


@typing.runtime_checkable
class Task(typing.Protocol):
    """The contract: equal arguments give equal samples, and sample `i` does not depend on `n`."""

    def samples(self, n: int, *, split: str = "test", seed: int = 0) -> Sequence[Sample]:
        """Draw `n` samples."""
        ...

    def pairs(
        self, n: int, *, kind: str = "minimal", split: str = "test", seed: int = 0
    ) -> Sequence[Pair]:
        """Draw `n` pairs of one kind."""
        ...


def task(name: str, **options: Any) -> Task:
    """Return the task called `name`.

    Raises:
        UnknownNameError: No such task.
    """
    return find("task", name)(**options)
