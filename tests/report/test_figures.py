"""Figures show the numbers of their frames, and nothing that data smuggles in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch

from mindseye.causal import EFFECTS, Margin, Mediation, Verdict
from mindseye.engine import Grid
from mindseye.errors import UnknownNameError
from mindseye.report import draw_mediation, draw_sweep, draw_trace
from mindseye.report.diagram import draw_diagram
from mindseye.studies import Audit
from tests.report.audits import HOSTILE, altered

pytestmark = pytest.mark.model


@pytest.fixture
def two_hooks() -> Grid:
    """A grid whose means are known: 10 x layer + slot, minus 15, of a difference of 20."""
    rows = [
        {"pair": pair, "hook": hook, "head": -1, "layer": layer, "slot": slot, "value": 0.0}
        | {
            "outcome": "logit difference",
            "clean": 12.0,
            "reference": -8.0,
            "effect": 10.0 * layer + slot - 15 + (pair == "a") - (pair == "b"),
        }
        for pair in ("a", "b")
        for hook in ("hook_resid_pre", "attn.hook_z")
        for layer in (0, 1, 3)
        for slot in (0, 1)
    ]
    return Grid(
        pd.DataFrame(rows), at="latents", direction="denoising", outcomes=("logit difference",)
    )


def test_results_find_their_figures_by_name(found: Audit) -> None:
    assert isinstance(found.mediation.plot(), go.Figure)
    assert isinstance(found.grid.heatmap(), go.Figure)
    assert isinstance(found.examples[0].show(), go.Figure)


@pytest.mark.parametrize("stacked", [False, True])
def test_every_level_has_a_panel_with_its_means(found: Audit, stacked: bool) -> None:
    figure = draw_mediation(found.mediation, stacked=stacked)
    frame = found.mediation.effects
    assert len(figure.data) == frame["level"].nunique()
    for panel, level in zip(figure.data, found.mediation.verdicts, strict=True):
        rows = frame[frame["level"] == level].set_index("effect").loc[list(EFFECTS)]
        assert list(panel.y) == [name.upper() for name in EFFECTS]
        assert list(panel.x) == rows["mean"].to_list()


def test_error_bars_end_where_intervals_do(found: Audit) -> None:
    panel = draw_mediation(found.mediation).data[0]
    rows = found.mediation.effects.set_index(["level", "effect"]).loc["embedding"]
    rows = rows.loc[list(EFFECTS)]
    np.testing.assert_allclose(np.add(panel.x, panel.error_x.array), rows["high"])
    np.testing.assert_allclose(np.subtract(panel.x, panel.error_x.arrayminus), rows["low"])


def test_an_unbounded_interval_has_no_bar(found: Audit) -> None:
    open_ended = found.mediation.effects.assign(low=-np.inf, high=np.inf)
    panel = draw_mediation(altered(found.mediation, {"effects": open_ended})).data[0]
    assert np.isnan(np.asarray(panel.error_x.array, float)).all()


def test_panels_are_titled_with_level_and_verdict(found: Audit) -> None:
    titles = [note.text for note in draw_mediation(found.mediation).layout.annotations]
    assert len(titles) == 3
    for title, (level, verdict) in zip(titles, found.mediation.verdicts.items(), strict=True):
        assert level in title
        assert verdict.word in title


def test_another_outcome_is_drawn_without_verdicts_or_unit(found: Audit) -> None:
    first = found.mediation.effects
    second = first.assign(outcome="probability", mean=first["mean"] / 100)
    both = altered(found.mediation, {"effects": pd.concat([first, second])})
    figure = draw_mediation(both, "probability")
    rows = second[second["level"] == "kv"].set_index("effect").loc[list(EFFECTS)]
    assert list(figure.data[1].x) == rows["mean"].to_list()
    assert [note.text for note in figure.layout.annotations] == [
        f"<b>{level}</b>" for level in found.mediation.verdicts
    ]
    assert {axis.title.text for axis in figure.select_xaxes()} == {"probability"}
    assert "nats" not in str(figure.to_dict())
    shown = [100 * x for x in figure.data[1].x]
    assert list(draw_mediation(both).data[1].x) == pytest.approx(shown)


def test_an_outcome_that_was_not_measured_is_refused(found: Audit) -> None:
    with pytest.raises(UnknownNameError, match="No outcome 'flip'"):
        draw_mediation(found.mediation, "flip")


def test_a_zero_line_runs_through_every_panel(found: Audit) -> None:
    figure = draw_mediation(found.mediation)
    axes = list(figure.select_xaxes())
    assert len(axes) == 3
    assert all(axis.zeroline and axis.range[0] < 0 < axis.range[1] for axis in axes)


def test_heatmap_cells_are_the_grids_means(found: Audit) -> None:
    (panel,) = draw_sweep(found.grid).data
    means = found.grid.mean().set_index(["layer", "slot"])["effect"]
    for i, layer in enumerate(panel.y):
        for j, slot in enumerate(panel.x):
            assert panel.z[i][j] == pytest.approx(means.loc[layer, slot])


def test_each_hook_has_a_panel_on_one_scale_around_zero(two_hooks: Grid) -> None:
    figure = draw_sweep(two_hooks)
    assert [note.text for note in figure.layout.annotations] == ["hook_resid_pre", "attn.hook_z"]
    assert {panel.coloraxis for panel in figure.data} == {"coloraxis"}
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmid, axis.cmax) == (-16, 0, 16)


def test_a_cells_hover_gives_effect_and_share(two_hooks: Grid) -> None:
    panel = draw_sweep(two_hooks).data[0]
    assert list(panel.y) == [0, 1, 3]
    assert list(panel.customdata[2][1]) == ["16.00 nats", "80%"]
    assert "layer %{y}, slot %{x}" in panel.hovertemplate


def test_the_sweeps_title_names_metric_site_and_direction(two_hooks: Grid) -> None:
    said = draw_sweep(two_hooks).layout.title.subtitle.text
    for part in ("logit difference", "hook_resid_pre", "latents", "denoising"):
        assert part in said


@pytest.mark.parametrize("effect", [0.0, 0.001])
def test_a_map_of_nothing_looks_like_nothing(two_hooks: Grid, effect: float) -> None:
    faint = replace(two_hooks, rows=two_hooks.rows.assign(effect=effect))
    assert draw_sweep(faint).layout.coloraxis.cmax == 2  # a tenth of the whole difference of 20


def test_a_grid_without_any_difference_is_still_drawn(two_hooks: Grid) -> None:
    flat = replace(two_hooks, rows=two_hooks.rows.assign(effect=0.0, clean=0.0, reference=0.0))
    assert draw_sweep(flat).layout.coloraxis.cmax == 1


def test_a_trace_has_the_image_and_one_panel_per_slot(found: Audit) -> None:
    trace = found.examples[0]
    figure = draw_trace(trace)
    kinds = [panel.type for panel in figure.data]
    assert kinds.count("image") == 1 + len(trace.latents)
    assert kinds.count("heatmap") == len(trace.latents)


def test_a_slots_panel_shows_its_mean_attention_to_the_image(found: Audit) -> None:
    trace = found.examples[0]
    panel = next(panel for panel in draw_trace(trace).data if panel.type == "heatmap")
    image = (trace.prompt_ids == trace.reasoner.model.config.image_token_id).nonzero()[:, 0]
    patterns = [trace.cache[f"blocks.{i}.attn.hook_pattern"][0] for i in range(4)]
    wanted = torch.stack(patterns).mean(dim=(0, 1))[trace.segments[0].slots[0], image]
    np.testing.assert_allclose(np.ravel(panel.z), wanted, atol=1e-6)
    assert np.shape(panel.z) == (4, 4)


def test_a_slots_caption_is_what_the_output_head_makes_of_it(found: Audit) -> None:
    trace = found.examples[0]
    best = trace.reasoner.model.lm_head(trace.latents[:1]).topk(3).indices[0].tolist()
    caption = draw_trace(trace).layout.xaxis2.title.text
    assert caption.count("<br>") == len(best)
    assert "on the image" in caption


def test_a_run_without_latents_is_only_its_image(found: Audit) -> None:
    trace = found.examples[0]
    plain = trace.reasoner.run(trace.sample, max_new_tokens=4, imagine=False)
    figure = draw_trace(plain)
    assert [panel.type for panel in figure.data] == ["image"]
    assert "no latents" in figure.layout.title.subtitle.text


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_names_reaches_no_label(found: Audit, two_hooks: Grid, text: str) -> None:
    effects = found.mediation.effects[found.mediation.effects["level"] == "kv"]
    odd = altered(
        found.mediation,
        {"effects": effects.assign(level=text, outcome=text)},
        verdicts={text: Verdict(text, (text,))},
        outcome=text,
    )
    rows = two_hooks.rows.assign(hook=text, outcome=text)
    grid = replace(two_hooks, rows=rows, at=text, direction=text, outcomes=(text,))
    for figure in (draw_mediation(odd), draw_sweep(grid)):
        assert text not in str(figure.to_dict())


def test_arrow_widths_share_the_total_effect(found: Audit) -> None:
    halves = {"te": 4, "pde": 1, "tde": 1, "pie": 3, "tie": 3, "int": 0}
    diagram = draw_diagram(_mediation(found, halves, "mediates"), "kv")
    into, out, direct = diagram.arrows
    assert into.width == out.width
    assert (into.width - 2) / (direct.width - 2) == pytest.approx(3, rel=0.05)
    assert (into.kind, direct.kind) == ("indirect", "direct")
    assert "75% of the total effect runs through the latents" in diagram.description


def test_a_negligible_path_is_grey(found: Audit) -> None:
    idle = {"te": 4, "pde": 4, "tde": 4, "pie": 0, "tie": 0, "int": 0}
    into, _, direct = draw_diagram(_mediation(found, idle, "negligible"), "kv").arrows
    assert (into.kind, direct.kind) == ("negligible", "direct")


def test_without_a_total_effect_no_path_is_coloured(found: Audit) -> None:
    none = dict.fromkeys(EFFECTS, 0.0)
    diagram = draw_diagram(_mediation(found, none, "inconclusive"), "kv")
    assert {arrow.kind for arrow in diagram.arrows} == {"negligible"}
    assert "no total effect" in diagram.description


def test_long_numbers_lose_their_decimals(found: Audit) -> None:
    wide = {"te": 400.4, "pde": 100.3, "tde": 100.3, "pie": 3.25, "tie": 3.25, "int": 0}
    diagram = draw_diagram(_mediation(found, wide, "mediates"), "kv")
    said = {block.name: (block.mean, block.interval) for block in diagram.blocks}
    assert said["PDE"] == ("100", "100 … 100")
    assert said["PIE"] == ("3.25", "3.15 … 3.35")


def test_a_diagram_names_the_unit_of_its_outcome(found: Audit) -> None:
    halves = {"te": 4, "pde": 1, "tde": 1, "pie": 3, "tie": 3, "int": 0}
    mediation = _mediation(found, halves, "mediates")
    assert draw_diagram(mediation, "kv").unit == "nats"
    effects, rows = (
        frame.assign(outcome="probability") for frame in (mediation.effects, mediation.rows)
    )
    odd = altered(mediation, {"effects": effects}, rows=rows, outcome="probability")
    assert draw_diagram(odd, "kv").unit == ""
    assert draw_diagram(odd, "kv").total == "4.000"


def _mediation(found: Audit, means: dict[str, float], word: str) -> Mediation:
    """A mediation at one level with given means, narrow intervals and a margin of 0.2."""
    rows = [
        {"level": "kv", "effect": name, "mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        for name, mean in means.items()
    ]
    frame = pd.DataFrame(rows).assign(flip_rate=0.0, outcome=found.mediation.outcome)
    return altered(
        found.mediation,
        {"effects": frame},
        rows=found.mediation.rows.assign(te=0.0),
        margin=Margin(absolute=0.2),
        verdicts={"kv": Verdict(word, ())},
    )
