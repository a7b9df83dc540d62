"""Attention knockout by named edges, against whole replays with the same edges cut."""

import functools

import pytest
import torch

import mindseye as me
from mindseye.engine import EDGES, knock_out
from mindseye.engine.knockouts import edges_between, random_edges
from mindseye.errors import EditError, SampleError
from mindseye.reasoners import Edges, Knockout
from tests.engine.random_twins import VARIED, differences, in_double, serve, twins
from tests.tiny import FIRST_WORD

pytestmark = pytest.mark.model

FORCED = (FIRST_WORD + 2, FIRST_WORD + 3)
"""So that several positions follow the latents."""

NAMED = {
    name: (Knockout(target, source),)
    for name, (source, target) in EDGES.items()
    if name != "markers to answer"
} | {"markers to answer": (Knockout("post", "start"), Knockout("answer", "end"))}
"""The same edges in the words of replays, none of which cuts a position from itself."""

every_model = pytest.mark.parametrize("model_type", VARIED)


@functools.cache
def pairs():
    return me.task("digits").pairs(3, seed=2)


@pytest.mark.parametrize("window", [None, 1, 2, 3])
@every_model
def test_named_edges_are_cut_as_in_a_replay(monkeypatch, model_type, window):
    both = twins(model_type, FORCED)
    ours = both.clean.reasoner
    rows = knock_out(ours, serve(monkeypatch, both), window=window, n_controls=0).rows
    width = 3 if window is None else window
    wanted = [(name, at, at + width - 1) for name in EDGES for at in range(4 - width)]
    assert list(zip(rows["edges"], rows["first_layer"], rows["last_layer"], strict=True)) == wanted
    for row in rows.to_dict("records"):
        layers = tuple(range(row["first_layer"], row["last_layer"] + 1))
        cuts = [Knockout(cut.target, cut.source, layers) for cut in NAMED[row["edges"]]]
        (alone,) = differences(ours.replay(both.clean, knockouts=cuts), both.parting)
        assert row["value"] == pytest.approx(alone.item(), abs=1e-9)
        assert row["effect"] == row["value"] - row["clean"]


@every_model
def test_a_span_that_reads_itself_loses_earlier_positions_only(monkeypatch, model_type):
    both = twins(model_type)
    ours, slots = both.clean.reasoner, both.clean.latent_positions.tolist()
    rows = knock_out(
        ours, serve(monkeypatch, both), edges={"slots": ("latents", "latents")}, n_controls=0
    ).rows
    targets, sources = zip(*[(q, k) for q in slots for k in slots if k < q], strict=True)
    assert rows["n_edges"].tolist() == [3]
    cut = Edges(torch.tensor(targets), torch.tensor(sources))
    (alone,) = differences(ours.replay(both.clean, knockouts=[cut]), both.parting)
    assert rows["value"].tolist() == pytest.approx([alone.item()], abs=1e-9)
    assert rows["effect"].abs().min() > 1e-6


@every_model
def test_controls_are_as_many_other_edges_of_the_same_queries(model_type):
    trace = twins(model_type, FORCED).clean
    for source, target in EDGES.values():
        real = edges_between(trace, source, target)
        drawn = random_edges(trace, real, torch.Generator().manual_seed(1))
        assert set(drawn[:, 0].tolist()) <= set(real[:, 0].tolist())
        assert (drawn[:, 1] < drawn[:, 0]).all()
        cut, other = (set(map(tuple, each.tolist())) for each in (real, drawn))
        assert len(other) == len(drawn)
        assert not cut & other
        for query in real[:, 0].unique().tolist():
            n_cut = int((real[:, 0] == query).sum())
            assert int((drawn[:, 0] == query).sum()) == min(n_cut, query - n_cut)


def test_a_query_with_few_other_keys_loses_all_of_them(monkeypatch):
    """Three latents after six words and a marker: 18 edges, and 1 + 2 + 3 others."""
    both = twins("llama")
    edges = {"words": ("question", "latents")}
    grid = knock_out(both.clean.reasoner, serve(monkeypatch, both), edges=edges, n_controls=2)
    assert grid.rows["n_edges"].tolist() == [18, 6, 6]
    assert grid.rows["value"].nunique() == 2


