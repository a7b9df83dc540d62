"""Figures of knockouts, paths and attributions show the numbers of their frames, and no markup."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mindseye.engine import Attribution, Knockouts, Paths
from mindseye.errors import UnknownNameError
from mindseye.report import draw_attribution, draw_knockouts, draw_paths
from tests.report.audits import HOSTILE

OUTCOMES = ("logit difference", "probability")


def knockouts(windows: list[tuple[int, int]], n_controls: int = 2) -> Knockouts:
    """Two edge sets of which one does nothing; probabilities are a tenth of the other outcome."""
    rows = [
        {"pair": pair, "edges": edges, "first_layer": first, "last_layer": last}
        | {"control": control, "n_edges": 6 + (pair == "b"), "outcome": outcome, "value": 0.0}
        | {"clean": 8.0 * scale, "effect": scale * effect}
        for p, pair in enumerate("ab")
        for edges, strength in (("latents to answer", -4.0), ("image to answer", 0.0))
        for first, last in windows
        for control, effect in [
            (-1, strength * (1 + first) + (1 if p else -1)),
            *((drawn, 0.5 + drawn) for drawn in range(n_controls)),
        ]
        for outcome, scale in zip(OUTCOMES, (1.0, 0.1), strict=True)
    ]
    return Knockouts(pd.DataFrame(rows), OUTCOMES)


def paths(heads: tuple[int, ...] = (-1,), *, each_layer: bool = True, n_layers: int = 3) -> Paths:
    """Each sender tells each layer above ten times its own layer and once the other's."""
    rows = [
        {"pair": pair, "sender": "attn.hook_z", "head": head, "layer": sent}
        | {"receiver": "attn.hook_k attn.hook_v", "receiver_layer": heard, "outcome": outcome}
        | {"value": 0.0, "clean": 12.0 * scale, "reference": -8.0 * scale}
        | {"effect": scale * (10.0 * sent + heard - 12 + (1 if pair == "a" else -1))}
        for pair in ("a", "b")
        for head in heads
        for sent in range(n_layers - 1)
        for heard in (range(sent + 1, n_layers) if each_layer else (-1,))
        for outcome, scale in zip(OUTCOMES, (1.0, 0.1), strict=True)
    ]
    return Paths(pd.DataFrame(rows), "latents", None, OUTCOMES)


@pytest.fixture
def attribution() -> Attribution:
    """Four slots: exact in both pairs, in one, in one, in none."""
    nan = math.nan
    exact = {"a": (4.0, 2.0, nan, nan), "b": (6.0, nan, -1.0, nan)}
    rows = [
        {"pair": pair, "hook": "hook_resid_pre", "head": -1, "layer": 1, "slot": slot}
        | {"outcome": outcome, "attribution": scale * guess, "exact": scale * exact[pair][slot]}
        for pair in ("a", "b")
        for slot, guess in enumerate((3.0, 1.0, -0.5, 0.25))
        for outcome, scale in zip(OUTCOMES, (1.0, 0.1), strict=True)
    ]
    sums = [
        {"pair": pair, "hook": "hook_resid_pre", "head": -1, "layer": 1, "outcome": outcome}
        | {"total": 3.75 * scale, "joint": 4.0 * scale, "residual": -0.25 * scale}
        for pair in ("a", "b")
        for outcome, scale in zip(OUTCOMES, (1.0, 0.1), strict=True)
    ]
    return Attribution(
        pd.DataFrame(rows), pd.DataFrame(sums), "latents", "denoising", "gradient", OUTCOMES
    )


def signed(text: str) -> str:
    """A number as it is printed, with a true minus."""
    return text.replace("-", "\N{MINUS SIGN}")


def words(figure: go.Figure) -> str:
    return f"{figure.layout.title.text} {figure.layout.title.subtitle.text}"


def axes(figure: go.Figure) -> list[str]:
    found = [*figure.select_xaxes(), *figure.select_yaxes()]
    return [axis.title.text for axis in found if axis.title.text]


def test_results_find_their_figures_by_name(attribution: Attribution) -> None:
    drawn = (
        (knockouts([(0, 3)]).plot(), draw_knockouts(knockouts([(0, 3)]))),
        (paths().heatmap("probability"), draw_paths(paths(), "probability")),
        (attribution.plot(), draw_attribution(attribution)),
    )
    for found, wanted in drawn:
        assert found == wanted


