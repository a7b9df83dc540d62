"""How fast does the digits world draw? Prints samples and pairs per second, one core, no model.

Run it with `python benchmarks/digits.py`; it takes a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mindseye.tasks.digits import Digits

N = 1000
REPEATS = 3


def per_second(draw: Callable[[int], Any]) -> float:
    """Draws per second in the quickest of some repeats; the first call is a warm-up."""
    draw(1)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        draw(N)
        seconds.append(time.perf_counter() - start)
    return N / min(seconds)


def main() -> None:
    """Time the world as the demo uses it and as training does."""
    test, train = Digits(), Digits(distortions=8)
    rows: dict[str, Callable[[int], Any]] = {
        "samples, test": test.samples,
        "samples, train, distorted": lambda n: train.samples(n, split="train"),
        "pairs, minimal": test.pairs,
        "pairs, placebo": lambda n: test.pairs(n, kind="placebo"),
    }
    for name, draw in rows.items():
        print(f"{name:<28}{per_second(draw):>8.0f} per second")


if __name__ == "__main__":
    main()
