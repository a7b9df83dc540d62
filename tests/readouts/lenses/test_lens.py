"""What a lens tabulates, and the floors beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mindseye.errors import EditError, ModelError, SampleError, UnknownNameError
from mindseye.readouts.lenses import LATENT, Lens, lens, target_ids, unembedded
from mindseye.readouts.lenses.agreement import agreement
from mindseye.readouts.lenses.states import gather, permuted
from mindseye.reasoners import Reasoner, Trace

TOP = 3
COLUMNS = ["run", "sample", "slot", "layer", "rank", "token", "text", "score", "others", "permuted"]


def chances(reasoner: Reasoner, traces: list[Trace], layer: int) -> np.ndarray:
    """Every token's probability by run, slot and token, the slow way."""
    found = []
    for trace in traces:
        (states,) = gather(reasoner, [trace], [layer])
        logits = unembedded(
            reasoner, states.vectors, normed=states.normed, at_slots=states.at_slots
        )
        found.append(logits.softmax(dim=-1).detach().double().numpy())
    return np.stack(found)


@pytest.fixture(scope="module")
def found(reasoner: Reasoner, traces: list[Trace]) -> Lens:
    return lens(reasoner, traces, top=TOP, targets=["1", "2", "3", "1", "2"])


@pytest.mark.model
def test_there_is_a_row_per_run_slot_layer_and_rank(found, traces):
    frame = found.to_frame()
    assert list(frame) == COLUMNS
    n_slots = len(traces[0].latent_positions)
    assert len(frame) == len(traces) * n_slots * 5 * TOP
    assert sorted(set(frame["layer"])) == [LATENT, 0, 1, 2, 3]
    falling = frame.groupby(["run", "slot", "layer"])["score"]
    assert falling.apply(lambda scores: scores.is_monotonic_decreasing).all()


@pytest.mark.model
@pytest.mark.parametrize("layer", [LATENT, 2])
def test_scores_and_their_floor_of_other_runs_are_those_of_the_slow_way(
    found, reasoner, traces, layer
):
    every = chances(reasoner, traces, layer)
    rows = found.to_frame().query("layer == @layer")
    for row in rows.itertuples():
        column = every[:, row.slot, row.token]
        assert row.score == pytest.approx(column[row.run], abs=1e-6)
        assert row.others == pytest.approx(np.delete(column, row.run).mean(), abs=1e-6)


@pytest.mark.model
def test_permuted_vectors_keep_their_entries_and_lose_their_order():
    vectors = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    shuffled = permuted(vectors, torch.Generator().manual_seed(1))
    torch.testing.assert_close(shuffled.sort().values, vectors.sort().values)
    assert ((shuffled - vectors).abs().amax(dim=1) > 0.1).all()


@pytest.mark.model
def test_equal_seeds_give_equal_floors(found, reasoner, traces):
    again, other = (
        lens(reasoner, traces, top=TOP, targets=["1", "2", "3", "1", "2"], seed=seed)
        for seed in (0, 1)
    )
    pd.testing.assert_frame_equal(found.to_frame(), again.to_frame())
    assert not found.to_frame()["permuted"].equals(other.to_frame()["permuted"])


@pytest.mark.model
def test_hits_and_their_floor_are_those_of_the_slow_way(found, reasoner, traces):
    every = chances(reasoner, traces, LATENT)
    best = np.argsort(-every, axis=-1)[..., :TOP]
    words = ["1", "2", "3", "1", "2"]
    for row in found.shown.query("layer == -1").itertuples():
        holds = np.isin(best[:, row.slot], list(target_ids(reasoner, words[row.run]))).any(axis=1)
        assert row.hit == float(holds[row.run])
        assert row.others == pytest.approx(np.delete(holds, row.run).mean())


@pytest.mark.model
def test_a_lens_finds_the_word_that_a_mediator_writes_and_others_do_not(organism):
    import mindseye as me

    reasoner = organism("mediator")
    samples = me.task("digits").samples(16)
    answers = [sample.answer for sample in samples]
    own = lens(reasoner, samples, targets=answers, top=3, layers=[LATENT])
    wrong = lens(reasoner, samples, targets=answers[1:] + answers[:1], top=3, layers=[LATENT])
    assert own.agreement()["excess_low"].item() > 0.3
    assert wrong.agreement()["excess_low"].item() < 0.1


