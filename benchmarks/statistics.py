"""The statistics on simulated data whose truth is known.

`python -m benchmarks.statistics` takes about ten minutes on one core and writes the figures and the
page of the documentation that shows them; `--draws 20` is a quick look.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import gc
import itertools
import json
import platform
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.statistics_page import page
from mindseye.causal import (
    Interval,
    Margin,
    compare_answers,
    corrected,
    equivalent,
    interval,
    needed_clusters,
    needed_items,
    ratio_interval,
    share,
    sign_flip,
    smallest_detectable,
)
from mindseye.causal.intervals import clustered

ROOT = Path(__file__).parents[1]
DRAWS = 2000

CLUSTERS = (20, 64, 200)
VALUES = ("normal", "exponential", "lognormal", "contaminated")
STRUCTURES = (("1", 0.0), ("5", 0.0), ("5", 0.3), ("5", 0.6), ("1–9", 0.6))
"""Pairs of a cluster, and the correlation of those of one cluster."""

EXTREMES = (("1", 0.0), ("5", 0.6))
"""Where other intervals stand beside ours."""

NAIVE = ((20, "5", 0.6), (64, "5", 0.6))

MARGIN = 0.5
SIDES = (("normal", "upper"), ("exponential", "upper"), ("exponential", "lower"))
"""The margin that an effect is as large as."""

POWER_MARGINS = (0.75, 0.5, 0.3)
RATIO = 0.4
STRENGTHS = (0, 2, 4, 8)
"""Total effects, in standard errors."""

CERTAIN = 8
"""A total effect so large that its interval never covers 0."""

GRID = (4, 12)
SHIFT = 0.8
MAPS = (
    (20, "normal", 0),
    (20, "exponential", 0),
    (64, "exponential", 0),
    (200, "exponential", 0),
    (20, "normal", 12),
)
"""Clusters, values, real cells."""

ITEMS = ((0.05, 0.1, 1, 0.0), (0.2, 0.1, 1, 0.0), (0.2, 0.1, 5, 0.5))
"""Discordance, margin, items per image, their correlation."""

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Simulate everything, write the figures and the page, and return the figures."""
    options = _parser().parse_args(arguments)
    found: dict[str, Any] = {"versions": _versions(), "draws": options.draws}
    for name, section in SECTIONS.items():
        begin = time.perf_counter()
        found[name] = list(section(options.draws))
        passed = time.perf_counter() - begin
        print(f"{name:12}{len(found[name]):4} rows {passed:7.1f} s", flush=True)
    _write(options.out, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    _write(options.docs, page(found))
    return found


# Data


def _rng(*design: object) -> np.random.Generator:
    """Seed by what a design is, so that another design does not move its figures."""
    return np.random.default_rng(zlib.crc32(repr(design).encode()))


def _noise(values: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw values of mean 0 and variance 1."""
    if values == "exponential":
        return rng.exponential(size=n) - 1
    if values == "lognormal":
        return (rng.lognormal(size=n) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    drawn = rng.standard_normal(n)
    if values == "contaminated":
        drawn *= np.where(rng.random(n) < 0.1, 5, 1) / np.sqrt(0.9 + 0.1 * 25)
    return drawn


def _names(clusters: int, pairs: str, rng: np.random.Generator) -> np.ndarray:
    """Return the cluster of every pair."""
    sizes = rng.integers(1, 10, clusters) if pairs == "1–9" else int(pairs)
    return np.repeat(np.arange(clusters), sizes)


def _pairs(values: str, names: np.ndarray, icc: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a value per pair, a part of which its cluster shares."""
    common = _noise(values, int(names[-1]) + 1, rng)[names]
    return np.sqrt(icc) * common + np.sqrt(1 - icc) * _noise(values, len(names), rng)


def _spread(pairs: int, icc: float) -> float:
    """Return the standard deviation of the means of clusters."""
    return float(np.sqrt(icc + (1 - icc) / pairs))


def counted(hits: Sequence[bool]) -> Row:
    """Return how often something was so, with the exact interval of its share."""
    n = len(hits)
    if not n:
        return {"hits": 0, "of": 0, "share": None, "low": None, "high": None}
    found = share(int(sum(hits)), n)
    return {"hits": int(sum(hits)), "of": n, **_ends(found)}


def averaged(shares: Sequence[float]) -> Row:
    """Return a mean of shares, which is no binomial, with the interval under test here."""
    found = interval(np.array(shares, dtype=float), rng=_rng("averaged"))
    return {"hits": None, "of": len(shares), **_ends(found)}


def _ends(found: Interval) -> Row:
    return {"share": found.mean, "low": found.low, "high": found.high}


# Intervals

Ends = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[float, float]]


def _studentised(x: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    found = interval(x, names.tolist(), rng=rng)
    return found.low, found.high


def _bca(x: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    means = np.bincount(names, x) / np.bincount(names)
    found = stats.bootstrap((means,), np.mean, n_resamples=2000, method="BCa", rng=rng)
    return tuple(found.confidence_interval)


def _student(x: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    held = clustered(x, names.tolist())
    reach = stats.t.ppf(0.975, held.n - 1) * np.sqrt(held.covariance[0, 0])
    return held.means[0] - reach, held.means[0] + reach


def _naive(x: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    found = interval(x, rng=rng)
    return found.low, found.high


INTERVALS: Mapping[str, Ends] = {
    "interval": _studentised,
    "BCa": _bca,
    "Student": _student,
    "naive": _naive,
}


def coverage(draws: int) -> Iterator[Row]:
    """How often 95 % intervals hold the true mean."""
    for clusters, (pairs, icc), values in itertools.product(CLUSTERS, STRUCTURES, VALUES):
        methods = ["interval"]
        if (pairs, icc) in EXTREMES:
            methods += ["Student", "BCa"]
        if (clusters, pairs, icc) in NAIVE:
            methods.append("naive")
        design = {"clusters": clusters, "pairs": pairs, "icc": icc, "values": values}
        rng = _rng("coverage", design)
        held: dict[str, list[bool]] = {method: [] for method in methods}
        for _ in range(draws):
            names = _names(clusters, pairs, rng)
            x = _pairs(values, names, icc, rng)
            for method in methods:
                low, high = INTERVALS[method](x, names, rng)
                held[method].append(low <= 0 <= high)
        for method, hits in held.items():
            yield {**design, "method": method, **counted(hits)}


# Equivalence


def size(draws: int) -> Iterator[Row]:
    """How often an effect that is as large as the margin is called absent."""
    margins = (str(MARGIN), "10 % of TE")
    for clusters, margin, (values, side) in itertools.product((20, 40, 80), margins, SIDES):
        tests = ["clusters"]
        if (clusters, values) == (20, "normal"):
            tests.append("naive")
        design = {"clusters": clusters, "margin": margin, "values": values, "side": side}
        for test, absent in _at_the_margin(design, tests, draws).items():
            yield {**design, "test": test, **counted(absent)}


def _at_the_margin(design: Row, tests: Sequence[str], draws: int) -> dict[str, list[bool]]:
    """Return by test whether each data set's effect was called absent.

    TE varies three times as much as the effect from pair to pair, and half of it with the effect.
    """
    rng = _rng("size", design)
    names = _names(design["clusters"], "5", rng)
    found: dict[str, list[bool]] = {test: [] for test in tests}
    for _ in range(draws):
        own, other = (_pairs(design["values"], names, 0.6, rng) for _ in range(2))
        effect = (MARGIN if design["side"] == "upper" else -MARGIN) + own
        te = 10 * MARGIN + 3 * (0.5 * own + np.sqrt(0.75) * other)
        share_of_te = design["margin"] != str(MARGIN)
        bounds = Margin(0.1).bounds(te) if share_of_te else np.full_like(effect, MARGIN)
        seed = int(rng.integers(2**32))
        for test in tests:
            clusters = names.tolist() if test == "clusters" else None
            found[test].append(equivalent(effect, bounds, clusters, seed=seed).absent)
    return found


def power(draws: int) -> Iterator[Row]:
    """How often an effect of zero is called absent, with as many clusters as are said to do."""
    spread = _spread(5, 0.6)
    for margin in POWER_MARGINS:
        clusters = needed_clusters(spread, margin)
        rng = _rng("power", margin)
        names = _names(clusters, "5", rng)
        absent = []
        for _ in range(draws):
            x = _pairs("normal", names, 0.6, rng)
            seed = int(rng.integers(2**32))
            found = equivalent(x, np.full_like(x, margin), names.tolist(), seed=seed)
            absent.append(found.absent)
        yield {"margin": margin, "spread": spread, "clusters": clusters, **counted(absent)}


def items(draws: int) -> Iterator[Row]:
    """How often equal accuracies are called equal, with as many items as are said to do."""
    for discordant, margin, pairs, icc in ITEMS:
        design = {"discordant": discordant, "margin": margin, "pairs": pairs, "icc": icc}
        needed = needed_items(discordant, margin, per_cluster=pairs, icc=icc)
        rng = _rng("items", design)
        names = _names(-(-needed // pairs), str(pairs), rng)
        chances = [discordant / 2, 1 - discordant, discordant / 2]
        absent = []
        for _ in range(draws):
            common = rng.choice((-1.0, 0.0, 1.0), int(names[-1]) + 1, p=chances)[names]
            own = rng.choice((-1.0, 0.0, 1.0), len(names), p=chances)
            # Two items both take the common value with probability icc.
            x = np.where(rng.random(len(names)) < np.sqrt(icc), common, own)
            clusters = names.tolist() if pairs > 1 else None
            seed = int(rng.integers(2**32))
            absent.append(equivalent(x, np.full_like(x, margin), clusters, seed=seed).absent)
        yield {**design, "needed": needed, **counted(absent)}


# Ratios


def ratios(draws: int) -> Iterator[Row]:
    """How often the proportion mediated is answered, is covered, and is rightly refused."""
    kinds = ("normal", "exponential")
    for clusters, values, strength in itertools.product((20, 64), kinds, STRENGTHS):
        design = {"clusters": clusters, "values": values, "strength": strength, "truth": RATIO}
        rng = _rng("ratios", design)
        names = _names(clusters, "5", rng)
        mean = strength * _spread(5, 0.6) / np.sqrt(clusters)
        answered, held, refused = [], [], []
        for _ in range(draws):
            te = mean + _pairs(values, names, 0.6, rng)
            pie = RATIO * te + 0.5 * _pairs(values, names, 0.6, rng)
            found = ratio_interval(pie, te, names.tolist())
            answered.append(found is not None)
            if found is not None:
                held.append(found.low <= RATIO <= found.high)
            if strength < CERTAIN:
                low, high = _studentised(te, names, rng)
                if low <= 0 <= high:
                    refused.append(found is None)
        yield {**design, "figure": "answered", **counted(answered)}
        if strength:
            yield {**design, "figure": "covered", **counted(held)}
        if strength < CERTAIN:
            yield {**design, "figure": "refused", **counted(refused)}


# Maps


def maps(draws: int) -> Iterator[Row]:
    """What corrections do to maps of correlated cells, empty ones and ones with real effects."""
    gc.freeze()  # statsmodels collects garbage at every Holm, slowly where torch is loaded
    for clusters, values, real in MAPS:
        design = {"clusters": clusters, "values": values, "real": real, "shift": SHIFT}
        rng = _rng("maps", design)
        false: dict[str, list[int]] = {}
        found: dict[str, list[int]] = {}
        for _ in range(draws):
            effects, names = _map(clusters, values, real, rng)
            for method, p in _p_values(effects, names, rng).items():
                small = p < 0.05
                found.setdefault(method, []).append(int(small[:real].sum()))
                false.setdefault(method, []).append(int(small[real:].sum()))
        for method, wrong in false.items():
            named = {**design, "method": method}
            yield {**named, "figure": "any false", **counted([n > 0 for n in wrong])}
            if real:
                right = found[method]
                shares = [n / max(n + m, 1) for n, m in zip(wrong, right, strict=True)]
                yield {**named, "figure": "false share", **averaged(shares)}
                yield {**named, "figure": "found", **averaged([n / real for n in right])}
    gc.unfreeze()


@functools.cache
def _mixing() -> np.ndarray:
    """Return what makes neighbours on the map correlate, 0.7 per step."""
    places = np.stack(np.unravel_index(np.arange(np.prod(GRID)), GRID), axis=1)
    steps = np.abs(places[:, None] - places).sum(axis=-1)
    return np.linalg.cholesky(0.7**steps)


def _map(
    clusters: int, values: str, real: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw effects of three pairs per cluster on all cells, the first of which may be real."""
    names = _names(clusters, "3", rng)
    common, own = (
        rng.standard_normal((n, len(_mixing()))) @ _mixing().T for n in (clusters, len(names))
    )
    effects = np.sqrt(0.6) * common[names] + np.sqrt(0.4) * own
    if values == "exponential":
        effects = -stats.norm.logsf(effects) - 1
    effects[:, :real] += SHIFT
    return effects, names


def _p_values(
    effects: np.ndarray, names: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return p-values of all cells: uncorrected ones are Student's, on means of clusters."""
    means = effects.reshape(int(names[-1]) + 1, -1, effects.shape[1]).mean(axis=1)
    plain = stats.ttest_1samp(means, 0).pvalue
    return {
        "none": plain,
        "max-T": sign_flip(effects, names.tolist(), rng=rng),
        "Holm": corrected(plain.tolist()),
        "BH": corrected(plain.tolist(), "bh"),
    }


# Answers


def answers(draws: int) -> Iterator[Row]:
    """What is said of answers, and of the smallest effect that can be shown."""
    rng = _rng("answers")
    chances = np.array([0.7, 0.15, 0.15])
    flips = 0.2 * (1 - (chances**2).sum())  # an answer in five is drawn again
    gold = ["a"] * 200
    held, different, shown, shares = [], [], [], []
    names = _names(40, "5", rng)
    for _ in range(draws):
        first = rng.choice(list("abc"), 200, p=chances)
        second = np.where(rng.random(200) < 0.2, rng.choice(list("abc"), 200, p=chances), first)
        found = compare_answers(first.tolist(), second.tolist(), gold)
        held.append(found.flip_rate.low <= flips <= found.flip_rate.high)
        different.append(found.p_value < 0.05)
        few = share(int(rng.binomial(100, 0.02)), 100)
        shares.append(few.low <= 0.02 <= few.high)
        least = smallest_detectable(_pairs("normal", names, 0.6, rng), names.tolist())
        low, high = _studentised(least + _pairs("normal", names, 0.6, rng), names, rng)
        shown.append(not low <= 0 <= high)
    yield {"figure": "share covered", **counted(shares)}
    yield {"figure": "flip rate covered", **counted(held)}
    yield {"figure": "equal accuracies called different", **counted(different)}
    yield {"figure": "smallest detectable effect shown", **counted(shown)}


SECTIONS: Mapping[str, Callable[[int], Iterator[Row]]] = {
    "coverage": coverage,
    "size": size,
    "power": power,
    "items": items,
    "ratios": ratios,
    "maps": maps,
    "answers": answers,
}


# Output


def _versions() -> dict[str, str]:
    packages = ("numpy", "scipy", "statsmodels", "mindseye")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.statistics", description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS, help="data sets of every design")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "statistics.json"
    )
    parser.add_argument(
        "--docs", type=Path, default=ROOT / "docs" / "explanation" / "statistics-checked.md"
    )
    return parser


def _keep_memory() -> None:
    """Have freed memory kept, or Linux clears it anew for every resample, at thrice the time."""
    trim, mapped = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(trim, 2**25)
        library.mallopt(mapped, 2**25)


if __name__ == "__main__":
    _keep_memory()
    main()
