from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from mindseye.errors import EditError
from mindseye.reasoners import Edit, Reasoner, Trace
from mindseye.reasoners.hooks import hook_names, hook_point, hooked, match_names

pytestmark = pytest.mark.model

REPLAY = {"atol": 1e-5, "rtol": 1e-5}  # float32 sums in another order
LAYERS = range(4)
WRITABLE = (
    "hook_resid_pre",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_out",
    "hook_resid_post",
)


@pytest.fixture(scope="module")
def names(reasoner: Reasoner) -> list[str]:
    return hook_names(reasoner.model, reasoner.architecture)


@pytest.fixture(scope="module")
def everything(reasoner: Reasoner, trace: Trace, names: list[str]) -> dict[str, torch.Tensor]:
    """Every activation of the run, recorded in one replay."""
    return reasoner.replay(trace, record=names).activations


def n_hooks(reasoner: Reasoner) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in reasoner.model.modules()
    )


@contextlib.contextmanager
def leaves_no_trace(reasoner: Reasoner) -> Iterator[None]:
    """Check that the block ends with the hooks and the attention it began with."""
    before = n_hooks(reasoner), reasoner.model.config._attn_implementation
    texts = reasoner.model.config.get_text_config()._attn_implementation
    yield
    assert (n_hooks(reasoner), reasoner.model.config._attn_implementation) == before
    assert reasoner.model.config.get_text_config()._attn_implementation == texts


def edit(trace: Trace, name: str, activations: dict[str, torch.Tensor], noise: float) -> Edit:
    """Add noise to an activation at the latent slots; scaling would get lost in an RMS norm."""
    slots = trace.spans["latents"]
    own = activations[name][0, slots]
    return Edit(name, slots, own + noise * torch.randn(own.shape, generator=torch.manual_seed(0)))


def test_every_hook_name_has_the_shape_its_name_promises(
    reasoner: Reasoner, trace: Trace, names: list[str], everything: dict[str, torch.Tensor]
) -> None:
    text = reasoner.model.config.text_config
    n_seq, d_model = trace.embeds.shape
    n_heads, n_kv = text.num_attention_heads, text.num_key_value_heads
    d_head = d_model // n_heads
    shapes = {
        "attn.hook_q": (1, n_seq, n_heads, d_head),
        "attn.hook_k": (1, n_seq, n_kv, d_head),
        "attn.hook_v": (1, n_seq, n_kv, d_head),
        "attn.hook_z": (1, n_seq, n_heads, d_head),
        "attn.hook_pattern": (1, n_heads, n_seq, n_seq),
    }
    assert set(everything) == set(names)
    for name, activation in everything.items():
        wanted = shapes.get(name.split(".", 2)[-1], (1, n_seq, d_model))
        assert activation.shape == wanted, name


def test_the_names_are_listed_once_in_the_order_of_computation(
    reasoner: Reasoner, names: list[str]
) -> None:
    assert len(set(names)) == len(names)
    assert names[0] == "hook_embed"
    assert names[-1] == "ln_final.hook_normalized"
    layers = [int(name.split(".")[1]) for name in names if name.startswith("blocks.")]
    assert layers == sorted(layers)
    for name in names:
        point = hook_point(name, reasoner.model, reasoner.architecture)
        assert reasoner.model.get_submodule(point.module) is not None


def test_the_residual_stream_adds_up(everything: dict[str, torch.Tensor]) -> None:
    for i in LAYERS:
        pre, mid, post, attn, mlp = (
            everything[f"blocks.{i}.hook_{part}"]
            for part in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
        )
        assert torch.equal(mid, pre + attn)
        assert torch.equal(post, mid + mlp)
        assert not torch.allclose(post, pre + mlp, atol=1e-3)
    assert torch.equal(everything["hook_embed"], everything["blocks.0.hook_resid_pre"])


def test_each_block_takes_what_the_one_before_gave(everything: dict[str, torch.Tensor]) -> None:
    for i in LAYERS[1:]:
        before, after = (
            everything[f"blocks.{i - 1}.hook_resid_post"],
            everything[f"blocks.{i}.hook_resid_pre"],
        )
        assert torch.equal(before, after)


