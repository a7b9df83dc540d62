"""Outcomes, one by one, and where a mediation reads them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mindseye as me
from mindseye.engine import Contrast
from mindseye.engine.contrast import READS, find_outcomes, outcome, reads, unit_of
from mindseye.errors import EditError, UnknownNameError
from mindseye.plugins import find, names
from mindseye.readouts.outcomes import (
    answer_log_probability,
    flip,
    kl_divergence,
    log_probability,
    logit_difference,
    probability,
)
from tests.causal.served import ANSWERS, SHARED, mediated, worded
from tests.engine.random_twins import VARIED, recorded, twins
from tests.tiny import EOS

every_model = pytest.mark.parametrize("model_type", VARIED)
REGISTERED = {
    "answer_log_probability": "answer",
    "flip": "parting",
    "kl_divergence": "parting",
    "log_probability": "parting",
    "logit_difference": "parting",
    "parsed_answer": "run",
    "probability": "parting",
}


@st.composite
def spoken(draw):
    """Logits of a few rows, and what the clean run said."""
    seed, rows, vocab = draw(st.integers(0, 999)), draw(st.integers(1, 4)), draw(st.integers(2, 9))
    loud = draw(st.sampled_from([0.1, 1.0, 20.0]))
    made = loud * torch.randn(rows + 1, vocab, generator=torch.Generator().manual_seed(seed))
    return made[1:].double(), Contrast((), 0, 1, (0, 1), said=made[0].double())


def test_every_outcome_says_what_it_reads():
    assert names("outcome") == sorted(REGISTERED)
    assert {name: reads(find("outcome", name)) for name in REGISTERED} == REGISTERED


@given(spoken())
def test_a_logit_difference_is_a_difference_of_log_probabilities(given_):
    logits, parting = given_
    other = Contrast((), parting.reference, parting.clean)
    wanted = log_probability(logits, parting) - log_probability(logits, other)
    torch.testing.assert_close(logit_difference(logits, parting), wanted)
    torch.testing.assert_close(logit_difference(logits, other), -wanted)
    torch.testing.assert_close(probability(logits, parting).log(), log_probability(logits, parting))


@given(spoken())
def test_a_divergence_is_that_of_the_cell_from_the_clean_run(given_):
    logits, parting = given_
    found = kl_divergence(logits, parting)
    cell = torch.distributions.Categorical(logits=logits)
    clean = torch.distributions.Categorical(logits=parting.said.expand_as(logits))
    torch.testing.assert_close(found, torch.distributions.kl_divergence(cell, clean))
    assert (found >= -1e-12).all()


@given(spoken(), st.floats(-9, 9))
def test_the_clean_run_diverges_from_itself_by_nothing_and_flips_nothing(given_, shift):
    _, parting = given_
    own = parting.said[None] + shift  # the softmax does not see a constant
    assert kl_divergence(own, parting).abs().max() < 1e-12
    assert flip(parting.said[None], parting).item() == 0


@given(spoken())
def test_a_flip_is_another_most_likely_token(given_):
    logits, parting = given_
    wanted = [row.argmax().item() != parting.said.argmax().item() for row in logits]
    assert flip(logits, parting).tolist() == wanted


@given(spoken())
def test_an_answers_log_probability_is_the_mean_over_its_tokens(given_):
    logits, parting = given_
    tokens = torch.stack([logits, logits.flip(0)], dim=1)
    each = [
        [tokens[row, place].log_softmax(-1)[index] for place, index in enumerate(parting.answer)]
        for row in range(len(tokens))
    ]
    wanted = torch.tensor(each).mean(dim=1).double()
    torch.testing.assert_close(answer_log_probability(tokens, parting), wanted)


def test_outcomes_of_the_clean_run_are_refused_where_it_is_not_known():
    for each in (kl_divergence, flip):
        with pytest.raises(EditError, match="only mediate knows"):
            each(torch.zeros(1, 3), Contrast((), 0, 1))


@pytest.mark.parametrize("name", ["answer_log_probability", "parsed_answer"])
def test_experiments_that_read_one_token_refuse_outcomes_that_read_more(name):
    with pytest.raises(EditError, match="only mediate takes it"):
        find_outcomes(name)
    assert list(find_outcomes(name, everything=True)) == [name.replace("_", " ")]


def test_an_outcome_can_read_only_what_there_is():
    assert READS == ("parting", "answer", "run")

    @outcome("mine", unit="stones", reads="answer")
    def mine(logits, parting, /):
        return logits[..., 0, 0]

    assert reads(mine) == "answer"
    assert unit_of("mine") == "stones"
    mine.reads = "minds"
    with pytest.raises(EditError, match="parting, answer, run"):
        reads(mine)


def test_an_outcome_that_declares_to_read_something_else_is_refused(unchecked_types):
    with pytest.raises(EditError, match="'mine' reads 'minds'"):
        outcome("mine", reads="minds")


@pytest.mark.parametrize("name", [name for name in names("outcome") if name != "mine"])
def test_a_built_in_outcome_declares_its_unit_and_says_what_it_is(name):
    assert unit_of(name) in ("nats", "share")
    assert unit_of(name.replace("_", " ")) == unit_of(name)
    assert find("outcome", name).__doc__.startswith("Return ")


def test_of_an_outcome_that_nobody_registered_no_unit_is_known():
    assert unit_of("made up on the spot") == ""


def test_two_outcomes_of_one_name_and_none_at_all_are_refused():
    with pytest.raises(EditError, match="Two outcomes"):
        find_outcomes(["flip", flip])
    with pytest.raises(EditError, match="No outcome"):
        find_outcomes([])
    with pytest.raises(UnknownNameError, match="kl_divergence"):
        find_outcomes("vibes")


@pytest.mark.model
@every_model
def test_in_a_mediation_the_clean_run_neither_diverges_nor_flips(monkeypatch, model_type):
    found = mediated(monkeypatch, twins(model_type), outcome=("kl_divergence", "flip"))
    rows = found.rows.set_index(["outcome", "level"])
    assert rows["y11"].abs().max() < 1e-9
    assert (rows.loc["kl divergence", ["y00", "y01", "y10"]] > 1e-6).all(axis=None)
    assert (rows.loc["kl divergence", "te"] < 0).all()
    said = rows.loc["flip"]
    for cell in ("00", "01", "10"):
        assert (said[f"y{cell}"] == (said[f"said_{cell}"] != said["said_11"])).all()


@pytest.mark.model
@every_model
def test_a_divergence_in_a_cell_is_that_of_plain_replays(monkeypatch, model_type):
    both = twins(model_type)
    found = mediated(monkeypatch, both, levels=("embedding",), outcome="kl_divergence")
    slots = both.clean.latent_positions
    feeding = [me.Edit("hook_embed", slots, both.clean.fed_latents)]
    cell = both.clean.reasoner.replay(both.reference, [feeding]).logits[0, -1]
    clean = both.clean.reasoner.replay(both.clean).logits[0, -1]
    cell, clean = (torch.distributions.Categorical(logits=each) for each in (cell, clean))
    wanted = torch.distributions.kl_divergence(cell, clean).item()
    assert found.rows["y01"].item() == pytest.approx(wanted, abs=1e-9)


def forced_log_probability(logits):
    """The mean over the last tokens of a teacher-forced run."""
    ids = (*SHARED, ANSWERS[0], EOS)
    return np.mean([logits[place - 4].log_softmax(-1)[ids[place]].item() for place in range(4)])


@pytest.mark.model
@every_model
def test_a_whole_answer_is_read_as_by_a_plain_teacher_forced_forward(monkeypatch, model_type):
    both = worded(model_type)
    found = mediated(monkeypatch, both, levels=("kv",), outcome="answer_log_probability", pins={})
    row, ours = found.rows.iloc[0], both.clean.reasoner
    for key, run in (("y00", both.reference), ("y11", both.clean)):
        assert len(run.labels) == len(run.until_answer().labels) + 3
        wanted = forced_log_probability(ours.replay(run).logits[0])
        assert row[key] == pytest.approx(wanted, abs=1e-9)
    hooks = [f"blocks.{i}.attn.hook_{which}" for i in range(3) for which in "kv"]
    where = both.clean.latent_positions
    for key, run, donor in (
        ("y01", both.reference, both.clean),
        ("y10", both.clean, both.reference),
    ):
        held = recorded(donor, *hooks)
        edits = [me.Edit(hook, where, held[hook][where]) for hook in hooks]
        wanted = forced_log_probability(ours.replay(run, [edits]).logits[0])
        assert row[key] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.model
@every_model
def test_where_answers_part_is_the_same_place_beside_a_whole_answer(monkeypatch, model_type):
    """The other outcomes do not move to the end of the answer that is fed."""
    alone = mediated(monkeypatch, twins(model_type, SHARED), levels=("kv",))
    beside = mediated(
        monkeypatch,
        worded(model_type),
        levels=("kv",),
        outcome=("logit_difference", "kl_divergence", "answer_log_probability"),
    )
    rows = beside.rows.set_index("outcome")
    keys = ["y00", "y01", "y10", "y11"]
    ours, theirs = rows.loc["logit difference"], alone.rows.iloc[0]
    np.testing.assert_allclose(ours[keys].tolist(), theirs[keys].tolist(), atol=1e-9)
    said = [f"said_{cell}" for cell in ("00", "01", "10", "11")]
    assert ours[said].tolist() == theirs[said].tolist()
    assert abs(rows.loc["kl divergence", "y11"]) < 1e-9
    first = beside.pinned[beside.pinned["outcome"] == "logit difference"]
    np.testing.assert_allclose(first["y1"], alone.pinned["y1"], atol=1e-9)