def test_lines_over_windows_are_means_of_edges_and_of_their_controls() -> None:
    figure = draw_knockouts(knockouts([(0, 1), (1, 2), (2, 3)]))
    lines = {(line.name, line.line.dash): line for line in figure.data}
    assert len(lines) == len(figure.data) == 4
    cut = lines["latents to answer", "solid"]
    assert (list(cut.x), list(cut.y)) == ([0, 1, 2], [-4.0, -8.0, -12.0])
    drawn = lines["latents to answer", "dash"]
    assert (list(drawn.x), list(drawn.y)) == ([0, 1, 2], [1.0, 1.0, 1.0])
    assert list(lines["image to answer", "solid"].y) == [0.0, 0.0, 0.0]


def test_a_control_has_the_colour_of_its_edges_and_is_paler() -> None:
    figure = draw_knockouts(knockouts([(0, 1), (1, 2)]))
    lines = {(line.name, line.line.dash): line for line in figure.data}
    for name in ("latents to answer", "image to answer"):
        assert lines[name, "dash"].line.color == lines[name, "solid"].line.color
        assert lines[name, "dash"].opacity < lines[name, "solid"].opacity
    assert len({line.line.color for line in figure.data}) == 2
    assert [line.name for line in figure.data if line.showlegend] == [
        "latents to answer",
        "image to answer",
    ]


def test_one_window_makes_bars_of_edges_and_controls_side_by_side() -> None:
    figure = draw_knockouts(knockouts([(0, 3)]))
    cut, drawn = figure.data
    assert figure.layout.barmode == "group"
    for bars in (cut, drawn):
        assert (bars.type, bars.orientation) == ("bar", "h")
        assert list(bars.y) == ["latents to answer", "image to answer"]
    assert (list(cut.x), list(drawn.x)) == ([-4.0, 0.0], [1.0, 1.0])
    assert list(cut.text) == [signed("-4.00"), "0.00"]
    assert cut.marker.color == drawn.marker.color
    assert drawn.marker.opacity < cut.marker.opacity


@pytest.mark.parametrize("windows", [[(0, 3)], [(0, 1), (1, 2)]])
def test_hovering_over_a_knockout_says_edges_layers_and_share(
    windows: list[tuple[int, int]],
) -> None:
    figure = draw_knockouts(knockouts(windows))
    said = [tuple(line) for panel in figure.data for line in panel.customdata]
    layers = f"layers {windows[0][0]} to {windows[0][1]}"
    assert ("latents to answer", layers, "6.5", signed("-4.00 nats"), signed("-50%")) in said
    assert ("random edges for latents to answer", layers, "6.5", "1.00 nats", "12%") in said


def test_a_share_of_an_outcome_that_is_not_above_zero_is_left_out() -> None:
    cut = knockouts([(0, 3)])
    flat = replace(cut, rows=cut.rows.assign(clean=-0.001))
    assert draw_knockouts(flat).data[0].customdata[0][4] == "–"


@pytest.mark.parametrize("windows", [[(0, 3)], [(0, 1), (1, 2)]])
def test_knockouts_without_controls_are_drawn_and_say_so(windows: list[tuple[int, int]]) -> None:
    figure = draw_knockouts(knockouts(windows, n_controls=0))
    assert "without random edges" in words(figure)
    assert sum(panel.type == "bar" for panel in figure.data) == (len(windows) == 1)
    assert not any("random" in line[0] for panel in figure.data for line in panel.customdata)


@pytest.mark.parametrize(
    ("windows", "wanted"),
    [
        ([(0, 3)], ("layers 0 to 3", "pale: mean of 2 random sets")),
        ([(0, 0), (1, 1)], ("one layer at a time", "dashed: mean of 2 random sets")),
        ([(0, 1), (1, 2)], ("2 layers at a time", "same queries")),
    ],
)
def test_the_subtitle_says_how_many_layers_were_cut_at_once(
    windows: list[tuple[int, int]], wanted: tuple[str, str]
) -> None:
    said = words(draw_knockouts(knockouts(windows)))
    for part in (*wanted, "logit difference"):
        assert part in said