def test_patterns_and_values_give_z_and_z_gives_the_attention_output(
    reasoner: Reasoner, everything: dict[str, torch.Tensor]
) -> None:
    attention = reasoner.architecture.blocks(reasoner.model)[2].self_attn
    pattern, v, z, out = (
        everything[f"blocks.2.{name}"]
        for name in ("attn.hook_pattern", "attn.hook_v", "attn.hook_z", "hook_attn_out")
    )
    values = v.repeat_interleave(pattern.shape[1] // v.shape[2], dim=2)
    torch.testing.assert_close(torch.einsum("bhqk,bkhd->bqhd", pattern, values), z, **REPLAY)
    torch.testing.assert_close(attention.o_proj(z.flatten(-2)), out, **REPLAY)


def test_what_is_embedded_is_what_the_trace_says_was_fed(
    trace: Trace, everything: dict[str, torch.Tensor]
) -> None:
    assert torch.equal(everything["hook_embed"][0], trace.embeds)


def test_the_final_norm_gives_the_states_of_the_replay(
    reasoner: Reasoner, trace: Trace, everything: dict[str, torch.Tensor]
) -> None:
    states = reasoner.replay(trace).states
    torch.testing.assert_close(everything["ln_final.hook_normalized"], states, **REPLAY)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", WRITABLE)
def test_writing_a_runs_own_value_changes_nothing_and_another_value_does(
    reasoner: Reasoner, trace: Trace, name: str, layer: int
) -> None:
    hook = f"blocks.{layer}.{name}"
    usual = reasoner.replay(trace, record=[hook])
    same = reasoner.replay(trace, [[edit(trace, hook, usual.activations, 0.0)]])
    assert torch.equal(same.states, usual.states)
    other = reasoner.replay(trace, [[edit(trace, hook, usual.activations, 1.0)]])
    assert not torch.allclose(other.states, usual.states, atol=1e-3)


@pytest.mark.parametrize("name", ["hook_embed", "ln_final.hook_normalized"])
def test_the_ends_of_the_decoder_can_be_written_too(
    reasoner: Reasoner, trace: Trace, name: str
) -> None:
    usual = reasoner.replay(trace, record=[name])
    same = reasoner.replay(trace, [[edit(trace, name, usual.activations, 0.0)]])
    assert torch.equal(same.states, usual.states)
    other = reasoner.replay(trace, [[edit(trace, name, usual.activations, 1.0)]])
    assert not torch.allclose(other.states, usual.states, atol=1e-3)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", WRITABLE)
def test_an_edit_leaves_earlier_layers_and_earlier_positions_bitwise_alone(
    reasoner: Reasoner, trace: Trace, names: list[str], name: str, layer: int
) -> None:
    hook = f"blocks.{layer}.{name}"
    record = [n for n in names if not n.endswith("hook_pattern")]
    usual = reasoner.replay(trace, record=record).activations
    slots = trace.spans["latents"][1:]
    change = Edit(hook, slots, usual[hook][0, slots] + 1)
    changed = reasoner.replay(trace, [[change]], record=record).activations
    moved = [n for n in record if not torch.equal(changed[n], usual[n])]
    assert hook in moved
    assert "ln_final.hook_normalized" in moved
    assert all(n.startswith("ln_final") or int(n.split(".")[1]) >= layer for n in moved)
    for n in record:
        assert torch.equal(changed[n][:, : slots[0]], usual[n][:, : slots[0]]), n


@pytest.mark.parametrize("name", ["hook_resid_pre", "hook_attn_out", "hook_resid_mid"])
def test_the_residual_stream_adds_up_after_an_edit_too(
    reasoner: Reasoner, trace: Trace, everything: dict[str, torch.Tensor], name: str
) -> None:
    parts = ("resid_mid", "mlp_out", "resid_post")
    record = [f"blocks.1.hook_{part}" for part in parts]
    hook = f"blocks.1.{name}"
    replay = reasoner.replay(trace, [[edit(trace, hook, everything, 1.0)]], record=record)
    mid, mlp, post = (replay.activations[hook] for hook in record)
    assert torch.equal(post, mid + mlp)
    assert not torch.allclose(mid, everything["blocks.1.hook_resid_mid"], atol=1e-3)


def test_setting_the_middle_residual_equals_adding_to_what_attention_wrote(
    reasoner: Reasoner, trace: Trace, everything: dict[str, torch.Tensor]
) -> None:
    slots = trace.spans["latents"]
    step = torch.randn(len(slots), trace.embeds.shape[1], generator=torch.manual_seed(0))
    states = [
        reasoner.replay(trace, [[Edit(hook, slots, everything[hook][0, slots] + step)]]).states
        for hook in ("blocks.2.hook_resid_mid", "blocks.2.hook_attn_out")
    ]
    torch.testing.assert_close(*states, **REPLAY)


def test_a_recording_sees_the_edits_made_before_it_and_at_its_own_place(
    reasoner: Reasoner, trace: Trace, everything: dict[str, torch.Tensor]
) -> None:
    slots = trace.spans["latents"]
    record = ["blocks.0.hook_resid_pre", "hook_embed"]
    change = edit(trace, "hook_embed", everything, 1.0)
    seen = reasoner.replay(trace, [[change]], record=record).activations
    for name in record:
        assert torch.equal(seen[name][0, slots], change.value), name


def test_branches_are_edited_each_on_its_own(
    reasoner: Reasoner, trace: Trace, everything: dict[str, torch.Tensor]
) -> None:
    changes = [
        (),
        (edit(trace, "blocks.1.hook_resid_post", everything, 1.0),),
        (edit(trace, "blocks.2.hook_mlp_out", everything, 1.0),),
    ]
    together = reasoner.replay(trace, changes).states
    for row, change in enumerate(changes):
        alone = reasoner.replay(trace, [change]).states[0]
        torch.testing.assert_close(together[row], alone, **REPLAY)
    assert not torch.allclose(together[0], together[1], atol=1e-3)
    assert not torch.allclose(together[1], together[2], atol=1e-3)


def test_an_edit_at_no_position_changes_nothing(reasoner: Reasoner, trace: Trace) -> None:
    nowhere = torch.zeros(0, dtype=torch.long)
    nothing = Edit("blocks.1.hook_resid_post", nowhere, torch.zeros(0, trace.embeds.shape[1]))
    assert torch.equal(reasoner.replay(trace, [[nothing]]).states, reasoner.replay(trace).states)


def test_hooks_are_gone_after_a_replay_and_there_during_it(
    reasoner: Reasoner, trace: Trace, names: list[str]
) -> None:
    with leaves_no_trace(reasoner):
        reasoner.replay(trace, record=names)
    with leaves_no_trace(reasoner):
        before = n_hooks(reasoner)
        visits = {"hook_embed": lambda _: None, "blocks.1.attn.hook_pattern": lambda _: None}
        with hooked(reasoner.model, reasoner.architecture, visits):
            assert n_hooks(reasoner) == before + 2


def test_hooks_are_gone_after_an_exception_in_the_block_or_in_a_visit(
    reasoner: Reasoner, trace: Trace
) -> None:
    class Stop(Exception):
        pass

    def fail(_: torch.Tensor) -> None:
        raise Stop

    visits = {"blocks.0.hook_resid_post": fail, "blocks.1.attn.hook_pattern": fail}
    usual = reasoner.replay(trace).states
    with (
        leaves_no_trace(reasoner),
        pytest.raises(Stop),
        hooked(reasoner.model, reasoner.architecture, visits),
    ):
        reasoner.replay(trace)
    with (
        leaves_no_trace(reasoner),
        pytest.raises(Stop),
        hooked(reasoner.model, reasoner.architecture, {"hook_embed": lambda _: None}),
    ):
        raise Stop
    assert torch.equal(reasoner.replay(trace).states, usual)


def test_hooks_are_gone_after_a_refused_edit(reasoner: Reasoner, trace: Trace) -> None:
    slots = trace.spans["latents"]
    with leaves_no_trace(reasoner), pytest.raises(EditError):
        reasoner.replay(
            trace,
            [[Edit("blocks.1.hook_resid_post", slots, torch.zeros(4, 1))]],
            record=["blocks.0.attn.hook_pattern"],
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.4.hook_resid_post", r"No hook 'blocks\.4\..*the model has layers 0 to 3"),
        ("blocks.99.attn.hook_k", r"No hook .*layers 0 to 3"),
        ("blocks.-1.hook_resid_post", r"No hook 'blocks\.-1"),
        ("blocks.1.hook_resid", r"No hook .*hook_embed, ln_final.*hook_resid_pre"),
        ("blocks.1.hook_resid_post ", r"No hook"),
        ("unembed", r"No hook 'unembed'; there are hook_embed"),
        ("", r"No hook ''"),
    ],
)
def test_a_wrong_layer_or_name_is_refused_with_those_there_are(
    reasoner: Reasoner, trace: Trace, name: str, message: str
) -> None:
    slots = trace.spans["latents"]
    value = torch.zeros(len(slots), trace.embeds.shape[1])
    with pytest.raises(EditError, match=message):
        reasoner.replay(trace, [[Edit(name, slots, value)]])
    with pytest.raises(EditError, match=message):
        reasoner.replay(trace, record=[name])
    with pytest.raises(EditError, match=message):
        hook_point(name, reasoner.model, reasoner.architecture)


