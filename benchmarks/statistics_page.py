"""The page of the documentation that shows what `benchmarks.statistics` found."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["page"]

Row = dict[str, Any]


def page(found: Mapping[str, Any]) -> str:
    """Return the page of the documentation that shows what was found."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    parts = [
        "# Statistics, checked by simulation",
        _text(
            f"""Every interval and test of `mindseye.causal` on simulated data whose truth is known,
            {found["draws"]:,} data sets per figure. Figures are in per cent, with exact 95 %
            binomial intervals in brackets. This page and
            [its data](../../benchmarks/results/statistics.json) are written by"""
        ),
        "    python -m benchmarks.statistics",
        _text(
            f"""with {versions}. Pairs come in clusters, such as questions on one image. A value is
            the sum of a part that its cluster shares and one of its own, of mean 0 and variances
            ICC and 1 - ICC. Both are *normal*, *exponential* (skewness 2), *lognormal* (skewness
            6), or *contaminated*: normal, with five times the spread for one in ten."""
        ),
    ]
    for name, (title, blocks) in CHAPTERS.items():
        parts += [f"## {title}", *blocks(found[name])]
    return "\n\n".join(parts) + "\n"


def _coverage_page(rows: Sequence[Row]) -> list[str]:
    ours = [row for row in rows if row["method"] == "interval"]
    outside = [row for row in ours if not _near(row)]
    naive = [row["share"] for row in rows if row["method"] == "naive"]
    others = {(row["pairs"], row["icc"]) for row in rows if row["method"] == "Student"}
    compared = [row for row in rows if (row["pairs"], row["icc"]) in others]
    return [
        _text(
            f"""How often a 95 % interval holds the true mean. `interval` resamples whole clusters,
            studentises, and has no end nearer to the mean than Student's. It is within 93 to 97 %
            for all four kinds of values with 64 clusters or more, and with 20 for all but
            lognormal ones: {len(outside)} of {len(ours)} designs are outside (**bold**), the lowest
            at {_points(min(row["share"] for row in ours))} %. 1–9 pairs are clusters of unequal
            size."""
        ),
        _wide(ours, ("clusters", "pairs", "icc"), "values", _marked),
        _text(
            f"""Others beside it, on the same data: *Student* is t on clusters with the same
            standard error, *BCa* is scipy's bootstrap of the means of clusters, and *naive* is
            `interval` told that all pairs are independent, which breaks it: the truth is held in
            {_range(naive)} %, and more clusters do not help. Student and BCa are both too narrow
            for skewed values, and BCa also for contaminated ones and for few clusters."""
        ),
        _wide(compared, ("clusters", "pairs", "icc", "method"), "values", _marked),
    ]


def _size_page(rows: Sequence[Row]) -> list[str]:
    naive = [row["share"] for row in rows if row["test"] == "naive"]
    clustered = [row for row in rows if row["test"] == "clusters"]
    return [
        _text(
            f"""How often `equivalent` calls an effect absent that is exactly as large as the
            margin, at its upper or its lower side, which should be in at most 5 %. Five pairs per
            cluster, ICC 0.6. The margin is a constant, or the contrast effect - 0.1 TE, where TE
            varies three times as much and correlates with the effect. The size is kept within
            binomial error for normal values, and for exponential ones with 80 clusters. With fewer,
            the side of their long tail is called absent too often, in up to
            {_points(max(row["share"] for row in clustered))} %. Taking pairs for independent
            (*naive*) makes it {_range(naive)} %."""
        ),
        _wide(rows, ("clusters", "values", "side", "margin"), "test"),
    ]


def _power_page(rows: Sequence[Row]) -> list[str]:
    return [
        _text(
            """How often an effect of zero is shown to be absent with as many clusters as
            `needed_clusters` asks for, aiming at 80 %: five pairs per cluster, ICC 0.6."""
        ),
        _table(
            ["margin", "spread of clusters", "clusters", "absent"],
            [[r["margin"], f"{r['spread']:.3f}", r["clusters"], _percent(r)] for r in rows],
        ),
    ]


def _items_page(rows: Sequence[Row]) -> list[str]:
    return [
        _text(
            """The same for `needed_items`, where the difference of two arms' correctness is -1, 0
            or 1 and arms are equally often right. With 43 items about two are discordant, too few
            for a formula that takes their sum for normal and its error for known."""
        ),
        _table(
            ["discordant", "margin", "items per image", "ICC", "items", "absent"],
            [
                [r["discordant"], r["margin"], r["pairs"], r["icc"], r["needed"], _percent(r)]
                for r in rows
            ],
        ),
    ]


