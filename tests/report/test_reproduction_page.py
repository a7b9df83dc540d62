"""The page of a reproduction: every claim with its rule, whole or not at all, nothing that runs."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from mindseye.causal import Interval
from mindseye.errors import OutputError
from mindseye.report import reproduction as page
from mindseye.report import reproduction_table, write_reproduction
from mindseye.report.claims import rule_of, written, written_span
from mindseye.report.figures.reproduction import draw_edits, draw_steps
from mindseye.report.reproduction import REPRODUCTION_FILES, claim_view
from mindseye.studies.reproduction import WORDS, Rule
from tests.report.audits import HOSTILE
from tests.report.reproductions import claim, hostile_reproduction, reproduction


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("reproduction") / "deep"
    assert write_reproduction(reproduction(), out) == out / "reproduction.html"
    return out


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "reproduction.html").read_text(encoding="utf-8")


def without_scripts(html):
    return re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_the_folder_holds_its_files_and_nothing_else(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(REPRODUCTION_FILES)


def test_every_claim_stands_in_the_overview_and_has_its_section(html):
    overview, rest = html[: html.index("</table>")], html[html.index("</table>") :]
    for each in reproduction().claims:
        assert f'<a href="#{each.key}">{each.title}</a>' in overview
        assert f'id="{each.key}"' in rest
        assert rest.count(each.rule.why) == len(reproduction().claims)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_told_by_colour_icon_text_and_explained(html, word):
    assert re.search(rf"^\.chip\.{word} {{ --tone:", html, flags=re.MULTILINE)
    chips = re.findall(rf'<span class="chip \w* ?{word}"><svg[^>]*><use href="#(icon-\w+)"', html)
    assert len(set(chips)) == 1
    assert f'<symbol id="{chips[0]}"' in html
    assert WORDS[word].replace("'", "&#39;") in html


def test_claims_are_counted_at_the_top(html):
    assert re.findall(r"(\d (?:agree|disagree|undecided))</span>", html) == [
        "2 agree",
        "1 disagree",
        "1 undecided",
    ]


def test_seeds_that_say_different_things_are_told_apart(html):
    section = html[html.index('id="undecided-points"') : html.index('id="agrees-times"')]
    assert "seed 0 · agrees" in section
    assert "seed 1 · disagrees" in section
    assert "seed 0 · " not in html[: html.index('id="undecided-points"')]


def test_a_strip_has_the_range_and_the_intervals_on_one_scale():
    strip = claim_view(claim("undecided", "cosine")).strip
    left, width = strip.band
    inside, outside = strip.marks
    assert left <= inside.low < inside.mean < inside.high <= left + width
    assert outside.high < left
    assert (inside.word, outside.word) == ("agrees", "disagrees")
    assert "at least 0.70" in strip.description


@pytest.mark.parametrize(
    ("rule", "unit", "said"),
    [
        (Rule(low=0.7), "cosine", "at least 0.70"),
        (Rule(high=-0.25), "points", "at most −25.0 points"),  # noqa: RUF001
        (Rule(-0.05, 0.05), "points", "from −5.0 to 5.0 points"),  # noqa: RUF001
        (Rule(low=1.5), "times", "at least 1.50 times"),
    ],
)
def test_a_rule_is_written_in_its_unit(rule, unit, said):
    assert rule_of(rule, unit) == said


def test_numbers_are_written_in_their_units():
    assert [written(0.256, unit) for unit in ("cosine", "points", "share")] == [
        "0.26",
        "25.6",
        "26%",
    ]
    assert written(17.4, "count") == "17"
    assert written(float("nan"), "share") == "–"
    assert written_span(Interval(0.2, 0.1, 0.3), "share") == "10% to 30%"
    assert written_span(Interval(17.0, float("nan"), float("nan")), "count") == ""


def test_the_summary_has_rules_numbers_and_words(folder):
    summary = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)
    assert (summary["paper"], summary["seed"], summary["n_pairs"]) == ("2602.22766", 3, 8)
    assert summary["counts"] == {"agrees": 2, "disagrees": 1, "undecided": 1}
    first = summary["claims"][0]
    assert first["rule"] == {"low": 0.7, "high": None, "why": "Written down beforehand."}
    assert [each["says"] for each in summary["claims"][2]["found"]] == ["agrees", "disagrees"]
    assert len(summary["edits"]) == len(reproduction().edits)


def test_the_table_has_every_measurement(folder):
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "rows.parquet"), reproduction().rows, check_dtype=False
    )


def test_the_page_loads_nothing_and_runs_only_its_own(html):
    ours = without_scripts(html)
    assert not set(re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']*)""", ours))
    assert "default-src 'none'" in ours
    assert html.count("plotly.js v") == 1


def test_every_link_leads_to_a_place_on_the_page(html):
    ours = without_scripts(html)
    places = set(re.findall(r'\bid="([^"]*)"', ours))
    assert set(re.findall(r'href="#([^"]*)"', ours)) <= places


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_texts_comes_out_escaped(tmp_path, text):
    html = write_reproduction(hostile_reproduction(), tmp_path).read_text(encoding="utf-8")
    assert text not in without_scripts(html)
    assert text.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;") in html


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "summary.json").write_text("old")
    monkeypatch.setattr(page, "_render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_reproduction(reproduction(), tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        write_reproduction(reproduction(), tmp_path / "file")


def test_figures_have_a_line_per_model_and_a_point_per_seed_and_edit():
    found = reproduction()
    lines = draw_steps(found.steps).data
    assert [line.name for line in lines if line.showlegend] == ["latents", "words"]
    assert [line.customdata[0][0] for line in lines] == [
        "latents-0: latents", "latents-1: latents", "words-0: words", "words-1: words",
    ]  # fmt: skip
    assert list(lines[0].x) == [1, 2, 3, 4]
    points = draw_edits(found).data
    assert [len(each.x) for each in points] == [2, 2, 2, 2]
    assert found.plot().layout.yaxis.ticktext[1] == "nothing, it is taken out"


def test_stacked_panels_stand_below_each_other():
    stacked = draw_edits(reproduction(), stacked=True)
    assert stacked.layout.yaxis.domain[0] > stacked.layout.yaxis2.domain[1]


def test_the_terminal_says_every_claim_its_numbers_and_its_rule():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(reproduction_table(reproduction()))
    said = console.export_text()
    assert "2 agree, 1 disagree, 1 undecided" in said
    assert "80.0 / 30.0" in said
    assert "at least 70.0 points" in said
    assert said.index("Finding 1: alike") < said.index("Accuracy") < said.index("Cost")


def test_brackets_in_a_title_are_no_markup_of_the_terminal():
    odd = replace(reproduction(), claims=(replace(claim("agrees"), title="[red]x[/red]"),))
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(reproduction_table(odd))
    assert "[red]x[/red]" in console.export_text()