@pytest.mark.model
def test_one_run_has_no_other_runs(reasoner, traces):
    frame = lens(reasoner, traces[:1], top=1).to_frame()
    assert frame["others"].isna().all()
    assert frame["permuted"].notna().all()


@pytest.mark.model
def test_without_floors_there_are_none(reasoner, traces):
    found = lens(reasoner, traces, top=2, floor=False, targets=["1"] * 5, layers=[LATENT])
    assert found.to_frame()[["others", "permuted"]].isna().all(axis=None)
    assert np.isnan(found.agreement()["excess"].item())


@pytest.mark.model
def test_samples_are_run(reasoner, samples):
    by_sample, by_trace = (
        lens(reasoner, given, top=1, layers=[LATENT]).to_frame()
        for given in (samples[:2], [reasoner.run(sample) for sample in samples[:2]])
    )
    pd.testing.assert_frame_equal(by_sample, by_trace)


@pytest.mark.model
def test_what_cannot_be_read_is_refused(reasoner, traces):
    plain = reasoner.run(traces[0].sample, max_new_tokens=3, imagine=False)
    with pytest.raises(EditError, match="has no latents"):
        lens(reasoner, [plain])
    with pytest.raises(EditError, match="this model has 0 to 3, and -1"):
        lens(reasoner, traces, layers=[4])
    with pytest.raises(SampleError, match="No samples or traces"):
        lens(reasoner, [])
    with pytest.raises(SampleError, match="top=0"):
        lens(reasoner, traces, top=0)
    with pytest.raises(SampleError, match="2 targets for 5 runs"):
        lens(reasoner, traces, targets=["1", "2"])
    with pytest.raises(SampleError, match="expected a word"):
        lens(reasoner, traces, targets=[" "] * 5)
    with pytest.raises(UnknownNameError, match="without tuned=fit_tuned_lens"):
        lens(reasoner, traces, kind="tuned")
    with pytest.raises(UnknownNameError, match="without index=build_index"):
        lens(reasoner, traces, kind="latentlens")
    with pytest.raises(UnknownNameError, match="no targets"):
        lens(reasoner, traces, layers=[LATENT]).agreement()


@pytest.mark.model
def test_an_unknown_kind_is_refused(unchecked_types, reasoner, traces):
    with pytest.raises(UnknownNameError, match="No lens 'crystal'"):
        lens(reasoner, traces, kind="crystal")


@pytest.mark.model
def test_a_trace_of_another_model_is_refused(organism, traces):
    with pytest.raises(EditError, match="Pass the reasoner that ran it"):
        lens(organism("mediator"), traces)


@pytest.mark.model
def test_without_a_tokenizer_tokens_are_ids_and_targets_are_refused(reasoner, traces):
    mute = replace(reasoner, processor=None)
    frame = lens(mute, traces, top=1, layers=[LATENT]).to_frame()
    assert set(frame["text"]) == {f"id {token}" for token in frame["token"]}
    with pytest.raises(ModelError, match="without a processor"):
        lens(mute, traces, targets=["1"] * 5)


def test_agreement_resamples_clusters_whole():
    rows = pd.DataFrame(
        {
            "run": np.arange(12),
            "slot": 0,
            "layer": 0,
            "hit": np.tile([1.0, 0.0, 0.0, 1.0], 3),
            "others": 0.25,
            "permuted": 0.0,
        }
    )
    apart, together = (
        agreement(rows, names, ("layer",), np.random.default_rng(0))
        for names in (range(12), [run % 4 for run in range(12)])
    )
    assert apart["share"].item() == together["share"].item() == 0.5
    assert apart["excess"].item() == pytest.approx(0.25)
    widths = [(f["excess_high"] - f["excess_low"]).item() for f in (apart, together)]
    assert widths[1] > widths[0]