@pytest.mark.parametrize("window", [None, 2])
def test_controls_are_cut_as_in_a_replay_and_drawn_once_for_all_windows(monkeypatch, window):
    both = twins("qwen2_5_vl", FORCED)
    ours = both.clean.reasoner
    edges = {"words": ("question", "post")}
    rows = knock_out(
        ours, serve(monkeypatch, both), edges=edges, n_controls=3, window=window, seed=5
    ).rows
    draw = torch.Generator().manual_seed(5)
    real = edges_between(both.clean, *edges["words"])
    sets = {control: random_edges(both.clean, real, draw) for control in range(3)}
    drawn = rows[rows["control"] >= 0]
    assert len(drawn) == 3 * (1 if window is None else 2)
    for row in drawn.to_dict("records"):
        each = sets[row["control"]]
        layers = tuple(range(row["first_layer"], row["last_layer"] + 1))
        cut = Edges(each[:, 0], each[:, 1], layers)
        (alone,) = differences(ours.replay(both.clean, knockouts=[cut]), both.parting)
        assert row["n_edges"] == len(each)
        assert row["value"] == pytest.approx(alone.item(), abs=1e-9)


def test_a_seed_draws_the_same_controls_and_another_one_others(organism):
    first, again, other = (
        me.knock_out(organism("natural"), pairs()[:2], seed=seed).rows for seed in (3, 3, 4)
    )
    assert first.equals(again)
    real = first["control"] < 0
    assert first[real]["value"].tolist() == pytest.approx(other[real]["value"].tolist(), abs=1e-4)
    assert not first[~real]["value"].equals(other[~real]["value"])


def test_an_answer_that_reads_only_latents_is_moved_by_cutting_no_others():
    """All the mediator's end marker reads is the latents and itself."""
    grid = me.knock_out(in_double("mediator"), pairs(), n_controls=0)
    effects = grid.rows.groupby("edges")["effect"].apply(lambda each: each.abs().max())
    for name in ("image to answer", "question to answer", "markers to answer"):
        assert effects[name] <= 1e-9
    for name in ("image to latents", "latents to answer"):
        assert effects[name] > 1


def test_without_its_latents_the_mediators_end_marker_reads_itself_and_nothing_of_the_sample():
    """Cutting all it may read is no error, and every sample is then the same to it."""
    rows = me.knock_out(
        in_double("mediator"),
        pairs(),
        edges={"latents": ("latents", "post")},
        n_controls=0,
        outcome=lambda logits, _: logits[..., :50].double().sum(dim=-1),
    ).rows
    assert len(rows) == 3
    assert rows["value"].max() - rows["value"].min() <= 1e-8
    assert rows["clean"].max() - rows["clean"].min() > 1e-2


def test_latents_that_nothing_reads_can_be_cut_from_the_image_and_from_the_answer():
    grid = me.knock_out(in_double("bypass"), pairs(), n_controls=0)
    effects = grid.rows.groupby("edges")["effect"].apply(lambda each: each.abs().max())
    for name in ("image to latents", "question to latents", "latents to answer"):
        assert effects[name] <= 1e-9
    assert effects["markers to answer"] <= 1e-9
    assert effects["image to answer"] > 0.1


def test_edges_that_a_run_does_not_have_do_nothing(monkeypatch):
    both = twins("llama")
    edges = {"image": ("image", "post")}
    grid = knock_out(both.clean.reasoner, serve(monkeypatch, both), edges=edges, n_controls=1)
    assert grid.rows["n_edges"].tolist() == [0, 0]
    assert grid.rows["effect"].tolist() == [0, 0]


def test_the_mean_holds_edges_beside_their_controls(organism):
    grid = me.knock_out(
        organism("natural"), pairs(), window=2, outcome=["probability", "logit_difference"]
    )
    means = grid.mean()
    assert len(means) == len(EDGES) * 3 * 2
    row = means.iloc[7]
    keys = ["edges", "first_layer", "last_layer", "outcome"]
    mine = grid.rows[(grid.rows[keys] == row[keys]).all(axis=1)]
    assert len(mine) == 3 * 5
    assert row["effect"] == pytest.approx(mine[mine["control"] < 0]["effect"].mean())
    assert row["control"] == pytest.approx(mine[mine["control"] >= 0]["effect"].mean())


@pytest.mark.parametrize("window", [0, -1, 5])
def test_a_window_that_the_layers_do_not_hold_is_refused(organism, window):
    with pytest.raises(EditError, match="does not fit a model of 4"):
        me.knock_out(organism("mediator"), pairs(), window=window)


def test_a_span_that_does_not_exist_is_refused(organism):
    with pytest.raises(EditError, match="there are system, image"):
        me.knock_out(organism("mediator"), pairs(), edges={"dream": ("dreams", "post")})


def test_no_pair_is_no_empty_table(organism):
    with pytest.raises(SampleError, match="None of 0 pairs"):
        me.knock_out(organism("mediator"), [])
