"""The simulations run to their end, and what their page claims holds in the committed figures."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import statistics
from benchmarks.statistics_page import page

ROOT = Path(__file__).parents[2]
KINDS = ("normal", "exponential", "lognormal", "contaminated")
STRUCTURES = (("1", 0.0), ("5", 0.0), ("5", 0.3), ("5", 0.6), ("1–9", 0.6))
Found = dict[str, Any]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, str]:
    folder = tmp_path_factory.mktemp("statistics")
    out, docs = folder / "made" / "s.json", folder / "made" / "s.md"
    statistics.main(["--draws", "2", "--out", str(out), "--docs", str(docs)])
    return json.loads(out.read_text("utf-8")), docs.read_text("utf-8")


@pytest.fixture(scope="module")
def committed() -> Found:
    path = ROOT / "benchmarks" / "results" / "statistics.json"
    return json.loads(path.read_text("utf-8"))


def values(rows: list[Found], *names: str) -> set[tuple[Any, ...]]:
    return {tuple(row[name] for name in names) for row in rows}


def rows_where(rows: list[Found], **wanted: Any) -> list[Found]:
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert found, wanted
    return found


def shares(rows: list[Found], **wanted: Any) -> list[float]:
    return [row["share"] for row in rows_where(rows, **wanted)]


def test_every_design_has_its_row(quick: tuple[Found, str], committed: Found) -> None:
    for found in (quick[0], committed):
        ours = rows_where(found["coverage"], method="interval")
        assert values(ours, "clusters", "pairs", "icc", "values") == {
            (n, *structure, kind)
            for n, structure, kind in itertools.product((20, 64, 200), STRUCTURES, KINDS)
        }
        assert values(found["coverage"], "method") == {
            (name,) for name in ("interval", "Student", "BCa", "naive")
        }
        sides = (("normal", "upper"), ("exponential", "upper"), ("exponential", "lower"))
        clustered = rows_where(found["size"], test="clusters")
        assert values(clustered, "clusters", "margin", "values", "side") == {
            (n, margin, *side)
            for n, margin, side in itertools.product((20, 40, 80), ("0.5", "10 % of TE"), sides)
        }
        assert values(rows_where(found["size"], test="naive"), "margin") == {
            ("0.5",),
            ("10 % of TE",),
        }
        assert values(found["maps"], "method") == {("none",), ("max-T",), ("Holm",), ("BH",)}
        assert values(found["ratios"], "figure") == {("answered",), ("covered",), ("refused",)}
        sections = {"power": 3, "items": 3, "answers": 4}
        assert {name: len(found[name]) for name in sections} == sections


def test_the_page_shows_every_figure(quick: tuple[Found, str]) -> None:
    found, shown = quick
    rows = [row for section in found.values() if isinstance(section, list) for row in section]
    compared = {(row["pairs"], row["icc"]) for row in found["coverage"] if row["method"] == "BCa"}
    twice = [
        row
        for row in found["coverage"]
        if row["method"] == "interval" and (row["pairs"], row["icc"]) in compared
    ]
    figures = re.findall(r"[\d.]+ \([-\d.]+–[-\d.]+\)", shown)
    assert len(figures) == sum(row["share"] is not None for row in rows) + len(twice)
    assert "python -m benchmarks.statistics" in shown


def test_equal_runs_give_equal_figures(quick: tuple[Found, str]) -> None:
    again = list(statistics.power(2))
    assert again == quick[0]["power"]


def test_the_committed_page_shows_the_committed_figures(committed: Found) -> None:
    path = ROOT / "docs" / "explanation" / "statistics-checked.md"
    assert path.read_text("utf-8") == page(committed)
    assert committed["draws"] >= 2000


def test_intervals_cover_where_the_page_says_so(committed: Found) -> None:
    rows = rows_where(committed["coverage"], method="interval")
    claimed = [row for row in rows if row["values"] != "lognormal" or row["clusters"] > 20]
    assert len(claimed) == 55
    for row in claimed:
        assert 0.93 <= row["share"] <= 0.97, row
    assert min(row["share"] for row in rows) >= 0.92


def test_naive_intervals_break_and_the_others_are_too_narrow(committed: Found) -> None:
    rows = committed["coverage"]
    assert max(shares(rows, method="naive")) < 0.75
    for kind in ("exponential", "lognormal"):
        assert max(shares(rows, method="Student", values=kind, clusters=20)) < 0.93
    for clusters in (20, 64):
        assert max(shares(rows, method="BCa", values="lognormal", clusters=clusters)) < 0.93
        assert max(shares(rows, method="BCa", values="contaminated", clusters=clusters)) < 0.93


def test_the_test_at_the_margin_keeps_its_size_on_clusters_and_only_there(
    committed: Found,
) -> None:
    clustered = rows_where(committed["size"], test="clusters")
    claimed = [row for row in clustered if row["values"] == "normal" or row["clusters"] == 80]
    assert len(claimed) == 10
    for row in claimed:
        assert row["low"] <= 0.05, row
        assert row["share"] <= 0.06, row
    assert min(shares(committed["size"], test="naive")) > 0.08


def test_as_many_clusters_as_are_asked_for_have_about_the_power_that_was_wanted(
    committed: Found,
) -> None:
    for row in committed["power"]:
        assert row["share"] == pytest.approx(0.8, abs=0.03), row
    for row in committed["items"]:
        if row["needed"] > 100:
            assert row["share"] == pytest.approx(0.8, abs=0.03), row
        else:
            assert row["share"] < 0.7, row


def test_ratios_cover_and_are_refused(committed: Found) -> None:
    rows = committed["ratios"]
    for row in rows_where(rows, figure="covered"):
        assert (0.93 if row["values"] == "normal" else 0.91) <= row["share"] <= 0.97, row
    for row in rows_where(rows, figure="answered", strength=0):
        assert row["share"] < 0.08, row


def test_max_t_holds_its_error_for_symmetric_values(committed: Found) -> None:
    rows = committed["maps"]
    symmetric = rows_where(rows, values="normal", figure="any false")
    for row in symmetric:
        if row["method"] in ("max-T", "Holm"):
            assert row["low"] <= 0.05, row
    assert min(shares(symmetric, method="none")) > 0.5
    assert max(shares(rows, method="BH", figure="false share")) <= 0.05
    skewed = shares(rows, values="exponential", method="max-T")
    assert skewed == sorted(skewed, reverse=True)
    assert min(skewed) > 0.05


def test_exact_intervals_and_tests_are_on_the_safe_side(committed: Found) -> None:
    found = {row["figure"]: row for row in committed["answers"]}
    assert found["share covered"]["high"] >= 0.95
    assert found["flip rate covered"]["high"] >= 0.95
    assert found["equal accuracies called different"]["low"] <= 0.05
    assert found["smallest detectable effect shown"]["share"] == pytest.approx(0.8, abs=0.04)
