"""Attention of slots is the model's own, and its floor is another sample's region."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import mindseye as me
from mindseye.errors import EditError, SampleError, UnknownNameError
from mindseye.readouts.attending import (
    MEAN,
    Attention,
    attention,
    slot_patterns,
)
from mindseye.reasoners.grids import coverage, token_grid
from tests.engine.branches_strategy import EXACT, prompt, said
from tests.engine.branches_strategy import reasoner as tiny_reasoner

pytestmark = pytest.mark.model

N = 6


@contextlib.contextmanager
def eager(model):
    text = model.config.get_text_config()
    before = text._attn_implementation

    def choose(kind):
        model.set_attn_implementation(kind if text is model.config else {"text_config": kind})

    choose("eager")
    yield
    choose(before)


def own_patterns(trace: me.Trace) -> torch.Tensor:
    """What the stock decoder says of its attention when asked for it."""
    model, row = trace.reasoner.model, trace.reasoner.architecture
    fed = trace.prefill()
    with eager(model), torch.no_grad():
        out = row.text_decoder(model)(
            inputs_embeds=fed.embeds,
            position_ids=fed.position_ids if row.grid_positions else fed.position_ids[0],
            use_cache=False,
            output_attentions=True,
        )
    return torch.stack([layer[0] for layer in out.attentions])[:, :, trace.latent_positions]


@pytest.mark.parametrize(
    "model_type",
    ["qwen2_vl", "qwen2_5_vl", "llava_onevision", "internvl", "smolvlm", "llama", "qwen2", "gpt2"],
)
def test_patterns_are_those_that_transformers_gives_out(model_type):
    trace = said(model_type)
    patterns = slot_patterns(trace)
    torch.testing.assert_close(patterns.weights, own_patterns(trace), **EXACT)
    assert (patterns.n_keys == trace.latent_positions + 1).all()


def test_a_sliding_windows_patterns_are_those_that_transformers_gives_out():
    ours = tiny_reasoner("gemma3", segments="one")
    trace = ours.run(prompt("gemma3", n_images=0), max_new_tokens=8, force_start=True)
    patterns = slot_patterns(trace)
    torch.testing.assert_close(patterns.weights, own_patterns(trace), **EXACT)
    keys = (patterns.weights > 0).sum(dim=-1).amax(dim=1)
    assert (patterns.n_keys == keys).all()
    assert len(set(patterns.n_keys[:, -1].tolist())) == 2  # some layers slide, some do not


def test_patterns_are_those_of_the_cache(trace):
    patterns = slot_patterns(trace)
    for layer, weights in enumerate(patterns.weights):
        held = trace.cache[f"blocks.{layer}.attn.hook_pattern"][0][:, trace.latent_positions]
        torch.testing.assert_close(weights, held)


def test_cut_edges_get_nothing_and_count_as_no_keys(organism, samples):
    from mindseye.reasoners import Knockout

    free = organism("mediator")
    cut = replace(free, wiring=(*free.wiring, Knockout("latents", "image")))
    run = cut.run(samples[0], force_start=True)
    patterns = slot_patterns(run)
    assert patterns.weights[..., run.spans["image"]].abs().max() == 0
    n_image = len(run.spans["image"])
    assert (patterns.n_keys == run.latent_positions + 1 - n_image).all()


@pytest.fixture(scope="module")
def runs(organism):
    ours = organism("mediator")
    return [ours.run(sample) for sample in me.task("digits").samples(N)]


@pytest.fixture(scope="module")
def found(runs) -> Attention:
    return attention(runs[0].reasoner, runs)


def test_there_is_a_row_per_run_slot_layer_and_head(found, runs):
    frame = found.to_frame()
    heads = sorted(set(frame["head"]))
    assert heads[0] == MEAN
    n_slots = len(runs[0].latent_positions)
    assert len(frame) == N * 4 * n_slots * len(heads)
    assert not frame.duplicated(["run", "slot", "layer", "head"]).any()
    np.testing.assert_allclose(frame[[*found.to, "other"]].sum(axis=1), 1, atol=1e-5)
    assert frame["normalised"].between(0, 1 + 1e-6).all()


def test_rows_are_the_measures_of_their_pattern(found, runs):
    for row in found.to_frame().sample(20, random_state=0).itertuples():
        trace = runs[row.run]
        weights = slot_patterns(trace).weights[row.layer, :, row.slot].double()
        pattern = weights.mean(dim=0) if row.head == MEAN else weights[row.head]
        # The span also holds a token that frames the picture.
        assert row.image == pytest.approx(float(pattern[trace.spans["image"]].sum()), abs=1e-5)
        seen = pattern[token_grid(trace).positions].numpy()
        assert row.latents == pytest.approx(float(pattern[trace.spans["latents"]].sum()), abs=1e-5)
        spread = -float((pattern[pattern > 0] * pattern[pattern > 0].log()).sum())
        assert row.entropy == pytest.approx(spread, abs=1e-4)
        position = int(trace.latent_positions[row.slot])
        assert row.normalised == pytest.approx(spread / math.log(position + 1), abs=1e-4)
        covers = [
            coverage(each.sample.regions["target"], each.sample.image.shape[:2], 4, 4)
            for each in runs
        ]
        ratios = [(seen * c).sum() / seen.sum() / c.mean() for c in covers]
        assert row.enrichment == pytest.approx(ratios[row.run], abs=1e-4)
        assert row.elsewhere == pytest.approx(np.delete(ratios, row.run).mean(), abs=1e-4)


def test_summaries_are_means_over_runs(found):
    mean = found.summary(["image"], by=("layer", "head")).set_index(["layer", "head"])
    wanted = found.to_frame().groupby(["layer", "head"])["image"].mean()
    for key, value in mean["value"].items():
        assert value == pytest.approx(wanted.loc[key])
    row = found.summary(["excess"]).iloc[1]
    assert row["low"] < row["value"] < row["high"]
    assert row["n"] == N
    with pytest.raises(UnknownNameError, match="names something this result lacks"):
        found.summary(["depth"])
    with pytest.raises(UnknownNameError, match="groups by"):
        found.summary(by=("run",))


def test_regions_of_pictures_of_other_sizes_are_scaled(runs):
    wide = replace(
        runs[1].sample,
        images=(np.kron(runs[1].sample.image, np.ones((1, 2, 1), np.uint8)),),
        regions={"target": _doubled(runs[1].sample.regions["target"])},
    )
    ours = runs[0].reasoner
    two = [runs[0], replace(runs[1], sample=wide)]
    own = attention(ours, runs[:2]).to_frame().query("run == 0")["elsewhere"]
    scaled = attention(ours, two).to_frame().query("run == 0")["elsewhere"]
    np.testing.assert_allclose(scaled, own)


def test_one_run_has_no_other_regions_and_none_are_used_if_not_wanted(runs):
    ours = runs[0].reasoner
    for given in (attention(ours, runs[:1]), attention(ours, runs, floor=False)):
        assert given.to_frame()["elsewhere"].isna().all()
        assert given.to_frame()["enrichment"].notna().all()


def test_without_a_region_there_is_no_enrichment(runs):
    found = attention(runs[0].reasoner, runs, region=None, heads=False)
    assert "enrichment" not in found.to_frame()
    assert set(found.to_frame()["head"]) == {MEAN}
    assert found.gazes[0].box is None


def test_a_text_model_has_no_picture():
    trace = said("qwen2")
    found = attention(trace.reasoner, [trace], region=None)
    assert not found.gazes
    assert (found.to_frame()["image"] == 0).all()
    with pytest.raises(UnknownNameError, match="pictures of runs none"):
        found.picture()


def test_what_cannot_be_measured_is_refused(runs):
    ours, sample = runs[0].reasoner, runs[0].sample
    plain = ours.run(sample, max_new_tokens=2, imagine=False)
    with pytest.raises(EditError, match="has no latents"):
        attention(ours, [plain])
    outside = replace(sample, regions={"target": (0, 0, 65, 10)})
    with pytest.raises(SampleError, match="in its picture of 64x64"):
        attention(ours, [replace(runs[0], sample=outside)])
    with pytest.raises(SampleError, match="has no region 'target'"):
        attention(ours, [replace(runs[0], sample=replace(sample, regions={}))])
    with pytest.raises(SampleError, match="no region 'sky'"):
        attention(ours, runs, region="sky")
    with pytest.raises(SampleError, match="1 clusters for 6 runs"):
        attention(ours, runs, clusters=["a"])


def test_a_region_on_an_unknown_grid_is_refused(runs):
    trace = replace(said("llava_onevision"), sample=runs[0].sample)
    with pytest.raises(SampleError, match="make no known grid"):
        attention(trace.reasoner, [trace])


def _doubled(box):
    left, top, right, bottom = box
    return 2 * left, top, 2 * right, bottom
