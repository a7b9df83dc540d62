"""Run the benchmark, print its tables, and write results and figures."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.sweep.batteries import time_battery
from benchmarks.sweep.chart import bars, curves
from benchmarks.sweep.comparing import compare, decoder_rate
from benchmarks.sweep.measuring import CLOCKS, machine, use_clock, versions
from benchmarks.sweep.scaling import by_depth, by_layer, by_prefix, by_sites
from benchmarks.sweep.sizes import BENCH, TINY, Setting, build
from benchmarks.sweep.table import comparison, growth

ROOT = Path(__file__).parents[2]
SWEEPS = (("hook_resid_pre",), ("hook_resid_pre", "hook_attn_out", "hook_mlp_out"))
PARTS = ("compare", "scaling", "battery")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure what is asked for and return what is written."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    use_clock(options.clock)
    sizes = TINY if options.quick else BENCH
    times = 1 if options.quick else options.times
    out = options.out / f"{'sweep-quick' if options.quick else 'sweep'}.json"
    setting = build(sizes)
    found = {
        "machine": machine(),
        "versions": versions(),
        "sizes": dataclasses.asdict(sizes),
        "times": times,
        "clock": options.clock,
        "decoder_flops_per_second": decoder_rate(setting, max(times, 3)),
    }
    print(f"{found['machine']}\n{found['versions']}\n{sizes}")
    if "compare" in options.parts:
        found["rows"] = []
        for hooks in SWEEPS:
            rows = compare(
                setting,
                hooks,
                n_sampled=4 if options.quick else options.sample or 10**6,
                times=times,
                rate=found["decoder_flops_per_second"],
            )
            print(comparison(rows), flush=True)
            found["rows"] += rows
    if "scaling" in options.parts:
        found["scaling"] = {}
        for name, points in _scaling(setting, times, quick=options.quick).items():
            found["scaling"][name] = points()
            print(growth(name, found["scaling"][name]), flush=True)
    if "battery" in options.parts:
        found["battery"] = time_battery(setting, n_arms=24, times=times)
        print(
            f"{found['battery']['arms']} arms x {found['battery']['levels']} levels, its pair's "
            f"two runs included: {found['battery']['in_generations']:.2f} plain generations"
        )
    _write(out, found)
    if options.figures:
        _draw(options.figures, found)
    return found


def _scaling(
    setting: Setting, times: int, *, quick: bool
) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    sizes = setting.sizes
    prompts, depths = ((40, 60), (2, 3)) if quick else ((300, 600, 1200, 2400), (6, 12, 24))
    return {
        "prompt": lambda: by_prefix(sizes, prompts, times),
        "sites": lambda: by_sites(setting, times),
        "layers": lambda: by_depth(sizes, depths, times),
        "layer": lambda: by_layer(setting, times),
    }


def _draw(folder: Path, found: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if "rows" in found:
        (folder / "sweep.svg").write_text(bars(found["rows"]), encoding="utf-8")
    if "scaling" in found:
        titles = {
            "prompt": "positions of the prompt",
            "sites": "sites",
            "layers": "layers of the model",
            "layer": "8 slots of one layer",
        }
        panels = [(titles[name], name, points) for name, points in found["scaling"].items()]
        (folder / "sweep-scaling.svg").write_text(curves(panels), encoding="utf-8")


def _write(path: Path, found: dict[str, Any]) -> None:
    """Write results where they are asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--times", type=int, default=3, help="repetitions of every timing")
    parser.add_argument("--sample", type=int, default=8, help="cells a peer runs; 0 for all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--figures", type=Path, help="folder for figures, such as docs/figures")
    return parser


if __name__ == "__main__":
    main()
