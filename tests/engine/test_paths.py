"""Path patching, against the textbook's two passes of plain replays.

First pass: the sender is patched, and every attention and MLP between it and the receiver is held
at what it put out; the receiver's activation is noted. Second pass: only that activation is set.
"""

import itertools

import pytest
import torch

import mindseye as me
from mindseye.engine.paths import RECEIVERS, SENDERS
from mindseye.errors import EditError, SampleError
from mindseye.reasoners import Edit
from mindseye.reasoners.spans import positions
from tests.engine.random_twins import VARIED, differences, in_double, recorded, serve, twins
from tests.tiny import FIRST_WORD

pytestmark = pytest.mark.model

FORCED = (FIRST_WORD + 2, FIRST_WORD + 3)
KEYS_AND_VALUES = ("attn.hook_k", "attn.hook_v")
N_LAYERS = 3

every_model = pytest.mark.parametrize("model_type", VARIED)


def full(hook, layer):
    return hook if hook == "hook_embed" else f"blocks.{layer}.{hook}"


def speaks(hook, layer):
    """The first of all attentions (even) and MLPs (odd) that could hear a sender."""
    return 2 * layer + {"attn.hook_z": 1, "hook_attn_out": 1, "hook_mlp_out": 2}.get(hook, 0)


def hears(hook, layer):
    """Which of them a receiver is part of."""
    return 2 * layer + (hook == "hook_mlp_out")


class TwoPasses:
    """The oracle for one pair of runs; a branch of a replay per path."""

    def __init__(self, both, at):
        self.both, self.target = both, both.reference
        self.where = positions(self.target.labels, at)
        self.parts = [
            f"blocks.{layer}.{part}"
            for layer in range(N_LAYERS)
            for part in ("hook_attn_out", "hook_mlp_out")
        ]
        senders = [full(*each) for each in itertools.product(SENDERS, range(N_LAYERS))]
        self.own = recorded(self.target, *self.parts)
        self.other = recorded(both.clean, *dict.fromkeys(senders))

    def replay(self, branches, record=()):
        return self.target.reasoner.replay(self.target, branches, record=record)

    def sent(self, row, receiver, layer):
        """What the first pass sets: the sender, and all that a receiver could hear else."""
        name = full(row["sender"], row["layer"])
        head = None if row["head"] < 0 else row["head"]
        value = self.other[name][self.where]
        tail = torch.arange(int(self.where.min()), len(self.target.labels))
        between = self.parts[speaks(row["sender"], row["layer"]) : hears(receiver, layer)]
        sender = Edit(name, self.where, value if head is None else value[:, head], head)
        return [sender, *(Edit(part, tail, self.own[part][tail]) for part in between)]

    def told(self, rows, receivers, layer):
        """The first pass: what each path's receivers in a layer hear, as edits."""
        told = [[] for _ in rows]
        asked = [
            (index, receiver)
            for index, row in enumerate(rows)
            for receiver in receivers
            if row["receiver_layer"] in (-1, layer)
            and speaks(row["sender"], row["layer"]) <= hears(receiver, layer)
        ]
        if not asked:
            return told
        names = [f"blocks.{layer}.{receiver}" for receiver in receivers]
        branches = [self.sent(rows[index], receiver, layer) for index, receiver in asked]
        heard = self.replay(branches, names).activations
        for place, (index, receiver) in enumerate(asked):
            name = f"blocks.{layer}.{receiver}"
            told[index].append(Edit(name, self.where, heard[name][place, self.where]))
        return told

    def values(self, rows, receivers, readers=None):
        """The outcome of each path after the second pass."""
        edits = [[] for _ in rows]
        for layer in range(N_LAYERS):
            told = self.told(rows, receivers, layer)
            if readers is not None:
                told = self.read(edits, told, readers, layer)
            edits = [[*before, *new] for before, new in zip(edits, told, strict=True)]
        return differences(self.replay(edits), self.both.parting).tolist()

    def read(self, edits, told, readers, layer):
        """What some positions' heads make of the keys and values they are told, the rest as was."""
        name = f"blocks.{layer}.attn.hook_z"
        where = positions(self.target.labels, readers)
        branches = [[*before, *new] for before, new in zip(edits, told, strict=True)]
        found = self.replay(branches, [name]).activations[name]
        return [
            [Edit(name, where, found[index, where])] if new else []
            for index, new in enumerate(told)
        ]


