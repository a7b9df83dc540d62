"""How much faster is a batch of runs than the same runs one by one? Run it on an idle machine.

Both are timed in one process on one thread, in turn, five times; the ratio is of their medians.
"""

from __future__ import annotations

import statistics
import time

import torch

import mindseye as me

N_ROWS = 32
N_TIMES = 5


def seconds(work) -> float:
    """Return the processor time of a call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    """Print both times and their ratio."""
    torch.set_num_threads(1)
    reasoner = me.load("organism:natural", device="cpu")
    samples = me.task("digits").samples(N_ROWS)
    reasoner.run(samples[0])
    single, batch = [], []
    for _ in range(N_TIMES):
        single.append(seconds(lambda: [reasoner.run(sample) for sample in samples]))
        batch.append(seconds(lambda: reasoner.run_batch(samples)))
    one, many = statistics.median(single), statistics.median(batch)
    print(f"{N_ROWS} runs: {one:.3f} s one by one, {many:.3f} s as a batch, {one / many:.1f} times")


if __name__ == "__main__":
    main()
