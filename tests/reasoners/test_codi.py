"""CODI's checkpoints, as its training writes them, and the ordinary folders made of them.

peft need not be installed: `Adapted` is a LoRA layer as its paper has it, under peft's names, and
where peft is there it is held against it.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

import mindseye as me
from mindseye.errors import ModelError, OutputError, ProtocolError
from mindseye.reasoners.codi import ADDED_ROWS, codi_state, convert
from tests.tiny import WIDTH, tiny

pytestmark = pytest.mark.model

RANK, ALPHA, INNER, N_LATENTS = 4, 32.0, 24, 6
SPECIAL = ["<|pad|>", "<|bos|>", "<|endoftext|>"]
TARGETS = {
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"),
}
every_base = pytest.mark.parametrize("model_type", TARGETS)


class Adapted(nn.Module):
    """A layer with a LoRA adapter beside it."""

    def __init__(self, base: Any, draw: torch.Generator) -> None:
        super().__init__()
        rows, columns = base.weight.T.shape if isinstance(base, Conv1D) else base.weight.shape
        self.base_layer = base
        self.lora_A = nn.ModuleDict({"default": nn.Linear(columns, RANK, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(RANK, rows, bias=False)})
        for side in (self.lora_A, self.lora_B):
            weight = side["default"].weight
            weight.data = 0.1 * torch.randn(weight.shape, generator=draw)

    def forward(self, state: Tensor) -> Tensor:
        change = self.lora_B["default"](self.lora_A["default"](state))
        return self.base_layer(state) + ALPHA / RANK * change


class Holder(nn.Module):
    """Gives peft's depth to the names: `base_model.model.`"""

    def __init__(self, model: nn.Module, depth: int = 1) -> None:
        super().__init__()
        if depth:
            self.base_model = Holder(model, depth - 1)
        else:
            self.model = model


class Codi(nn.Module):
    """What CODI's training saves: the adapted model and its projection."""

    def __init__(self, codi: nn.Module, norm: bool = True) -> None:
        super().__init__()
        self.codi = codi
        self.prj = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(WIDTH, INNER), nn.GELU(), nn.Linear(INNER, WIDTH)
        )
        if norm:
            self.prj.add_module("ln", nn.LayerNorm(WIDTH))


def grown(model_type: str, vocab: int, tied: bool | None = None) -> Any:
    """Build a base model and give it CODI's three rows."""
    model = tiny(model_type, vocab=vocab).model
    if tied is not None:
        model.config.tie_word_embeddings = tied
        model.lm_head.weight = (
            model.get_input_embeddings().weight
            if tied
            else nn.Parameter(torch.randn(vocab, WIDTH, generator=torch.Generator().manual_seed(3)))
        )
    torch.manual_seed(1)
    model.resize_token_embeddings(vocab + ADDED_ROWS, mean_resizing=False)
    rows = model.get_input_embeddings().weight.data
    rows[vocab:] = torch.randn(ADDED_ROWS, WIDTH)
    return model


def adapted(model: Any) -> Any:
    """Put adapters beside the layers that CODI adapts, in place."""
    draw = torch.Generator().manual_seed(2)
    for name in [
        n for n, _ in model.named_modules() if n.endswith(TARGETS[model.config.model_type])
    ]:
        model.set_submodule(name, Adapted(model.get_submodule(name), draw))
    return model


def trained(model_type: str, vocab: int, tied: bool | None = None, norm: bool = True) -> Codi:
    torch.manual_seed(4)
    return Codi(Holder(adapted(grown(model_type, vocab, tied))), norm).eval()


def save(folder: Path, tensors: dict[str, Tensor]) -> Path:
    """Write a checkpoint; tied tensors are written twice."""
    folder.mkdir(exist_ok=True)
    save_file({k: t.clone().contiguous() for k, t in tensors.items()}, folder / "model.safetensors")
    return folder


def save_base(folder: Path, model_type: str, tied: bool | None = None) -> Path:
    """Save the model CODI starts from: config and tokenizer, and weights that nobody needs."""
    tokenizer: Any = GPT2Tokenizer().train_new_from_iterator(
        ["How many apples are left?"] * 9,
        vocab_size=280,
        new_special_tokens=SPECIAL,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    if model_type == "llama":
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    tokenizer.save_pretrained(folder)
    model = tiny(model_type, vocab=len(tokenizer)).model
    if tied is not None:
        model.config.tie_word_embeddings = tied
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=TARGETS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp(request.param), request.param)


