"""The number of latents as a mediator, against runs of a fixed number made by hand."""

from dataclasses import replace

import pytest
import torch

import mindseye as me
from mindseye.engine import twin_runs
from mindseye.engine.lengths import LENGTH, length_cells, of_length
from mindseye.errors import EditError
from mindseye.organisms.blank import PROTOCOL
from mindseye.readouts import logit_difference

pytestmark = pytest.mark.model

AT_MOST = 9
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def free(folder):
    """A random model that ends its segments itself, after as many latents as it likes.

    With tied embeddings the end marker's row is also what its logit reads: a random direction ends
    segments at random. The first word after one ends the run.
    """
    ours = me.load(
        folder, device="cpu", protocol=replace(PROTOCOL, n_slots=AT_MOST, end_by_token=True)
    )
    direction = torch.randn(128, generator=torch.Generator().manual_seed(0))
    row = ours.model.get_input_embeddings().weight.data[ours.tokens.end]
    row.copy_(4 * direction / direction.norm())
    markers = {ours.tokens.start, ours.tokens.pad, ours.tokens.end}
    return replace(ours, eos=frozenset(range(len(ours.tokenizer))) - markers)


@pytest.fixture(scope="module")
def pairs():
    return me.task("digits").pairs(6, seed=1)


@pytest.fixture(scope="module")
def every(free, pairs):
    return [twins for twins in twin_runs(free, pairs) if all(t.emitted for t in twins.said)]


@pytest.fixture(scope="module")
def uneven(every):
    """A pair of which neither run imagined for as long as the other, nor up to the limit."""
    return next(twins for twins in every if len({AT_MOST, *lengths(twins)}) == 3)


def lengths(twins):
    return [len(trace.latent_positions) for trace in twins.said]


def fixed(free, sample, n_slots):
    """What the same model says if it must imagine for so long: by count, its end unheard."""
    protocol = replace(PROTOCOL, n_slots=n_slots)
    return replace(free, protocol=protocol).run(sample)


def read(run, forced=()):
    """Logits where the outcome is read, by a plain replay."""
    return run.reasoner.replay(run.until_answer(forced)).logits[0, -1]


def test_lengths_vary_and_some_pairs_differ(every):
    found = [lengths(twins) for twins in every]
    assert len({n for both in found for n in both}) > 3
    assert any(one != other for one, other in found)
    stops = {trace.segments[0].stop for twins in every for trace in twins.said}
    assert stops == {"end", "count"}


@pytest.mark.parametrize("n_slots", [1, 4, 12])
def test_a_length_is_obeyed_whatever_would_have_ended_the_segment(free, pairs, n_slots):
    run = of_length(free, n_slots).run(pairs[0].clean)
    assert len(run.latent_positions) == n_slots
    assert run.emitted
    assert run.segments[0].stop == "count"


def test_cells_are_runs_of_the_others_length(free, uneven):
    cells, runs = length_cells(free, uneven, ())
    samples = (uneven.pair.reference, uneven.pair.clean)
    n = lengths(uneven)[::-1]
    for x in (0, 1):
        for z in (0, 1):
            by_hand = fixed(free, samples[x], n[z])
            assert len(runs[x][z].latent_positions) == n[z]
            torch.testing.assert_close(cells.crossed[x, z, 0], read(by_hand), **CLOSE)


def test_latents_of_an_own_length_are_the_runs_own(free, uneven):
    """The identity arm, and its twin: another length is another run."""
    cells, runs = length_cells(free, uneven, ())
    diagonal = torch.stack([cells.crossed[0, 0], cells.crossed[1, 1]])
    torch.testing.assert_close(cells.unedited, diagonal, **CLOSE)
    torch.testing.assert_close(runs[1][1].latents, uneven.said[0].latents, **CLOSE)
    assert (cells.crossed[1, 0] - cells.crossed[1, 1]).abs().max() > 1e-3
    assert (cells.crossed[0, 1] - cells.crossed[0, 0]).abs().max() > 1e-3


def test_what_moved_is_the_difference_of_lengths_and_none_was_missed(free, every):
    for twins in every[-2:]:
        cells, _ = length_cells(free, twins, ())
        one, other = lengths(twins)
        assert cells.moved == abs(one - other)
        assert cells.missed == 0
        assert cells.edits == ([], [])


