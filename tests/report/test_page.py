"""The report's folder: what its files hold, and that it appears whole or not at all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape as escape_html
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mindseye.causal import Margin
from mindseye.errors import MindseyeError, OutputError
from mindseye.report import check_writable, output, page, write_report
from mindseye.report.beyond import beyond
from mindseye.report.escaping import plotly_text, script_json, visible
from mindseye.report.trust import guards, referee
from mindseye.report.view import VERDICTS
from mindseye.studies import Audit
from tests.report.audits import HOSTILE, altered, computed, hostile_audit

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder(found: Audit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "deep" / "er"
    assert write_report([found], out, seed=3) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def escape(text: str) -> str:
    """A text as it stands in the page."""
    return escape_html(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


def test_the_folder_holds_its_files_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(output.FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["er"]


def test_the_summary_keeps_its_schema(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) == {"schema_version", "versions", "seed", "reasoners"}
    assert (summary["schema_version"], summary["seed"]) == (2, 3)
    assert set(summary["versions"]) == {"mindseye", "torch", "transformers"}
    (found,) = summary["reasoners"].values()
    assert list(summary["reasoners"]) == ["small"]
    assert {"accuracy", "n_pairs", "emission_rate", "effects", "verdict", "guards"} <= set(found)
    assert set(found["effects"]) == set(found["levels"]) == {"embedding", "kv", "span"}
    assert found["verdict"] in VERDICTS
    assert len(found["checklist"]) == 19
    for effects in found["effects"].values():
        assert set(effects) == {"te", "pde", "tde", "pie", "tie", "int"}
        assert all({"mean", "low", "high"} <= set(numbers) for numbers in effects.values())
    assert isinstance(found["guards"]["identity_max_abs"], float)


def test_the_summary_repeats_the_audits_numbers(folder: Path, found: Audit) -> None:
    summary = json.loads((folder / "summary.json").read_text())["reasoners"]["small"]
    assert summary == json.loads(json.dumps(found.summary()))


def test_numbers_that_are_not_finite_become_null(found: Audit, tmp_path: Path) -> None:
    guards = {**found.mediation.guards, "latents_moved_min": float("nan")}
    mediation = altered(found.mediation, computed(found.mediation), guards=guards)
    write_report([replace(found, mediation=mediation)], tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["reasoners"]["small"]["guards"]["latents_moved_min"] is None


def test_the_table_holds_every_row_of_both_kinds_of_pairs(folder: Path, found: Audit) -> None:
    table = pd.read_parquet(folder / "rows.parquet")
    assert set(table["reasoner"]) == {"small"}
    for pairs, mediation in (("minimal", found.mediation), ("placebo", found.placebo)):
        part = table[table["pairs"] == pairs].drop(columns=["reasoner", "pairs"])
        pd.testing.assert_frame_equal(part.reset_index(drop=True), mediation.rows)


def test_plotly_is_inlined_once(html: str) -> None:
    assert html.count("plotly.js v") == 1


def test_the_page_loads_nothing_from_elsewhere(html: str) -> None:
    ours = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert set(re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']*)""", ours)) == {"latents.html"}
    assert "default-src 'none'" in ours


def test_the_page_shows_verdicts_and_numbers(html: str, found: Audit) -> None:
    assert "Does the imagination do any work?" in html
    shown = re.sub(r"</svg>", ">", html)
    for verdict in (found.mediation.conclusion, *found.mediation.verdicts.values()):
        assert f">{verdict.word}<" in shown
        assert all(escape(reason) in shown for reason in verdict.reasons)
    assert found.examples[0].sample.question in html


def test_the_ladders_verdict_comes_before_those_of_levels(html: str) -> None:
    labels = re.findall(r'data-label="([^"]*)"', html)
    assert labels == ["Verdict", "embedding", "kv", "span", "Accuracy", "Imagines", "Pairs"]
    assert re.search(r'data-label="Verdict"><span class="chip bold ', html)
    assert re.search(r"</h2><span class=\"chip bold ", html)


@pytest.mark.parametrize("word", VERDICTS)
def test_every_word_has_an_icon_a_colour_and_a_meaning(html: str, word: str) -> None:
    name = word.replace(" ", "-")
    assert f'<symbol id="icon-{name}"' in html
    assert re.search(rf"^\.chip\.{name} {{ --tone:", html, flags=re.MULTILINE)
    chip = rf'<span class="chip +{name}"><svg[^>]*><use href="#icon-{name}"/></svg>{word}</span>'
    assert re.search(rf"<dt>{chip}</dt><dd>{re.escape(escape(VERDICTS[word]))}</dd>", html)