@pytest.mark.parametrize("where", [[-1], [0, 10_000], [5, -2]])
def test_a_position_outside_the_run_is_refused(
    reasoner: Reasoner, trace: Trace, where: list[int]
) -> None:
    value = torch.zeros(len(where), trace.embeds.shape[1])
    message = f"lies outside this run of {len(trace.labels)} positions"
    with pytest.raises(EditError, match=message):
        reasoner.replay(trace, [[Edit("hook_embed", torch.tensor(where), value)]])


def test_the_last_position_of_a_run_is_inside_and_the_next_is_outside(
    reasoner: Reasoner, trace: Trace
) -> None:
    value = torch.zeros(1, trace.embeds.shape[1])
    last = len(trace.labels) - 1
    reasoner.replay(trace, [[Edit("hook_embed", torch.tensor([last]), value)]])
    with pytest.raises(EditError, match="outside this run"):
        reasoner.replay(trace, [[Edit("hook_embed", torch.tensor([last + 1]), value)]])


@pytest.mark.parametrize("shape", [(3, 128), (4, 127), (5, 128)])
def test_a_value_of_another_shape_is_refused_and_told_the_right_one(
    reasoner: Reasoner, trace: Trace, shape: tuple[int, ...]
) -> None:
    slots = trace.spans["latents"]
    assert len(slots) == 4
    message = rf"brings a value of shape \({shape[0]}, {shape[1]}\)"
    told = r"for 4 positions\. Bring one row per position" if shape[0] != 4 else r"takes \(4, 128\)"
    with pytest.raises(EditError, match=f"{message}.*{told}"):
        reasoner.replay(trace, [[_unchecked_edit("hook_embed", slots, torch.zeros(shape))]])