def test_path_cells_are_the_means_and_empty_where_no_path_leads() -> None:
    (panel,) = draw_paths(paths()).data
    assert (list(panel.x), list(panel.y)) == ([0, 1], [1, 2])
    assert [list(row) for row in panel.z] == [[-11.0, None], [-10.0, 0.0]]
    assert [list(row) for row in panel.text] == [[signed("-11.00"), ""], [signed("-10.00"), "0.00"]]
    assert list(panel.customdata[0][0]) == [signed("-11.00 nats"), signed("-55%")]
    assert "layer %{x} to layer %{y}" in panel.hovertemplate


def test_colours_of_paths_diverge_around_zero_and_not_below_a_tenth_of_the_difference() -> None:
    axis = draw_paths(paths()).layout.coloraxis
    assert (axis.cmin, axis.cmid, axis.cmax) == (-11, 0, 11)
    faint = replace(paths(), rows=paths().rows.assign(effect=0.001))
    assert draw_paths(faint).layout.coloraxis.cmax == 2  # a tenth of 20
    nothing = replace(paths(), rows=paths().rows.assign(effect=0.0, clean=0.0, reference=0.0))
    assert draw_paths(nothing).layout.coloraxis.cmax == 1


def test_each_sending_head_has_a_panel_and_every_column_of_panels_its_axis() -> None:
    figure = draw_paths(paths(heads=tuple(range(6))))
    assert len(figure.data) == 6
    titles = [note.text for note in figure.layout.annotations]
    assert titles == [f"attn.hook_z, head {head}" for head in range(6)]
    assert {panel.yaxis for panel in figure.data} == {"y", "y2", "y3", "y4", "y5", "y6"}
    lowest = [figure.layout[f"xaxis{n}"] for n in (3, 4, 5, 6)]
    assert all(axis.title.text == "sending layer" and axis.showticklabels for axis in lowest)


def test_paths_into_all_layers_at_once_are_bars_by_sending_layer() -> None:
    figure = draw_paths(paths(heads=(0, 1), each_layer=False))
    assert [panel.type for panel in figure.data] == ["bar", "bar"]
    for panel in figure.data:
        assert (list(panel.x), list(panel.y)) == ([0, 1], [-13.0, -3.0])
        assert list(panel.customdata[1]) == [signed("-3.00 nats"), signed("-15%")]
    low, high = figure.layout.yaxis.range
    assert low < -13
    assert high > 0
    assert "all layers above" in words(figure)


def test_numbers_of_many_paths_are_left_to_the_hover() -> None:
    (panel,) = draw_paths(paths(n_layers=12)).data
    assert panel.texttemplate is None
    assert panel.customdata[-1][0][0] == signed("-1.00 nats")


def test_the_paths_subtitle_names_outcome_and_receivers() -> None:
    for part in ("logit difference", "attn.hook_k, attn.hook_v", "one layer", "held still"):
        assert part in words(draw_paths(paths()))


def test_points_are_mean_attributions_against_mean_exact_effects(
    attribution: Attribution,
) -> None:
    _, points, ticks = draw_attribution(attribution).data
    assert (list(points.x), list(points.y)) == ([5.0, 2.0, -1.0], [3.0, 1.0, -0.5])
    assert list(points.marker.symbol) == ["circle", "circle-open", "circle-open"]
    assert list(ticks.y) == [0.25]
    assert list(points.customdata[1]) == [
        "hook_resid_pre, layer 1, slot 1",
        "1.00 nats",
        "2.00 nats",
        "1 of 2",
    ]


def test_equal_attribution_and_effect_lie_on_the_dotted_line(attribution: Attribution) -> None:
    figure = draw_attribution(attribution)
    line = figure.data[0]
    assert line.x == line.y == figure.layout.xaxis.range == figure.layout.yaxis.range
    assert line.x[0] < -1
    assert line.x[1] > 5


def test_the_title_says_that_attribution_only_ranks(attribution: Attribution) -> None:
    said = words(draw_attribution(attribution))
    for part in ("only ranks", "1 without exact effect", "some pairs only", "0.25 nats", "latents"):
        assert part in said
    everywhere = replace(attribution, rows=attribution.rows.assign(exact=1.0))
    said = words(draw_attribution(everywhere))
    assert "without exact" not in said
    assert "some pairs only" not in said