def test_where_both_imagined_for_equally_long_nothing_is_exchanged(free, every):
    even = next(twins for twins in every if len(set(lengths(twins))) == 1)
    cells, _ = length_cells(free, even, ())
    torch.testing.assert_close(cells.crossed[:, 0], cells.crossed[:, 1], **CLOSE)


def test_ids_are_fed_before_the_outcome_is_read(free, uneven):
    fed = (20, 30)
    cells, runs = length_cells(free, uneven, fed, read=range(-3, 0))
    assert cells.crossed.shape[:3] == (2, 2, 3)
    for place, forced in enumerate([(), fed[:1], fed]):
        torch.testing.assert_close(cells.crossed[0, 1, place], read(runs[0][1], forced), **CLOSE)
        torch.testing.assert_close(cells.unedited[1, place], read(uneven.said[0], forced), **CLOSE)


def test_a_run_of_several_segments_has_no_one_length(free, uneven):
    run = uneven.said[0]
    twice = replace(run, segments=run.segments * 2)
    with pytest.raises(EditError, match=r"runs of \[2, 1\] segments"):
        length_cells(free, replace(uneven, said=(twice, uneven.said[1])), ())


def test_a_mediation_takes_pairs_whose_slots_stand_elsewhere(free, pairs, every, uneven):
    """At the other levels such a pair is left out."""
    found = me.mediate(free, pairs, levels=("kv", LENGTH), pins={})
    rows = found.rows.set_index(["level", "pair"])
    assert set(rows.loc[LENGTH].index) == {twins.pair.id for twins in every}
    assert set(rows.loc["kv"].index) == {
        twins.pair.id for twins in every if len(set(lengths(twins))) == 1
    }
    assert uneven.pair.id not in rows.loc["kv"].index
    assert found.guards["pairs_left_out"] == 6 - len(rows.loc["kv"])
    cells, _ = length_cells(free, uneven, ())
    row = rows.loc[(LENGTH, uneven.pair.id)]
    wanted = logit_difference(cells.crossed[:, :, 0], uneven.parting).flatten().tolist()
    assert row[["y00", "y01", "y10", "y11"]].tolist() == pytest.approx(wanted, abs=1e-4)
    assert found.guards["identity_max_abs"] < 1e-4
    assert found.guards["edits_missed_max_abs"] == 0
    # Runs of many lengths are no block of numbers; each is a mean over its slots.
    assert found.latents.shape[1:] == (1, 128)
    n_latents = found.runs[found.runs["pair"] == uneven.pair.id]["n_latents"].tolist()
    assert n_latents == lengths(uneven)


def test_answers_at_the_length_level_are_those_of_its_runs(free, uneven, monkeypatch):
    monkeypatch.setattr("mindseye.causal.mediation.twin_runs", lambda *_, **__: iter([uneven]))
    found = me.mediate(
        free, [uneven.pair], levels=(LENGTH,), outcome=("logit_difference", "parsed_answer")
    )
    row = found.rows.set_index("outcome").loc["parsed answer"]
    _, runs = length_cells(free, uneven, ())
    for x in (0, 1):
        for z in (0, 1):
            assert row[f"answer_{x}{z}"] == runs[x][z].answer


def test_a_model_of_a_fixed_length_has_none_to_exchange(organism, pairs):
    found = me.mediate(organism("natural"), pairs[:3], levels=(LENGTH,))
    assert (found.rows["latents_moved"] == 0).all()
    assert found.rows[["pie", "tie"]].abs().max().max() == 0


def test_lengths_that_were_never_exchanged_are_not_called_negligible(organism, pairs):
    found = me.mediate(organism("natural"), pairs[:4], levels=(LENGTH,))
    assert found.verdicts[LENGTH].word == "inconclusive"


def test_a_family_that_is_not_forced_to_its_end_marker_has_its_identity(free, every, pairs):
    """As LVR, which says its end marker itself."""
    loose = replace(free, protocol=replace(free.protocol, at_stop="use_sampled", n_slots=99))
    for twins in twin_runs(loose, pairs):
        if all(trace.emitted and trace.segments[0].stop == "end" for trace in twins.said):
            cells, _ = length_cells(loose, twins, ())
            diagonal = torch.stack([cells.crossed[0, 0], cells.crossed[1, 1]])
            torch.testing.assert_close(cells.unedited, diagonal, **CLOSE)
            return
    pytest.fail("no pair ended by itself on both sides")