def test_a_word_that_is_not_ours_gets_no_class_of_its_own(found: Audit, tmp_path: Path) -> None:
    write_report([hostile_audit(found)], tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    classes = re.findall(r'class="chip ([^"]*)"', html)
    assert {name for each in classes for name in each.split()} <= {
        "bold",
        "plain",
        *(word.replace(" ", "-") for word in VERDICTS),
    }


def test_the_checklist_is_folded_with_all_its_items(html: str, found: Audit) -> None:
    (folded,) = re.findall(r'<details class="checklist">.*?</details>', html, flags=re.DOTALL)
    assert referee(found).tally in folded
    assert folded.count("<li ") == 19
    for note in found.checklist["note"]:
        assert escape(note) in folded


def test_tables_and_guards_are_on_the_page(html: str, found: Audit) -> None:
    for table in beyond(found):
        assert f"<h4>{table.title}</h4>" in html
    for guard in guards(found):
        assert escape(guard.meaning) in html


def test_a_refused_share_takes_the_place_of_its_numbers(found: Audit, tmp_path: Path) -> None:
    refused = found.mediation.shares.assign(refused="PIE and <b>TIE</b> differ")
    frames = computed(found.mediation) | {"shares": refused}
    write_report([replace(found, mediation=altered(found.mediation, frames))], tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("not shown: PIE and &lt;b&gt;TIE&lt;/b&gt; differ</td>") == 3


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        (Margin(), "10% of TE"),
        (Margin(share_of_te=0.25), "25% of TE"),
        (Margin(share_of_te=0.05, absolute=0.5), "5% of TE or 0.5 nats, whichever is larger"),
    ],
)
def test_the_margin_is_the_audits_own(
    found: Audit, tmp_path: Path, margin: Margin, said: str
) -> None:
    odd = altered(found.mediation, computed(found.mediation), margin=margin)
    write_report([replace(found, mediation=odd)], tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"counts as none ({said})" in html
    assert f"Here {said}, named before the data are seen" in html
    assert ("10%" in said) == ("10% of TE" in html)


@pytest.mark.parametrize("said", ["studentised bootstrap", "NDE", "NIE", "noise\n        floor"])
def test_reading_explains_what_numbers_rest_on(html: str, said: str) -> None:
    assert said in html[html.index('id="reading"') :]


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_data_comes_out_escaped(found: Audit, tmp_path: Path, text: str) -> None:
    write_report([hostile_audit(found)], tmp_path, pairs_note=text)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text not in html
    assert text.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;") in html


def test_a_script_in_data_cannot_end_ours() -> None:
    made = script_json({"answer": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(made)
    assert json.loads(made) == {"answer": "</script><!--\u2028&"}


def test_plotly_labels_keep_text_as_text() -> None:
    assert plotly_text("<b>1 & 2</b>") == "&lt;b&gt;1 &amp; 2&lt;/b&gt;"


def test_characters_that_print_nothing_are_shown() -> None:
    assert visible("a\n\x00b\u202e ") == "a↵·b· "


def test_a_report_takes_at_least_one_audit(tmp_path: Path) -> None:
    with pytest.raises(MindseyeError, match="at least one"):
        write_report([], tmp_path)


def test_two_audits_of_one_name_are_refused(found: Audit, tmp_path: Path) -> None:
    with pytest.raises(MindseyeError, match="several audits of 'small'"):
        write_report([found, found], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["_render", "_table"])
def test_a_failed_rendering_leaves_nothing_behind(
    found: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(page, stage, _fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        write_report([found], tmp_path / "new" / "out")
    assert not list(tmp_path.iterdir())


def test_a_failed_move_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_move_all", _fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        output.write_whole(tmp_path / "new" / "out", {"a": b"1"})
    assert not list(tmp_path.iterdir())


def test_a_failure_half_way_restores_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "mine").write_bytes(b"mine")
    move = Path.replace

    def stumble(self: Path, target: Path) -> Path:
        if self.name == "c" and self.parent.name == "fresh":
            raise OSError(28, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", stumble)
    with pytest.raises(OutputError, match="No space left on device"):
        output.write_whole(tmp_path, {"a": b"new", "b": b"new", "c": b"new"})
    held = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert held == {"a": b"old", "mine": b"mine"}


def test_writing_again_replaces_our_files_and_leaves_others(tmp_path: Path) -> None:
    output.write_whole(tmp_path, {"a": b"1"})
    (tmp_path / "mine").write_bytes(b"mine")
    output.write_whole(tmp_path, {"a": b"2"})
    held = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert held == {"a": b"2", "mine": b"mine"}


def test_a_writable_place_passes_and_is_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "is a file"),
        ("file/under", "lies under the file"),
        ("link", "cannot be written"),
        ("x" * 300, "cannot be written"),
        ("a\0b", "cannot be written"),
        ("line\nbreak/" + "x" * 300, "cannot be written"),
        ("/proc/nope", "cannot be written"),
        ("taken", "folder called 'report.html'"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, place: str, said: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "taken" / "report.html").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for attempt in (check_writable, lambda out: output.write_whole(out, {"a": b""})):
        with pytest.raises(OutputError, match=said) as refused:
            attempt(tmp_path / place)
        assert "\n" not in str(refused.value)
        assert sorted(tmp_path.rglob("*")) == before


def _fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("on purpose")
