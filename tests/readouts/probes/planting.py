"""Features with a label written into them, more or less clearly."""

from __future__ import annotations

import numpy as np


def planted(n=120, d=40, strength=2.0, seed=0, n_classes=3):
    """Noise in which each label has a direction of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    directions = rng.normal(size=(n_classes, d))
    return rng.normal(size=(n, d)) + strength * directions[labels], [str(x) for x in labels]