def test_a_flat_value_for_a_headed_hook_is_refused(reasoner: Reasoner, trace: Trace) -> None:
    slots = trace.spans["latents"]
    with pytest.raises(EditError, match=r"shape \(4, 64\); there it takes \(4, 2, 32\)"):
        reasoner.replay(trace, [[Edit("blocks.0.attn.hook_k", slots, torch.zeros(4, 64))]])


def test_attention_patterns_can_be_read_but_not_edited(reasoner: Reasoner, trace: Trace) -> None:
    slots = trace.spans["latents"]
    value = torch.zeros(len(slots), len(trace.labels))
    with pytest.raises(EditError, match=r"can be read but not edited\. Cut edges with a Knockout"):
        reasoner.replay(trace, [[Edit("blocks.0.attn.hook_pattern", slots, value)]])


def test_name_patterns_match_in_the_order_of_computation(
    reasoner: Reasoner, names: list[str]
) -> None:
    found = match_names(
        ["blocks.*.hook_resid_post", "hook_embed"], reasoner.model, reasoner.architecture
    )
    assert found == ["hook_embed", *(f"blocks.{i}.hook_resid_post" for i in LAYERS)]
    assert match_names(["*"], reasoner.model, reasoner.architecture) == names


def test_a_name_pattern_that_matches_nothing_is_refused_even_beside_one_that_does(
    reasoner: Reasoner,
) -> None:
    with pytest.raises(EditError, match=r"No hook 'blocks\.\*\.resid'"):
        match_names(["hook_embed", "blocks.*.resid"], reasoner.model, reasoner.architecture)


def _unchecked_edit(name: str, where: torch.Tensor, value: torch.Tensor) -> Edit:
    """Make an edit as a user does, without the type checker that tests run under."""
    made = object.__new__(Edit)
    for field, content in (("hook", name), ("positions", where), ("value", value), ("head", None)):
        object.__setattr__(made, field, content)
    return made
