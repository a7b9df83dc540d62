"""The second page: what the latents say, with its controls, and nothing that could run."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from mindseye.readouts.geometry import Degeneracy
from mindseye.reasoners import load
from mindseye.report import write_report
from mindseye.report.readings import WORDS, latents_view
from mindseye.studies import read_latents
from mindseye.tasks import task
from tests.models import checkpoint
from tests.report.audits import HOSTILE, small_audit

pytestmark = pytest.mark.model

ARMS = ("identity", "zero", "donor:answer=other", "removal")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    reasoner, world = load(checkpoint(base), device="cpu"), task("digits")
    pairs = [world.pairs(10, kind=kind, seed=3) for kind in ("minimal", "placebo")]
    read = read_latents(reasoner, *pairs, replacements=ARMS, seed=3)
    return replace(small_audit(base), latents=read)


@pytest.fixture(scope="module")
def folder(found, tmp_path_factory):
    out = tmp_path_factory.mktemp("latents")
    write_report([found], out)
    return out


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "latents.html").read_text()


def test_every_readout_has_its_figure(html):
    shown = re.findall(r'class="figure-holder" id="r0-(\w+)"', html)
    assert shown == ["similarity", "collapse", "probes", "lens", "attention", "gaze"]
    for name in shown:
        drawn = re.search(rf'id="r0-{name}-wide">(.*?)</script>', html, re.DOTALL)
        assert json.loads(drawn[1])["data"]


def test_every_replacement_has_its_line_in_order(html, found):
    lines = re.findall(r'<tr><th scope="row">([^<]*)</th>', html)
    assert lines == list(ARMS)
    means = found.latents.effects().set_index("arm")["mean"]
    assert means["identity"] == pytest.approx(0, abs=1e-4)


def test_the_word_and_its_reasons_are_shown_and_explained(html, found):
    view = latents_view(found, "r0")
    assert view.word in WORDS
    assert all(reason.split(".")[0] in html for reason in view.reasons)
    assert all(meaning in html for meaning in WORDS.values())


def test_the_pages_link_to_each_other_and_to_nothing_else(folder, html):
    ours = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert set(re.findall(r"""(?:src|href)=["'](?!data:|#)([^"']*)""", ours)) == {"report.html"}
    assert 'href="latents.html"' in (folder / "report.html").read_text()


def test_the_table_has_every_replacement_of_every_pair(folder, found):
    table = pd.read_parquet(folder / "replacements.parquet")
    assert len(table) == len(found.latents.replaced)
    assert set(table["reasoner"]) == {"small"}
    assert {"norm_percentile", "mahalanobis", "nearest", "moved", "effect"} <= set(table)


def test_markup_in_data_comes_out_escaped(found, tmp_path):
    read = found.latents
    rows = read.lens.rows.assign(text=HOSTILE[0], token=HOSTILE[1], sample=HOSTILE[2])
    hostile = replace(
        read,
        lens=replace(read.lens, rows=rows, samples=tuple(HOSTILE[2] for _ in read.lens.samples)),
        degeneracy=Degeneracy(HOSTILE[0], (HOSTILE[1],)),
        replaced=read.replaced.replace({"arm": {"zero": HOSTILE[0]}}),
        replacements=("identity", HOSTILE[0], *ARMS[2:]),
    )
    write_report([replace(found, name=HOSTILE[3], latents=hostile)], tmp_path)
    page = (tmp_path / "latents.html").read_text()
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    for markup in HOSTILE:
        assert markup not in outside


def test_an_audit_without_latents_says_so(found, tmp_path):
    write_report([replace(found, latents=None)], tmp_path)
    assert "Too few runs imagined" in (tmp_path / "latents.html").read_text()
    assert len(pd.read_parquet(tmp_path / "replacements.parquet")) == 0