def assert_two_passes(paths, both, receivers, at="latents", readers=None):
    rows = paths.rows.to_dict("records")
    wanted = TwoPasses(both, at).values(rows, receivers, readers)
    assert paths.rows["value"].tolist() == pytest.approx(wanted, abs=1e-9)
    assert paths.rows["effect"].abs().max() > 1e-3


@pytest.mark.parametrize(
    ("receiver", "heads"),
    [*((each, False) for each in RECEIVERS), ("attn.hook_v", True), ("hook_mlp_out", True)],
)
@every_model
def test_every_sender_tells_every_receiver_what_two_passes_say(
    monkeypatch, model_type, receiver, heads
):
    both = twins(model_type)
    paths = me.path_patch(
        both.clean.reasoner,
        serve(monkeypatch, both),
        senders=["attn.hook_z"] if heads else SENDERS,
        heads=heads,
        receivers=[receiver],
    )
    wanted = {
        (hook, layer, receiving)
        for hook, layer, receiving in itertools.product(SENDERS, range(N_LAYERS), range(N_LAYERS))
        if speaks(hook, layer) <= hears(receiver, receiving)
        and (layer == 0 or hook != "hook_embed")
        and (hook == "attn.hook_z" or not heads)
    }
    rows = paths.rows
    found = list(zip(rows["sender"], rows["layer"], rows["receiver_layer"], strict=True))
    assert set(found) == wanted
    assert len(found) == len(wanted) * (4 if heads else 1)
    assert_two_passes(paths, both, [receiver])


@pytest.mark.parametrize(("at", "each_layer"), [("latents", False), ("segment", True)])
@every_model
def test_keys_and_values_receive_together(monkeypatch, model_type, at, each_layer):
    both = twins(model_type, FORCED)
    pairs = serve(monkeypatch, both)
    paths = me.path_patch(both.clean.reasoner, pairs, at=at, senders=SENDERS, each_layer=each_layer)
    assert_two_passes(paths, both, KEYS_AND_VALUES, at)


@pytest.mark.parametrize("each_layer", [True, False])
@every_model
def test_receivers_on_both_sides_of_an_attention_hear_only_what_came_before_them(
    monkeypatch, model_type, each_layer
):
    """A layer's MLP hears its attention; the same layer's queries, keys and values do not."""
    both = twins(model_type)
    paths = me.path_patch(
        both.clean.reasoner,
        serve(monkeypatch, both),
        senders=SENDERS,
        receivers=RECEIVERS,
        each_layer=each_layer,
    )
    assert_two_passes(paths, both, RECEIVERS)


@pytest.mark.parametrize("each_layer", [True, False])
@pytest.mark.parametrize(
    ("readers", "receivers"),
    [
        ("post", KEYS_AND_VALUES),
        ("post", ("attn.hook_k",)),
        ("post", ("attn.hook_v",)),
        ("latents", KEYS_AND_VALUES),
    ],
)
@every_model
def test_readers_alone_read_what_was_received(
    monkeypatch, model_type, readers, receivers, each_layer
):
    assert_readers(monkeypatch, twins(model_type, FORCED), readers, receivers, each_layer)


@pytest.mark.parametrize("each_layer", [True, False])
@pytest.mark.parametrize("receiver", KEYS_AND_VALUES)
def test_slots_that_read_each_other_have_what_was_not_received_as_it_now_is(
    monkeypatch, receiver, each_layer
):
    """What a slot read below has changed its value above, where only its key is received."""
    assert_readers(monkeypatch, twins("llama"), "latents", (receiver,), each_layer)


def assert_readers(monkeypatch, both, readers, receivers, each_layer):
    paths = me.path_patch(
        both.clean.reasoner,
        serve(monkeypatch, both),
        senders=("attn.hook_z", "hook_embed"),
        receivers=receivers,
        readers=readers,
        each_layer=each_layer,
    )
    assert_two_passes(paths, both, receivers, readers=readers)