def _ratios_page(rows: Sequence[Row]) -> list[str]:
    truth = rows[0]["truth"]
    held = [row for row in rows if row["figure"] == "covered"]
    normal, skewed = (
        [row["share"] for row in held if row["values"] == values and row["share"] is not None]
        for values in ("normal", "exponential")
    )
    return [
        _text(
            f"""PIE / TE with a true value of {truth}; five pairs per cluster, ICC 0.6, and TE as
            large as so many of its standard errors. *Answered*: `ratio_interval` gave an interval.
            *Covered*: those that hold the true ratio, {_range(normal)} % for normal and
            {_range(skewed)} % for exponential values. *Refused*: data sets without an answer, of
            those where TE's own `interval` covers 0. It is not all of them, because Fieller's
            condition goes by Student's interval; – is where there is nothing to count."""
        ),
        _wide(
            [row | {"strength": f"{row['strength']} errors"} for row in rows],
            ("clusters", "values", "figure"),
            "strength",
        ),
    ]


def _maps_page(rows: Sequence[Row]) -> list[str]:
    shift = rows[0]["shift"]
    skewed = ", ".join(
        _points(row["share"])
        for row in rows
        if (row["values"], row["method"]) == ("exponential", "max-T")
    )
    return [
        _text(
            f"""Maps of 4 × 12 cells, neighbours correlated 0.7, three pairs per cluster, ICC 0.6,
            p < 0.05. *Any false*: maps in which a cell without an effect is called one (family-wise
            error). *False share*: of the cells that are called, on average (false discovery rate).
            *Found*: of the real cells, {shift} standard deviations large.
            `none` are t tests without correction, which Holm and BH correct; max-T is `sign_flip`,
            which holds its 5 % for symmetric values. For skewed ones, with a mean of zero but not
            symmetric about it, it is {skewed} % with 20, 64 and 200 clusters. Corrected t tests do
            little better."""
        ),
        _wide(rows, ("clusters", "values", "real", "figure"), "method"),
    ]


def _answers_page(rows: Sequence[Row]) -> list[str]:
    return [
        _text(
            """`share` of a rate of 2 % among 100; `compare_answers` on 200 items, where two arms
            are right equally often, in 70 %, and one answer in five is drawn anew; and an effect as
            large as `smallest_detectable` says after a pilot of 40 clusters of five, ICC 0.6, which
            another 40 should show in 80 %. Exact intervals cover more than they say, and exact
            tests reject less."""
        ),
        _table(["", "share"], [[row["figure"], _percent(row)] for row in rows]),
    ]


CHAPTERS: Mapping[str, tuple[str, Callable[[Sequence[Row]], list[str]]]] = {
    "coverage": ("Intervals", _coverage_page),
    "size": ("Equivalence at the margin", _size_page),
    "power": ("How many clusters", _power_page),
    "items": ("How many items", _items_page),
    "ratios": ("The proportion mediated", _ratios_page),
    "maps": ("Maps", _maps_page),
    "answers": ("Answers, and what can be shown", _answers_page),
}

HEADERS = {"pairs": "pairs each", "icc": "ICC", "real": "real cells", "figure": ""}


def _text(words: str) -> str:
    return textwrap.fill(
        " ".join(words.split()), 108, break_long_words=False, break_on_hyphens=False
    )


def _points(share_: float) -> str:
    return f"{100 * share_:.0f}"


def _range(shares: Sequence[float]) -> str:
    ends = dict.fromkeys(_points(end) for end in (min(shares), max(shares))) if shares else "–"
    return " to ".join(ends)


def _percent(row: Row) -> str:
    if row["share"] is None:
        return "–"
    middle, low, high = (f"{100 * row[end]:.1f}" for end in ("share", "low", "high"))
    return f"{middle} ({low}–{high})"


def _near(row: Row) -> bool:
    """Return whether a coverage is where one of 95 % should be."""
    return 0.93 <= row["share"] <= 0.97


def _marked(row: Row) -> str:
    return _percent(row) if _near(row) else f"**{_percent(row)}**"


def _wide(
    rows: Sequence[Row], down: Sequence[str], across: str, cell: Callable[[Row], str] = _percent
) -> str:
    """Return a table with a line per value of `down` and a column per value of `across`."""
    columns = list(dict.fromkeys(row[across] for row in rows))
    lines: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = tuple("–" if name == "icc" and row["pairs"] == "1" else row[name] for name in down)
        lines.setdefault(key, {})[row[across]] = cell(row)
    body = [[*key, *(cells.get(column, "–") for column in columns)] for key, cells in lines.items()]
    return _table([*(HEADERS.get(name, name) for name in down), *columns], body)


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [headers, ["--:"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
