"""How long do the probes of one layer take, and how much memory? Run it on an idle machine.

Latents of real size in all 28 layers are held in memory, as a 7B model would give them; one layer
is probed slot by slot, pooled and concatenated, beside five baselines, with a permutation test and
a shuffled control for each. On the two cores that are promised:

    OMP_NUM_THREADS=2 taskset -c 0,1 python -m benchmarks.probes
"""

from __future__ import annotations

import resource
import time

import numpy as np

from mindseye.readouts.probes import BASELINES, probe_states

N_RUNS, N_SLOTS, N_LAYERS, D_MODEL = 200, 10, 28, 3584
N_ANSWERS = 4
LAYER = 20
MOST_SECONDS, MOST_GIB = 60, 4


def megabytes() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print seconds and peak memory, beside what was promised."""
    rng = np.random.default_rng(0)
    answers = rng.integers(N_ANSWERS, size=N_RUNS)
    written = rng.standard_normal((N_ANSWERS, D_MODEL), dtype=np.float32)
    latents = rng.standard_normal((N_LAYERS, N_RUNS, N_SLOTS, D_MODEL), dtype=np.float32)
    latents += 0.1 * written[answers, None]
    beside = {name: rng.standard_normal((N_RUNS, D_MODEL), dtype=np.float32) for name in BASELINES}
    states = {LAYER: {"latents": latents[LAYER], **beside}}
    before, begin = megabytes(), time.perf_counter()
    found = probe_states(
        states,
        [str(answer) for answer in answers],
        groups=[i // 2 for i in range(N_RUNS)],
    )
    seconds = time.perf_counter() - begin
    print(f"{N_RUNS} runs x {N_SLOTS} slots x {D_MODEL}, one of {N_LAYERS} layers")
    print(f"{len(found.probes)} probes in {seconds:.1f} s (at most {MOST_SECONDS})")
    print(
        f"peak memory {megabytes() / 1024:.2f} GiB (at most {MOST_GIB}), of which inputs and "
        f"libraries {before / 1024:.2f}"
    )
    print(found.table().round(2).to_string())


if __name__ == "__main__":
    main()