def test_a_label_that_would_cover_another_is_left_out(attribution: Attribution) -> None:
    slots = attribution.rows["slot"]
    guess = slots.map({0: 9.0, 1: 3.0, 2: 2.999, 3: 2.998})
    exact = slots.map({0: 11.0, 1: 5.0, 2: 4.998, 3: 4.999})
    crowded = replace(attribution, rows=attribution.rows.assign(attribution=guess, exact=exact))
    points = draw_attribution(crowded).data[1]
    wanted = ["layer 1, slot 0", "layer 1, slot 1", "layer 1, slot 2", ""]
    assert [label.strip() for label in points.text] == wanted
    assert list(points.textposition[:3]) == ["middle left", "middle right", "middle left"]


def test_each_hook_has_its_colour_and_a_place_in_the_legend(attribution: Attribution) -> None:
    rows = [attribution.rows, attribution.rows.assign(hook="attn.hook_z", head=2)]
    figure = draw_attribution(replace(attribution, rows=pd.concat(rows)))
    named = [line for line in figure.data if line.name]
    assert [line.name for line in named] == ["hook_resid_pre", "attn.hook_z"]
    assert named[0].marker.color != named[1].marker.color
    assert figure.layout.showlegend
    assert named[1].customdata[0][0] == "attn.hook_z, layer 1, head 2, slot 0"


def test_logit_differences_are_in_nats_and_probabilities_have_no_unit(
    attribution: Attribution,
) -> None:
    for draw, result in (
        (draw_knockouts, knockouts([(0, 3)])),
        (draw_knockouts, knockouts([(0, 1), (1, 2)])),
        (draw_paths, paths()),
        (draw_paths, paths(each_layer=False)),
        (draw_attribution, attribution),
    ):
        assert "nats" in str(draw(result).to_dict())
        assert "nats" not in str(draw(result, "probability").to_dict())
        assert any("nats" in title for title in axes(draw(result))) or draw is draw_paths


def test_a_named_outcome_is_drawn_instead_of_the_first(attribution: Attribution) -> None:
    cut = draw_knockouts(knockouts([(0, 3)]), "probability").data[0]
    np.testing.assert_allclose(cut.x, [-0.4, 0.0], atol=1e-12)
    assert cut.text[0] == signed("-0.400")
    assert draw_paths(paths(), "probability").data[0].z[0][0] == pytest.approx(-1.1)
    points = draw_attribution(attribution, "probability").data[1]
    np.testing.assert_allclose(points.x, [0.5, 0.2, -0.1])


@pytest.mark.parametrize("draw", [draw_knockouts, draw_paths, draw_attribution])
def test_an_outcome_that_was_not_measured_is_refused_with_those_that_were(
    attribution: Attribution, draw: Callable[..., go.Figure]
) -> None:
    results = {
        draw_knockouts: knockouts([(0, 3)]),
        draw_paths: paths(),
        draw_attribution: attribution,
    }
    with pytest.raises(UnknownNameError, match=r"'surprise'.*logit difference, probability"):
        draw(results[draw], "surprise")


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_names_reaches_no_label(attribution: Attribution, text: str) -> None:
    odd: list[go.Figure] = []
    for windows in ([(0, 3)], [(0, 1), (1, 2)]):
        cut = knockouts(windows)
        odd.append(draw_knockouts(Knockouts(cut.rows.assign(edges=text, outcome=text), (text,))))
    for each_layer in (True, False):
        rows = paths(each_layer=each_layer).rows
        rows = rows[rows["outcome"] == "probability"].assign(sender=text, receiver=text)
        odd.append(draw_paths(Paths(rows.assign(outcome=text), text, text, (text,))))
    rows = attribution.rows[attribution.rows["outcome"] == "probability"]
    sums = attribution.completeness.assign(outcome=text)
    odd.append(
        draw_attribution(
            Attribution(rows.assign(hook=text, outcome=text), sums, text, text, text, (text,))
        )
    )
    for figure in odd:
        assert text not in str(figure.to_dict())
        assert "&lt;" in words(figure)
