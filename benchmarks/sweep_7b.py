"""Our sweep against raw hooks on a random-weight Qwen2.5-VL of the real 7B shape, on a GPU.

`python -m benchmarks.sweep_7b` needs about 20 GiB of GPU memory. `--tiny` runs the same script on a
CPU, and every part of the shape can be given: `--layers 2 --width 256 ...`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.sweep.comparing import compare, decoder_rate
from benchmarks.sweep.measuring import machine, versions
from benchmarks.sweep.ours import Ours
from benchmarks.sweep.raw import DecoderHooks, RawHooks
from benchmarks.sweep.sizes import REAL_7B, TINY, Sizes, build
from benchmarks.sweep.table import comparison

RESULTS = Path(__file__).parent / "results"
SHAPE = [field.name for field in dataclasses.fields(Sizes) if field.name != "grid"]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Build the model on the device, time both, print the table and write the results."""
    options = _parser().parse_args(arguments)
    sizes = _sizes(options)
    device = options.device or ("cpu" if options.tiny else "cuda")
    setting = build(sizes, device, getattr(torch, options.dtype))
    rate = decoder_rate(setting, max(options.times, 3))
    rows = compare(
        setting,
        ("hook_resid_pre",),
        (Ours, RawHooks, DecoderHooks),
        n_sampled=options.sample,
        times=options.times,
        rate=rate,
    )
    found = {
        "machine": machine(),
        "versions": versions(),
        "dtype": options.dtype,
        "sizes": dataclasses.asdict(sizes),
        "times": options.times,
        "decoder_flops_per_second": rate,
        "rows": rows,
    }
    print(f"{found['machine']}\n{found['versions']}\n{sizes}, {options.dtype}\n{comparison(rows)}")
    path = options.out / f"{'sweep-7b-tiny' if options.tiny else 'sweep-7b'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return found


def _sizes(options: argparse.Namespace) -> Sizes:
    given = {name: getattr(options, name) for name in SHAPE if getattr(options, name) is not None}
    if "prompt" in given:
        given["grid"] = None  # as large an image as fits it
    return dataclasses.replace(TINY if options.tiny else REAL_7B, **given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep_7b", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--device", help="where it runs; cuda if left out")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--times", type=int, default=3, help="repetitions of every timing")
    parser.add_argument("--sample", type=int, default=16, help="cells that raw hooks run")
    parser.add_argument("--out", type=Path, default=RESULTS)
    for name in SHAPE:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    return parser


if __name__ == "__main__":
    main()
