"""Seconds, bytes, and what they were measured on."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "CLOCKS",
    "in_turns",
    "machine",
    "median_seconds",
    "peak",
    "seconds",
    "use_clock",
    "versions",
]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_PACKAGES = ("torch", "transformers", "nnsight", "transformer-lens", "mindseye")


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""The second is for one thread on a machine that others use: their turns do not count."""

_clock = [CLOCKS["wall"]]


def use_clock(name: str) -> None:
    """Choose the clock of every timing that follows.

    Raises:
        ValueError: Processor time was asked for where it is not what one waits for.
    """
    if name == "processor" and (torch.get_num_threads() != 1 or torch.cuda.is_available()):
        raise ValueError("processor time only says how long one thread takes; pass --threads 1")
    _clock[0] = CLOCKS[name]


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a call takes, a GPU's work included."""
    _finish()
    begin = _clock[0]()
    work()
    _finish()
    return _clock[0]() - begin


def median_seconds(work: Callable[[], Any], times: int) -> float:
    """Return the median wall time of a call, after one that is not counted."""
    work()
    return statistics.median(seconds(work) for _ in range(times))


def in_turns(works: Mapping[Any, Callable[[], Any]], times: int) -> dict[Any, list[float]]:
    """Time calls in turn, so that a machine that slows down slows down all of them."""
    found: dict[Any, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            found[name].append(seconds(work))
    return found


def peak(work: Callable[[], Any]) -> int | None:
    """Return the most memory of the process during a call, above what it held before.

    On a GPU these are bytes of live tensors. On a CPU it is the resident memory of the whole
    process, scratch space of kernels and Python included, as Linux counts it; elsewhere nothing is
    known. The call should have run once before, so that nothing lasting is set up in it.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _RESET.write_text("5")  # makes the high-water mark what is resident now
        before = _resident("VmHWM")
        work()
        return _resident("VmHWM") - before
    return None


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def versions() -> dict[str, str]:
    """Return the versions of everything that was compared."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _cpu() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith("model name")).split(": ")[1]
    return platform.processor()
