"""Figures of attention show the numbers of its table, and no markup."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly
import plotly.graph_objects as go
import pytest

from mindseye.plugins import find
from mindseye.readouts.attending import MEAN, TO, Attention, Gaze
from mindseye.report.figures.attention import draw_attention, draw_gaze
from mindseye.samples import Box, Sample
from tests.report.audits import HOSTILE

RUNS, SLOTS, LAYERS = 5, 2, 3
BOX = (16, 0, 32, 16)


def gaze(*, box: Box | None = BOX, name: str = "s", told: bool = True, slots: int = SLOTS) -> Gaze:
    pixels = np.full((32, 64, 3), 200, np.uint8)
    shares = np.random.default_rng(1).random((slots, 2, 4)) / 20
    return Gaze(Sample((pixels,), "where?", "there", id=name), shares, box, told)


def found(*, region: str | None = "target", floor: bool = True, name: str = "s") -> Attention:
    places = [
        (run, slot, layer)
        for run in range(RUNS)
        for slot in range(SLOTS)
        for layer in range(LAYERS)
    ]
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(TO) + 1), len(places))
    rows = pd.DataFrame(places, columns=["run", "slot", "layer"]).assign(
        sample=name, head=MEAN, **dict(zip((*TO, "other"), shares.T, strict=True))
    )
    rows = rows.assign(entropy=1.0, normalised=rng.random(len(rows)), keys=9)
    if region is not None:
        rows = rows.assign(
            enrichment=1 + rng.random(len(rows)),
            elsewhere=rng.random(len(rows)) if floor else np.nan,
        )
    return Attention(rows, TO, region, {0: gaze(name=name)}, tuple(range(RUNS)))


def named(figure: go.Figure, name: str) -> go.Bar | go.Scatter:
    return next(trace for trace in figure.data if trace.name == name)


def test_figures_are_offered_by_name() -> None:
    measured = found()
    assert find("figure", "attention") is draw_attention
    assert find("figure", "gaze") is draw_gaze
    assert measured.plot() == draw_attention(measured)
    assert measured.picture() == draw_gaze(measured.gazes[0])


def test_bars_are_the_means_by_segment_and_stack_to_one() -> None:
    measured = found()
    figure = draw_attention(measured)
    wanted = measured.rows.groupby("layer")
    for name in (*TO, "other"):
        np.testing.assert_allclose(named(figure, name).y, wanted[name].mean())
    bars = [trace.y for trace in figure.data if trace.type == "bar"]
    np.testing.assert_allclose(np.sum(bars, axis=0), 1)
    assert figure.layout.barmode == "stack"


def test_enrichment_stands_beside_its_floor_with_intervals() -> None:
    measured = found()
    figure = draw_attention(measured)
    rows = measured.summary(["enrichment", "elsewhere"])
    for name, measure in (
        ("own region", "enrichment"),
        ("regions of other samples", "elsewhere"),
    ):
        drawn, mine = named(figure, name), rows[rows["measure"] == measure]
        np.testing.assert_allclose(drawn.y, mine["value"])
        high = np.add(drawn.y, drawn.error_y.array)
        assert (high > drawn.y).all()
    assert [shape.y0 for shape in figure.layout.shapes] == [1]


def test_what_was_not_measured_has_no_panel_and_no_line() -> None:
    plain = draw_attention(found(region=None))
    assert {trace.name for trace in plain.data} == {*TO, "other", "entropy"}
    alone = draw_attention(found(floor=False))
    assert "own region" in {trace.name for trace in alone.data}
    assert "regions of other samples" not in {trace.name for trace in alone.data}


def test_one_run_has_no_bars_of_endless_length() -> None:
    measured = found()
    one = replace(measured, rows=measured.rows.query("run == 0"), clusters=(0,))
    drawn = named(draw_attention(one), "own region")
    assert np.isfinite(drawn.error_y.array).all()
    assert "1 run," in draw_attention(one).layout.title.subtitle.text


def test_the_picture_has_a_panel_per_slot_lit_as_the_slot_looks() -> None:
    held = gaze()
    figure = draw_gaze(held)
    assert [trace.type for trace in figure.data].count("image") == 1 + SLOTS
    veils = [trace for trace in figure.data if trace.type == "heatmap"]
    for veil, shares in zip(veils, held.shares, strict=True):
        np.testing.assert_allclose(veil.z, shares)
    assert "framed" in figure.layout.title.subtitle.text


def test_the_frame_is_where_the_region_is() -> None:
    shapes = draw_gaze(gaze()).layout.shapes
    assert len(shapes) == 1 + SLOTS
    # Image pixels are centred on whole numbers.
    assert {(s.x0, s.y0, s.x1, s.y1) for s in shapes} == {(15.5, -0.5, 31.5, 15.5)}
    assert not draw_gaze(gaze(box=None)).layout.shapes


def test_a_guessed_grid_is_said_to_be_one() -> None:
    assert "a guess" in draw_gaze(gaze(told=False)).layout.title.subtitle.text
    assert "a guess" not in draw_gaze(gaze()).layout.title.subtitle.text


@pytest.mark.parametrize("text", HOSTILE)
def test_names_cannot_smuggle_markup_in(text: str) -> None:
    measured = found(name=text, region=text)
    for figure in (measured.plot(), measured.picture()):
        assert text not in str(figure.to_dict())


def test_figures_survive_their_own_json() -> None:
    for figure in (draw_attention(found()), draw_gaze(gaze())):
        assert plotly.io.from_json(figure.to_json()) == figure
