"""The figure of a lens shows its table, and no markup of models or data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import plotly
import plotly.graph_objects as go
import pytest

from mindseye.errors import UnknownNameError
from mindseye.plugins import find
from mindseye.readouts.lenses import LATENT, Kind, Lens
from mindseye.report.figures.lens import draw_lens
from tests.report.audits import HOSTILE

LAYERS, SLOTS, RUNS, TOP = (LATENT, 0, 1), 3, 4, 2


def shown(
    kind: Kind = "logit", *, targets: bool = True, text: str = " red", floor: bool = True
) -> Lens:
    """A lens on made-up numbers: 4 runs, 3 slots, the latent and two layers."""
    rng = np.random.default_rng(0)
    places = [
        (run, slot, layer, rank)
        for run in range(RUNS)
        for slot in range(SLOTS)
        for layer in LAYERS
        for rank in range(TOP)
    ]
    rows = pd.DataFrame(places, columns=["run", "slot", "layer", "rank"]).assign(
        sample="s",
        token=1,
        text=text,
        score=lambda f: 0.9 - 0.4 * f["rank"],
        others=rng.random(len(places)) if floor else np.nan,
        permuted=0.1 if floor else np.nan,
        context=text,
    )
    hits = rows[rows["rank"] == 0][["run", "slot", "layer"]]
    hits = hits.assign(hit=(hits["run"] < 2).astype(float), others=0.25, permuted=0.0)
    return Lens(
        kind,
        rows,
        hits if targets else pd.DataFrame(),
        TOP,
        tuple(f"{text}{run}" for run in range(RUNS)),
        tuple(range(RUNS)),
        "the latent",
    )


def texts(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def test_the_figure_is_offered_by_name() -> None:
    found = shown()
    assert find("figure", "lens") is draw_lens
    assert found.plot(1) == draw_lens(found, 1)


def test_every_layer_and_slot_has_its_best_token() -> None:
    figure = draw_lens(shown(targets=False))
    (cells,) = figure.data
    assert list(cells.y) == ["layer 1", "layer 0", "latent"]
    assert texts(figure) == ["␣red"] * (SLOTS * len(LAYERS))


def test_colour_is_what_scores_above_other_runs() -> None:
    found = shown(targets=False)
    cells = draw_lens(found, 2).data[0]
    rows = found.rows.query("run == 2 and rank == 0").set_index(["layer", "slot"])
    excess = (rows["score"] - rows["others"]).clip(lower=0)
    for i, layer in enumerate((1, 0, LATENT)):
        for slot in range(SLOTS):
            assert cells.z[i][slot] == pytest.approx(excess.loc[(layer, slot)])


def test_without_other_runs_colour_is_told_by_permuted_entries() -> None:
    found = shown(targets=False)
    alone = replace(found, rows=found.rows.assign(others=np.nan))
    assert draw_lens(alone).data[0].z[0][0] == pytest.approx(0.8)
    assert "permuted entries" in draw_lens(alone).layout.title.subtitle.text
    bare = draw_lens(shown(targets=False, floor=False))
    assert bare.data[0].z[0][0] == pytest.approx(0.9)


def test_a_hover_gives_tokens_with_both_floors() -> None:
    hover = draw_lens(shown(targets=False)).data[0].customdata[0][0]
    assert hover.count("␣red") == TOP
    assert "90% (other runs" in hover
    assert "permuted 10%" in hover


@pytest.mark.parametrize("kind", ["latentlens", "patchscopes"])
def test_a_hover_gives_the_context(kind: Kind) -> None:
    hover = draw_lens(shown(kind, targets=False)).data[0].customdata[0][0]
    assert " red" in hover
    assert ("decoded" in hover) == (kind == "patchscopes")


def test_with_targets_a_panel_shows_how_often_they_are_hit() -> None:
    found = shown()
    _, own, others, permuted = draw_lens(found).data
    assert list(own.x) == [0.5] * 3
    assert list(others.x) == [0.25] * 3
    assert list(permuted.x) == [0.0] * 3
    rows = found.agreement().set_index("layer")
    assert own.x[0] + own.error_x.array[0] == pytest.approx(rows.loc[1, "high"])
    assert [trace.name for trace in (own, others, permuted)] == [
        "own latents",
        "other runs' latents",
        "entries permuted",
    ]


def test_a_run_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="there are 0 to 3"):
        draw_lens(shown(), 4)


@pytest.mark.parametrize("kind", ["logit", "latentlens", "patchscopes"])
@pytest.mark.parametrize("text", [*HOSTILE, "a\n‮b"])
def test_tokens_and_names_cannot_smuggle_markup_in(kind: Kind, text: str) -> None:
    drawn = str(draw_lens(replace(shown(kind, text=text), note=text)).to_dict())
    assert text not in drawn
    assert "<script" not in drawn
    assert "<img" not in drawn


def test_the_figure_survives_its_own_json() -> None:
    figure = draw_lens(shown())
    assert plotly.io.from_json(figure.to_json()) == figure