def model_type_of(base: Path) -> str:
    return "gpt2" if '"gpt2"' in (base / "config.json").read_text() else "llama"


def vocab_of(base: Path) -> int:
    found = re.search(r'"vocab_size": (\d+)', (base / "config.json").read_text())
    assert found
    return int(found[1])


def checkpoint_of(base: Path, **options: Any) -> Codi:
    return trained(model_type_of(base), vocab_of(base), **options)


def refusal(
    checkpoint: Path, base: Path, out: Path, kind: type[Exception] = ModelError, **options: Any
) -> str:
    with pytest.raises(kind) as caught:
        convert(checkpoint, base, out, **options)
    assert not (out / "config.json").exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def merged(model: nn.Module) -> dict[str, Tensor]:
    """Merge adapters by what a layer does to the unit vectors, whichever way its weight lies."""
    state = {}
    for name, part in model.named_modules():
        if isinstance(part, Adapted):
            width = part.lora_A["default"].in_features
            bias = part(torch.zeros(1, width))
            weight = part(torch.eye(width)) - bias
            transposed = isinstance(part.base_layer, Conv1D)
            state[f"{name}.weight"] = weight if transposed else weight.T
    return state


@every_base
@torch.no_grad()
def test_merged_weights_do_what_the_adapted_layers_did(model_type: str) -> None:
    codi = trained(model_type, 40)
    model = codi.codi.base_model.model
    turned = [n for n, part in model.named_modules() if isinstance(part, Adapted)]
    state = codi_state(codi.state_dict(), ALPHA, RANK, turned if model_type == "gpt2" else ())
    expected = merged(model)
    assert len(expected) == 3 * (4 if model_type == "gpt2" else 7)
    for key, weight in expected.items():
        torch.testing.assert_close(state[key], weight, atol=1e-5, rtol=1e-5)
    assert not any("lora" in key or "base_layer" in key for key in state)


