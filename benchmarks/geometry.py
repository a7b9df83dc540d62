"""How long does the geometry of one layer take, and how much memory? Run it on an idle machine.

Latents of real size, with everything beside them: text, image and dummy states, two sets of placebo
runs, oracles, a nudge, answers, and two runs per image. On the two cores that are promised:

    OMP_NUM_THREADS=2 taskset -c 0,1 python -m benchmarks.geometry
"""

from __future__ import annotations

import resource
import time

import numpy as np

from mindseye.readouts.geometry import similarity

N_RUNS, N_SLOTS, D_MODEL = 200, 10, 3584
N_ANSWERS = 4
MOST_SECONDS, MOST_GIB = 60, 4


def megabytes() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def states(rng: np.random.Generator) -> np.ndarray:
    """Draw states as a model would give them, in single precision."""
    return rng.standard_normal((N_RUNS, N_SLOTS, D_MODEL), dtype=np.float32)


def main() -> None:
    """Print seconds and peak memory, beside what was promised."""
    rng = np.random.default_rng(0)
    latents = states(rng) + 5 * rng.standard_normal(D_MODEL).astype(np.float32)
    placebo = np.stack([latents + 0.3 * states(rng) for _ in range(2)])
    baselines = {"text": states(rng), "image": states(rng), "dummy": latents[:1] + 0 * latents}
    groups = [i // 2 for i in range(N_RUNS)]
    answers = [str(i // 2 % N_ANSWERS) for i in range(N_RUNS)]
    oracles, nudged = states(rng), latents + 0.01 * states(rng)
    before, begin = megabytes(), time.perf_counter()
    found = similarity(
        latents,
        groups=groups,
        answers=answers,
        baselines=baselines,
        placebo=placebo,
        oracles=oracles,
        nudged=nudged,
        rng=rng,
    )
    seconds = time.perf_counter() - begin
    print(f"{N_RUNS} runs x {N_SLOTS} slots x {D_MODEL}, {len(baselines)} baselines")
    print(f"{len(found.to_frame())} rows in {seconds:.1f} s (at most {MOST_SECONDS})")
    print(
        f"peak memory {megabytes() / 1024:.2f} GiB (at most {MOST_GIB}), of which inputs and "
        f"libraries {before / 1024:.2f}"
    )
    print(found.degeneracy())


if __name__ == "__main__":
    main()
