"""Pairs of a task's samples with their perturbed selves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from mindseye.plugins import find
from mindseye.samples import Pair, Sample

__all__ = ["Perturbed"]


class Perturbed(ABC):
    """A task with `samples` that can be perturbed; inherit from it to have `perturbed`."""

    @abstractmethod
    def samples(self, n: int, *, split: str = "test", seed: int = 0) -> Sequence[Sample]:
        """Draw `n` samples."""

    def perturbed(
        self,
        perturbation: str,
        n: int = 64,
        *,
        split: str = "test",
        seed: int = 0,
        foil: str | Sequence[str] | None = None,
        **parameters: Any,
    ) -> list[Pair]:
        """Pair `n` samples with their perturbed selves.

        Args:
            perturbation: Its name, with parameters after a colon, such as `noise:sigma=0.2`.
            n: Pairs.
            split: Where the samples come from.
            seed: Of the samples, and of what is random about the change.
            foil: What a pair is scored against whose right answer stays or is not known; drawn
                from options or other answers if left out.
            parameters: What the perturbation is told.

        Raises:
            UnknownNameError: No perturbation of that name.
            EditError: Parameters that do not fit, or a change that leaves no pair.
            SampleError: A sample that cannot be perturbed, or has no foil.
        """
        # Perturbations live in a higher room; the registry is how this one asks for them.
        pair = find("pairing", "perturbed")
        samples = self.samples(n, split=split, seed=seed)
        rng = np.random.default_rng([seed, 1])
        return pair(samples, perturbation, rng=rng, foil=foil, **parameters)
