"""Figures of similarity show the numbers of its table, and no markup."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly
import plotly.graph_objects as go
import pytest

from mindseye.errors import UnknownNameError
from mindseye.plugins import find
from mindseye.readouts.geometry import Similarity, similarity
from mindseye.report.figures.geometry import draw_collapse, draw_similarity
from tests.report.audits import HOSTILE

N, SLOTS, D = 12, 5, 9
ANSWERS = [str(i % 3) for i in range(N)]


def states(seed: int, n: int = N, slots: int = SLOTS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, slots, D)) + 1


def measured(latents: np.ndarray | None = None, **more: Any) -> Similarity:
    held = states(0) if latents is None else latents
    return similarity(held, n_permutations=1, rng=np.random.default_rng(0), **more)


@pytest.fixture(scope="module")
def found() -> Similarity:
    return measured(
        answers=ANSWERS, baselines={"text": states(1)}, placebo=states(0) + 0.1 * states(2)
    )


def titles(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def test_figures_are_offered_by_name(found: Similarity) -> None:
    assert find("figure", "similarity") is draw_similarity
    assert find("figure", "collapse") is draw_collapse
    assert found.heatmap() == draw_similarity(found)
    assert found.plot() == draw_collapse(found)


def test_there_is_a_heatmap_per_slot_on_one_scale_of_cosines(found: Similarity) -> None:
    figure = draw_similarity(found)
    assert titles(figure) == [f"slot {slot}" for slot in range(SLOTS)]
    assert [trace.type for trace in figure.data] == ["heatmap"] * SLOTS
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-1, 1)


@pytest.mark.parametrize("transform", ["raw", "centred"])
@pytest.mark.parametrize("population", ["latents", "text"])
def test_cells_are_cosines_in_the_order_of_answers(
    found: Similarity, population: str, transform: str
) -> None:
    figure = draw_similarity(found, population, transform)
    order = sorted(range(N), key=lambda run: ANSWERS[run])
    for slot, panel in enumerate(figure.data):
        every = found.cosines[population, transform][slot]
        np.testing.assert_allclose(np.array(panel.z, float), every[np.ix_(order, order)])
        assert list(panel.x) == list(panel.y) == [f"run {run} ({ANSWERS[run]})" for run in order]
        assert panel.customdata[0][1] == f"{every[order[0], order[1]]:.2f}".replace(
            "-", "\N{MINUS SIGN}"
        )
    assert population in figure.layout.title.text


def test_without_answers_runs_stay_in_their_order() -> None:
    panel = draw_similarity(measured()).data[0]
    assert list(panel.x) == [f"run {run}" for run in range(N)]


def test_of_many_runs_evenly_spaced_ones_are_drawn_and_the_subtitle_says_so() -> None:
    figure = draw_similarity(measured(states(0, n=95, slots=1)))
    panel = figure.data[0]
    assert len(panel.x) == len(panel.z) == len(panel.z[0]) == 48
    assert (panel.x[0], panel.x[-1]) == ("run 0", "run 94")
    assert len(set(panel.x)) == 48
    assert "48 of 95 runs" in figure.layout.title.subtitle.text
    assert "12 runs" in draw_similarity(measured()).layout.title.subtitle.text


def test_vectors_without_a_cosine_leave_their_cells_empty() -> None:
    constant = np.tile(states(0)[:1], (N, 1, 1))
    figure = draw_similarity(measured(constant), transform="centred")
    assert all(cell is None for line in figure.data[0].z for cell in line)
    assert figure.data[0].customdata[0][0] == "–"


def test_what_has_no_cosines_is_refused(found: Similarity) -> None:
    with pytest.raises(UnknownNameError, match=r"'raw' cosines of 'image'.*text \(centred\)"):
        draw_similarity(found, "image")
    with pytest.raises(UnknownNameError, match="'z-scored' cosines of 'latents'"):
        draw_similarity(found, transform="z-scored")


CURVES = {
    "raw cosine between runs": ("inter-instance cosine", "raw", ""),
    "raw cosine with other slots": ("intra-instance cosine", "raw", ""),
    "share that differs between runs": ("share between instances", "", ""),
    "participation ratio": ("participation ratio", "centred", ""),
    "step to the next slot": ("drift", "", ""),
    "scatter, images over placebos": ("trS/trN", "", "placebo"),
}


def test_every_curve_is_a_row_of_the_table_by_slot(found: Similarity) -> None:
    figure = draw_collapse(found)
    assert titles(figure) == list(CURVES)
    lines = {(line.xaxis, line.name): line for line in figure.data}
    assert len(lines) == 11  # latents have placebos, text has none
    for place, (measure, transform, against) in enumerate(CURVES.values()):
        wide = found.table(measure, transform=transform, against=against).drop(
            index=-1, errors="ignore"
        )
        axis = f"x{place + 1}" if place else "x"
        for name in wide:
            line = lines[axis, name]
            assert list(line.x) == wide.index.tolist()
            assert list(line.y) == wide[name].tolist()


def test_error_bars_end_where_intervals_do(found: Similarity) -> None:
    line = draw_collapse(found).data[0]
    rows = found.to_frame()
    rows = rows[(rows["measure"] == "inter-instance cosine") & (rows["transform"] == "raw")]
    rows = rows[(rows["population"] == "latents") & (rows["against"] == "") & (rows["slot"] >= 0)]
    np.testing.assert_allclose(np.add(line.y, line.error_y.array), rows["high"])
    np.testing.assert_allclose(np.subtract(line.y, line.error_y.arrayminus), rows["low"])
    said = line.customdata[2]
    assert said[0] == "latents"
    assert f"{rows['value'].iloc[2]:.3f}" == said[1]
    assert f"{rows['low'].iloc[2]:.3f}" in said[2]


def test_a_measure_without_interval_has_no_bar_and_says_none(found: Similarity) -> None:
    figure = draw_collapse(found)
    line = next(each for each in figure.data if each.xaxis == "x4")
    assert line.error_y.array is None
    assert line.customdata[0][2] == ""


def test_the_latents_line_is_the_heavy_one_and_each_name_is_in_the_legend_once(
    found: Similarity,
) -> None:
    figure = draw_collapse(found)
    width = {line.name: line.line.width for line in figure.data}
    assert width["latents"] > width["text"]
    assert [line.name for line in figure.data if line.showlegend] == ["latents", "text"]
    assert len({line.line.color for line in figure.data}) == 2


def test_placebos_have_a_line_at_one_on_an_axis_of_ratios(found: Similarity) -> None:
    figure = draw_collapse(found)
    (line,) = figure.layout.shapes
    assert (line.y0, line.y1, line.yref) == (1, 1, "y6")
    assert figure.layout.yaxis6.type == "log"
    assert "dotted" in figure.layout.title.subtitle.text


def test_what_was_not_measured_has_no_panel() -> None:
    figure = draw_collapse(measured())
    assert titles(figure) == list(CURVES)[:-1]
    assert not figure.layout.shapes
    assert "dotted" not in figure.layout.title.subtitle.text
    single = draw_collapse(measured(states(0, slots=1)))
    assert titles(single) == [
        "raw cosine between runs",
        "share that differs between runs",
        "participation ratio",
    ]


def test_ratios_that_are_infinite_are_left_out() -> None:
    figure = draw_collapse(measured(placebo=states(0)))
    assert list(CURVES)[-1] not in titles(figure)


@pytest.mark.parametrize("text", HOSTILE)
def test_names_and_answers_cannot_smuggle_markup_in(text: str) -> None:
    held = measured(answers=[text, "b"] * 6, baselines={text: states(1)})
    for figure in (draw_similarity(held), draw_similarity(held, text), draw_collapse(held)):
        said = [figure.layout.title.text]
        for trace in figure.data:
            said += [str(trace.name), *np.ravel(trace.customdata).tolist()]
            said += [str(label) for label in (*trace.x, *trace.y)]
        assert not any("<" in each for each in said)


@pytest.mark.parametrize("draw", [draw_similarity, draw_collapse])
def test_figures_survive_their_own_json(found: Similarity, draw: Any) -> None:
    figure = draw(found)
    assert plotly.io.from_json(figure.to_json()) == figure
