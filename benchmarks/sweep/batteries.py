"""A battery of arms at all levels, against the plain generations of its pair's two samples."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks.sweep.measuring import in_turns
from benchmarks.sweep.sizes import Setting
from mindseye import Pair, Sample, Trace
from mindseye.engine import LEVELS, Arm, Contrast, Twins, find_outcomes
from mindseye.engine.battery import replaced
from mindseye.interventions.replacements import Familiarity, Pool

__all__ = ["time_battery"]

_PAIR = Pair(
    Sample((), question="(one image)", answer="first"),
    Sample((), question="(another image)", answer="second"),
    id="random images",
)


def time_battery(setting: Setting, n_arms: int, times: int) -> dict[str, Any]:
    """Time one pair's battery, its two runs included, in units of a plain generation.

    Args:
        setting: The model and its prompts.
        n_arms: How many vectors are fed instead of the latents, at each level.
        times: How often it is timed.
    """
    arms = {f"noise {seed}": _noise(seed) for seed in range(n_arms)}
    said: dict[str, list[Trace]] = {}

    def generate(name: str, *, keep: bool) -> None:
        prompts = (setting.clean, setting.reference)
        said[name] = [setting.run(prompt, keep=keep) for prompt in prompts]

    def ask() -> None:
        generate("kept", keep=True)
        clean, reference = said["kept"]
        twins = Twins(_PAIR, Contrast((), 10, 11), (clean, reference), clean, reference)
        pool = Pool.of([clean, reference])
        replaced(
            twins,
            arms,
            levels=LEVELS,
            measures=find_outcomes("logit_difference"),
            familiar=Familiarity(pool),
        )

    works = {"plain": lambda: generate("plain", keep=False), "battery": ask}
    for work in works.values():
        work()
    taken = {name: statistics.median(each) for name, each in in_turns(works, times).items()}
    one = taken["plain"] / 2
    return {
        "arms": n_arms,
        "levels": len(LEVELS),
        "seconds_of_a_generation": one,
        "seconds": taken["battery"],
        "in_generations": taken["battery"] / one,
    }


def _noise(seed: int) -> Arm:
    def arm(twins: Twins) -> torch.Tensor:
        latents = twins.clean.fed_latents
        generator = torch.Generator(latents.device).manual_seed(seed)
        noise = torch.randn(
            latents.shape, generator=generator, device=latents.device, dtype=latents.dtype
        )
        return noise * latents.std()

    return arm