@every_model
def test_where_all_who_could_read_do_readers_are_no_restriction(monkeypatch, model_type):
    both = twins(model_type)
    some, every = (
        me.path_patch(
            both.clean.reasoner,
            serve(monkeypatch, both),
            at="segment",
            senders=SENDERS,
            readers=readers,
            each_layer=False,
        ).rows["value"]
        for readers in ("segment", None)
    )
    assert some.tolist() == pytest.approx(every.tolist(), abs=1e-9)


def test_a_sender_in_the_last_layer_has_no_receivers_above(monkeypatch):
    both = twins("llama")
    ours = both.clean.reasoner
    arguments = {"layers": [2], "senders": ("attn.hook_z", "hook_mlp_out")}
    with pytest.raises(EditError, match="stands above any sender"):
        me.path_patch(ours, serve(monkeypatch, both), **arguments)
    rows = me.path_patch(ours, serve(monkeypatch, both), **arguments, each_layer=False).rows
    assert rows["receiver_layer"].tolist() == [-1, -1]
    assert rows["effect"].tolist() == [0, 0]


def test_latents_that_nothing_reads_have_nothing_to_say_to_the_answer():
    bypass, pairs = in_double("bypass"), me.task("digits").pairs(2, seed=2)
    for receivers, readers in ((RECEIVERS, None), (KEYS_AND_VALUES, "post")):
        rows = me.path_patch(
            bypass, pairs, senders=SENDERS, receivers=receivers, readers=readers
        ).rows
        assert rows["effect"].abs().max() <= 1e-9


def test_rows_hold_every_outcome_and_both_runs(organism):
    pairs = me.task("digits").pairs(3, seed=2)
    mediator = organism("mediator")
    outcomes = ["logit_difference", "probability"]
    paths = me.path_patch(mediator, pairs, heads=True, outcome=outcomes)
    assert paths.outcomes == ("logit difference", "probability")
    keys = ["pair", "sender", "head", "layer", "receiver_layer", "outcome"]
    assert not paths.rows.duplicated(keys).any()
    assert len(paths.rows) == 3 * 4 * (3 + 2 + 1) * 2
    swept = me.sweep(mediator, pairs, layers=[0], outcome=outcomes).rows
    runs = ["pair", "outcome", "clean", "reference"]
    for one, other in zip(
        paths.rows[runs].drop_duplicates(["pair", "outcome"]).itertuples(index=False),
        swept[runs].drop_duplicates(["pair", "outcome"]).itertuples(index=False),
        strict=True,
    ):
        assert one[:2] == other[:2]
        assert one[2:] == pytest.approx(other[2:], abs=1e-4)


def test_the_mean_is_over_pairs_and_its_share_of_the_mean_difference(organism):
    paths = me.path_patch(organism("mediator"), me.task("digits").pairs(3, seed=2))
    means = paths.mean()
    assert len(means) == 3 + 2 + 1
    rows = paths.rows[(paths.rows["layer"] == 1) & (paths.rows["receiver_layer"] == 3)]
    (mean,) = means.query("layer == 1 and receiver_layer == 3").to_dict("records")
    assert mean["effect"] == pytest.approx(rows["effect"].mean())
    whole = (rows["clean"] - rows["reference"]).mean()
    assert mean["share"] == pytest.approx(rows["effect"].mean() / whole)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"senders": ["attn.hook_k"]}, "No sender 'attn.hook_k'.*hook_embed"),
        ({"receivers": ["hook_resid_pre"]}, "No receiver 'hook_resid_pre'.*attn.hook_q"),
        ({"receivers": RECEIVERS, "readers": "post"}, "only keys and values are read"),
        ({"receivers": ["attn.hook_q"], "readers": "post"}, "only keys and values are read"),
        ({"readers": "nobody"}, "No span 'nobody'"),
        ({"layers": [9]}, "layers 0 to 3"),
        ({"at": "nowhere"}, "No span 'nowhere'"),
    ],
)
def test_what_does_not_exist_is_refused(organism, arguments, words):
    with pytest.raises(EditError, match=words):
        me.path_patch(organism("mediator"), me.task("digits").pairs(1, seed=2), **arguments)


def test_no_pair_is_no_empty_table(organism):
    with pytest.raises(SampleError, match="None of 0 pairs"):
        me.path_patch(organism("mediator"), [])
