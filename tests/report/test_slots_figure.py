"""The figure of single slots shows the means of its frame, on a scale that nothing looks like."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mindseye.errors import UnknownNameError
from mindseye.plugins import find
from mindseye.report import draw_slots
from tests.report.audits import HOSTILE

WAYS = {"frozen": 1.0, "rerolled": 2.0, "shapley": 3.0}


@pytest.fixture
def slots() -> pd.DataFrame:
    """Two slots in two pairs: a slot's means are its way's number, less one for the second."""
    rows = [
        {"pair": pair, "level": "embedding", "way": way, "slot": slot, "outcome": outcome}
        | {"effect": scale * (effect + shift)}
        for pair, shift in (("a", 0.5), ("b", -0.5))
        for outcome, scale in (("logit difference", 1.0), ("probability", 0.1))
        for way, slot, effect in [
            *((way, slot, size - slot) for way, size in WAYS.items() for slot in (0, 1)),
            *(("prefix", n, 2.0 * n) for n in (0, 1, 2)),
            ("joint", -1, 4.0),
        ]
    ]
    return pd.DataFrame(rows)


def traces(figure: go.Figure) -> dict[str, go.Scatter | go.Bar]:
    """Its traces by what the legend calls them; the prefix curve is not in it."""
    return {trace.name or "prefix": trace for trace in figure.data}


def test_every_way_shows_its_means_by_slot(slots: pd.DataFrame) -> None:
    drawn = traces(draw_slots(slots))
    assert list(drawn) == ["Shapley value", "alone, others held", "alone, later re-made", "prefix"]
    assert list(drawn["alone, others held"].y) == [1.0, 0.0]
    assert list(drawn["alone, later re-made"].y) == [2.0, 1.0]
    assert list(drawn["Shapley value"].y) == [3.0, 2.0]
    assert list(drawn["prefix"].x) == [0, 1, 2]
    assert list(drawn["prefix"].y) == [0.0, 2.0, 4.0]


def test_a_dotted_line_shows_all_slots_together(slots: pd.DataFrame) -> None:
    figure = draw_slots(slots)
    assert [(line.y0, line.line.dash) for line in figure.layout.shapes] == [(4.0, "dot")] * 2
    assert "all together, 4.00 nats" in figure.layout.title.subtitle.text


def test_it_has_a_title_panels_and_labelled_axes(slots: pd.DataFrame) -> None:
    layout = draw_slots(slots).layout
    assert layout.title.text == "Slot by slot"
    assert [note.text for note in layout.annotations] == [
        "one slot at a time",
        "the first slots forced",
    ]
    assert (layout.xaxis.title.text, layout.xaxis2.title.text) == ("latent slot", "slots forced")
    assert {layout.yaxis.title.text, layout.yaxis2.title.text} == {"nats"}


def test_hovering_gives_the_mean_and_where_pairs_lie(slots: pd.DataFrame) -> None:
    said = traces(draw_slots(slots))["alone, others held"].customdata[0]
    assert list(said) == ["slot 0, alone, others held", "1.00 nats", "0.55 to 1.45", "2"]


def test_another_outcome_has_its_own_unit(slots: pd.DataFrame) -> None:
    figure = draw_slots(slots, "probability")
    assert list(traces(figure)["prefix"].y) == pytest.approx([0.0, 0.2, 0.4])
    assert figure.layout.yaxis.title.text == "effect"
    assert "nats" not in str(figure.to_dict())
    with pytest.raises(UnknownNameError, match="No outcome 'flip'"):
        draw_slots(slots, "flip")


def test_a_level_without_forced_runs_has_one_panel(slots: pd.DataFrame) -> None:
    kv = slots[~slots["way"].isin(["prefix", "rerolled"])].assign(level="kv")
    figure = draw_slots(kv)
    assert list(traces(figure)) == ["Shapley value", "alone, others held"]
    assert len(figure.layout.annotations) == 1
    assert figure.layout.height < draw_slots(slots).layout.height


def test_runs_that_ended_elsewhere_do_not_count(slots: pd.DataFrame) -> None:
    gone = (slots["way"] == "rerolled") & (slots["pair"] == "a")
    drawn = traces(draw_slots(slots.assign(effect=slots["effect"].mask(gone))))
    assert list(drawn["alone, later re-made"].y) == [1.5, 0.5]
    assert drawn["alone, later re-made"].customdata[0][3] == "1"
    nowhere = slots["effect"].mask(slots["way"] == "rerolled")
    drawn = traces(draw_slots(slots.assign(effect=nowhere)))
    assert all(math.isnan(y) for y in drawn["alone, later re-made"].y)


@pytest.mark.parametrize("total", [20.0, -20.0])
def test_slots_that_do_nothing_look_like_it(slots: pd.DataFrame, total: float) -> None:
    faint = draw_slots(slots.assign(effect=1e-7), total=total).layout
    low, high = faint.yaxis.range
    assert faint.yaxis2.range == faint.yaxis.range
    assert max(abs(low), abs(high)) >= 2  # a tenth of the total effect


def test_a_figure_of_zeros_is_still_drawn(slots: pd.DataFrame) -> None:
    low, high = draw_slots(slots.assign(effect=0.0)).layout.yaxis.range
    assert np.isfinite([low, high]).all()
    assert low < 0 < high


def test_it_is_found_by_name() -> None:
    assert find("figure", "slots") is draw_slots


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_names_reaches_no_label(slots: pd.DataFrame, text: str) -> None:
    figure = draw_slots(slots.assign(level=text, outcome=text))
    assert text not in str(figure.to_dict())