@every_base
@torch.no_grad()
def test_the_merge_is_pefts_own(model_type: str) -> None:
    import peft

    model = grown(model_type, 40)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=list(TARGETS[model_type]),
        fan_in_fan_out=model_type == "gpt2",
    )
    wrapped = peft.get_peft_model(copy.deepcopy(model), settings)
    ours = Codi(Holder(adapted(model)))
    theirs = Codi(wrapped)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    unloaded = wrapped.merge_and_unload()
    turned = [n for n, part in unloaded.named_modules() if isinstance(part, Conv1D)]
    state = codi_state(ours.state_dict(), ALPHA, RANK, turned)
    expected = unloaded.state_dict()
    assert {key for key in state if not key.startswith("prj.")} == expected.keys()
    for key, weight in expected.items():
        torch.testing.assert_close(state[key], weight, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_a_converted_folder_loads_with_nothing_missing_and_is_the_same_model(
    base: Path, tmp_path: Path
) -> None:
    codi = checkpoint_of(base)
    convert(save(tmp_path / "codi", codi.state_dict()), base, tmp_path / "out")
    reasoner = me.load(tmp_path / "out", protocol="codi", device="cpu")
    assert reasoner.report is not None
    assert reasoner.report.missing == reasoner.report.unexpected == ()
    assert reasoner.report.extras == ("prj",)
    vocab = vocab_of(base)
    markers = (reasoner.tokens.pad, reasoner.tokens.start, reasoner.tokens.end)
    assert markers == (vocab, vocab + 1, vocab + 2)
    ids = torch.randint(3, vocab, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        reasoner.model(ids).logits, codi.codi.base_model.model(ids).logits, atol=1e-4, rtol=1e-4
    )


@torch.no_grad()
def codis_loop(codi: Codi, ids: Tensor, n_tokens: int) -> tuple[Tensor, list[int]]:
    """Decode as CODI does, without a cache: the thought's marker, latents, its end, then words."""
    model = codi.codi.base_model.model
    embed, vocab = model.get_input_embeddings(), model.config.vocab_size
    decoder = model.transformer if hasattr(model, "transformer") else model.model

    def state(embeds: Tensor) -> Tensor:
        return decoder(inputs_embeds=embeds).last_hidden_state[:, -1:]

    embeds = torch.cat([embed(ids), embed(torch.tensor([[vocab - 2]]))], dim=1)
    latents = []
    for _ in range(N_LATENTS):
        latents.append(state(embeds)[0, 0])
        embeds = torch.cat([embeds, codi.prj(latents[-1])[None, None]], dim=1)
    embeds = torch.cat([embeds, embed(torch.tensor([[vocab - 1]]))], dim=1)
    said: list[int] = []
    for _ in range(n_tokens):
        # As in CODI's test.py, the last id, the end of thought, is cut off.
        said.append(int(model.lm_head(state(embeds))[..., : vocab - 1].argmax()))
        embeds = torch.cat([embeds, embed(torch.tensor([[said[-1]]]))], dim=1)
    return torch.stack(latents), said


@pytest.mark.parametrize("norm", [True, False])
def test_a_converted_model_thinks_and_answers_as_codis_own_loop_does(
    base: Path, tmp_path: Path, norm: bool
) -> None:
    # In double precision, because each latent feeds the next and multiplies what was rounded off.
    codi = checkpoint_of(base, norm=norm).double()
    source = save(tmp_path / "codi", codi.state_dict())
    convert(source, base, tmp_path / "out", dtype=torch.float64)
    reasoner = me.load(tmp_path / "out", device="cpu", dtype=torch.float64)
    assert reasoner.protocol.name == "codi"
    trace = reasoner.run(me.Sample((), "How many apples are left?", "3"), max_new_tokens=14)
    latents, said = codis_loop(codi, trace.prompt.input_ids, 6)
    torch.testing.assert_close(trace.latents, latents, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(trace.fed_latents, codi.prj(latents), atol=1e-6, rtol=1e-6)
    heard = trace.token_ids[N_LATENTS + 2 :].tolist()
    assert heard
    assert heard == said[: len(heard)]


def test_the_question_is_asked_bare_whatever_template_the_base_has(
    base: Path, tmp_path: Path
) -> None:
    convert(save(tmp_path / "codi", checkpoint_of(base).state_dict()), base, tmp_path / "out")
    reasoner = me.load(tmp_path / "out", device="cpu")
    trace = reasoner.run(me.Sample((), "How many apples?", "3"), max_new_tokens=2)
    assert reasoner.read(trace.prompt_ids.tolist()) == "How many apples?"


@pytest.mark.parametrize("left_out", ["lm_head.weight", "transformer.wte.weight"])
def test_of_two_tied_tensors_either_is_enough(tmp_path: Path, left_out: str) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    codi = checkpoint_of(base)
    tensors = codi.state_dict()
    del tensors[f"codi.base_model.model.{left_out}"]
    convert(save(tmp_path / "codi", tensors), base, tmp_path / "out")
    model = me.load(tmp_path / "out", device="cpu").model
    kept = codi.codi.base_model.model.transformer.wte.weight
    assert torch.equal(model.lm_head.weight, kept)
    assert torch.equal(model.transformer.wte.weight, kept)


def test_of_two_tied_tensors_that_differ_the_embedding_is_in_use_as_in_codi(
    tmp_path: Path,
) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    tensors = checkpoint_of(base).state_dict()
    tensors["codi.base_model.model.lm_head.weight"] = torch.zeros(vocab_of(base) + 3, WIDTH)
    convert(save(tmp_path / "codi", tensors), base, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    kept = tensors["codi.base_model.model.transformer.wte.weight"]
    assert torch.equal(stored["transformer.wte.weight"], kept)
    assert "lm_head.weight" not in stored


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_a_llama_keeps_its_head_tied_or_untied(tmp_path: Path, tied: bool) -> None:
    base = save_base(tmp_path / "base", "llama", tied)
    codi = checkpoint_of(base, tied=tied)
    convert(save(tmp_path / "codi", codi.state_dict()), base, tmp_path / "out")
    model = me.load(tmp_path / "out", device="cpu").model
    inner = codi.codi.base_model.model
    assert torch.equal(model.lm_head.weight, inner.lm_head.weight)
    assert torch.equal(model.model.embed_tokens.weight, inner.model.embed_tokens.weight)
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight) == tied


def test_a_model_trained_without_adapters_is_taken_as_it_is(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    codi = Codi(grown("gpt2", vocab_of(base)))
    convert(save(tmp_path / "codi", codi.state_dict()), base, tmp_path / "out")
    ours = me.load(tmp_path / "out", device="cpu").model.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in codi.codi.state_dict().items())


def test_without_a_projection_the_preset_says_what_is_lacking(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    tensors = checkpoint_of(base).state_dict()
    bare = {key: tensor for key, tensor in tensors.items() if not key.startswith("prj.")}
    convert(save(tmp_path / "codi", bare), base, tmp_path / "out")
    with pytest.raises(ProtocolError, match="'prj'"):
        me.load(tmp_path / "out", protocol="codi", device="cpu")
    unmapped = me.protocol("codi", map=None)
    assert me.load(tmp_path / "out", protocol=unmapped, device="cpu").modules == {}


def test_adapters_in_half_precision_are_merged_in_full(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    tensors = {key: t.bfloat16() for key, t in checkpoint_of(base).state_dict().items()}
    convert(save(tmp_path / "codi", tensors), base, tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    expected = codi_state({key: tensor.double() for key, tensor in tensors.items()}, ALPHA)
    for key, tensor in stored.items():
        torch.testing.assert_close(tensor, expected[key].float(), atol=1e-6, rtol=1e-6)


def test_another_dtype_is_written_when_asked_for(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    source = save(tmp_path / "codi", checkpoint_of(base).state_dict())
    convert(source, base, tmp_path / "out", dtype=torch.bfloat16)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


@given(
    rank=st.integers(1, 5),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    alpha=st.floats(0.5, 64),
    turned=st.booleans(),
)
def test_a_merge_adds_the_scaled_product_of_its_adapters(
    rank: int, rows: int, columns: int, alpha: float, turned: bool
) -> None:
    draw = torch.Generator().manual_seed(rank)
    down, up = torch.randn(rank, columns, generator=draw), torch.randn(rows, rank, generator=draw)
    shape = (columns, rows) if turned else (rows, columns)
    held = {
        "codi.base_model.model.a.b.base_layer.weight": torch.zeros(shape),
        "codi.base_model.model.a.b.base_layer.bias": torch.ones(rows),
        "codi.base_model.model.a.b.lora_A.default.weight": down,
        "codi.base_model.model.a.b.lora_B.default.weight": up,
        "prj.1.weight": torch.ones(1, 1),
    }
    state = codi_state(held, alpha, transposed=["a.b"] if turned else [])
    assert state.keys() == {"a.b.weight", "a.b.bias", "prj.1.weight"}
    change = torch.einsum("or,ri->oi", up, down) * alpha / rank
    torch.testing.assert_close(state["a.b.weight"], change.T if turned else change)


LAYER = "codi.base_model.model.model.layers.1.mlp.up_proj"


def without(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {k: tensor for k, tensor in tensors.items() if k != key}


BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "half an adapter": (
        lambda t: without(t, f"{LAYER}.lora_B.default.weight"),
        r"has no tensor model\.layers\.1\.mlp\.up_proj\.lora_B\.default\.weight",
    ),
    "an adapter beside nothing": (
        lambda t: without(t, f"{LAYER}.base_layer.weight"),
        r"has no tensor model\.layers\.1\.mlp\.up_proj\.base_layer\.weight",
    ),
    "unequal ranks": (
        lambda t: {**t, f"{LAYER}.lora_B.default.weight": torch.ones(64, RANK + 1)},
        r"up_proj\.lora_A of rank 4 and lora_B of rank 5",
    ),
    "an adapter of another layer": (
        lambda t: {**t, f"{LAYER}.lora_B.default.weight": torch.ones(63, RANK)},
        r"up_proj\.base_layer\.weight of shape \(64, 48\); expected \(63, 48\)",
    ),
    "another kind of adapter": (
        lambda t: {**t, f"{LAYER}.lora_magnitude_vector.default.weight": torch.ones(64)},
        r"has model\.layers\.1\.mlp\.up_proj\.lora_magnitude_vector\.default\.weight",
    ),
    "a second adapter": (
        lambda t: {**t, f"{LAYER}.lora_A.other.weight": torch.ones(RANK, 48)},
        r"up_proj\.lora_A\.other\.weight; expected adapters lora_A\.default",
    ),
    "a weight too few": (
        lambda t: without(t, "codi.base_model.model.model.norm.weight"),
        r"missing \['model\.norm\.weight'\]",
    ),
    "a weight too many": (
        lambda t: {**t, "codi.base_model.model.moon": torch.ones(1)},
        r"unknown \['moon'\]",
    ),
    "no rows for the markers": (
        lambda t: {
            key: tensor[:-ADDED_ROWS] if "embed_tokens" in key or "lm_head" in key else tensor
            for key, tensor in t.items()
        },
        r"of another shape \['.*weight \(\d+, 48\) instead of \(\d+, 48\)",
    ),
}


@pytest.mark.parametrize(("change", "named"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_checkpoint_is_refused_by_what_is_wrong(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], named: str
) -> None:
    base = save_base(tmp_path / "base", "llama")
    source = save(tmp_path / "codi", change(checkpoint_of(base).state_dict()))
    assert re.search(named, refusal(source, base, tmp_path / "out"))


def test_adapters_of_another_rank_than_promised_are_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    source = save(tmp_path / "codi", checkpoint_of(base).state_dict())
    message = refusal(source, base, tmp_path / "out", lora_r=128)
    assert "of rank 4" in message
    assert "expected 128" in message


def test_the_wrong_base_is_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    source = save(tmp_path / "codi", checkpoint_of(base).state_dict())
    other = save_base(tmp_path / "other", "gpt2")
    assert "is no CODI checkpoint on this GPT2LMHeadModel" in refusal(
        source, other, tmp_path / "out"
    )


def test_a_base_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    source = save(tmp_path / "codi", {})
    (tmp_path / "empty").mkdir()
    assert "empty" in refusal(source, tmp_path / "empty", tmp_path / "out")


def test_weights_that_are_there_already_are_not_written_over(tmp_path: Path) -> None:
    held = save(tmp_path / "out", {"a": torch.ones(1)})
    message = refusal(tmp_path / "codi", tmp_path / "base", held, OutputError)
    assert "already has a model.safetensors" in message
    assert load_file(held / "model.safetensors").keys() == {"a"}


def test_a_pickle_is_read_only_when_asked_for_and_gives_the_same_folder(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    tensors = checkpoint_of(base).state_dict()
    (tmp_path / "pickled").mkdir()
    torch.save(dict(tensors), tmp_path / "pickled" / "pytorch_model.bin")
    message = refusal(tmp_path / "pickled", base, tmp_path / "refused")
    assert "pytorch_model.bin" in message
    assert "allow_pickle=True" in message
    convert(tmp_path / "pickled", base, tmp_path / "one", allow_pickle=True)
    convert(save(tmp_path / "codi", tensors), base, tmp_path / "two", allow_pickle=True)
    one, two = (load_file(tmp_path / out / "model.safetensors") for out in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("allow_pickle", [False, True])
def test_a_pickle_with_code_in_it_never_runs(tmp_path: Path, allow_pickle: bool) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "pytorch_model.bin")
    message = refusal(tmp_path, base, tmp_path / "out", allow_pickle=allow_pickle)
    assert "pytorch_model.bin" in message
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("held", [[1, 2], {"a": 3}, torch.ones(2), {"a": {"b": torch.ones(1)}}])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, held: object) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    torch.save(held, tmp_path / "pytorch_model.bin")
    message = refusal(tmp_path, base, tmp_path / "out", allow_pickle=True)
    assert "expected tensors by name" in message


@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_a_broken_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    assert "cannot be read" in refusal(tmp_path, base, tmp_path / "out", allow_pickle=True)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "gpt2")
    assert "holds no weights" in refusal(tmp_path, base, tmp_path / "out", allow_pickle=True)
