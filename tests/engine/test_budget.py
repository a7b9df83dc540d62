"""Chunks of branches: right whatever their size, and within the memory they were given."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import mindseye as me
from mindseye.engine import Branch, Snapshot, compute, snapshot
from mindseye.errors import EngineError
from mindseye.reasoners import Edges
from tests.engine.branches_strategy import EXACT, noise, said
from tests.tiny import EOS, MARKERS, PAD

pytestmark = pytest.mark.model

MB = 2**20


class Live(TorchDispatchMode):
    """How many bytes of tensors made in here are alive at once, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given = {_key(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        self._made = {k: held for k, held in self._made.items() if not held[0].expired()}
        for each in tree_leaves(out):
            if isinstance(each, Tensor) and _key(each) not in given:
                storage = each.untyped_storage()
                self._made[_key(each)] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._made.values()))
        return out


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def test_the_meter_sees_what_is_alive_and_forgets_what_is_not() -> None:
    weight = torch.ones(512, 512)
    with Live() as live:
        for _ in range(4):
            product = weight @ weight
            product.view(-1).add_(weight.T.reshape(-1))
        del product
    assert live.peak == 2 * weight.nbytes  # the product, and the other's copy in another order


@functools.cache
def large(kind: str) -> me.Trace:
    """A run of about 200 positions on four layers of width 256."""
    text: dict[str, Any] = {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "vocab_size": 256,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "llama":
            model: Any = transformers.LlamaForCausalLM(transformers.LlamaConfig(**text))
        else:
            rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
            eyes = {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 256}
            config = transformers.Qwen2_5_VLConfig(
                text_config=text | {"rope_parameters": rope}, vision_config=eyes
            )
            model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    start, pad, end = MARKERS
    chosen = me.protocol("monet_train", start=start, pad=pad, end=end, segments="one", n_slots=4)
    draw = torch.Generator().manual_seed(1)
    asked = {"input_ids": torch.randint(10, 256, (1, 200), generator=draw)}
    ours = me.wrap(model.eval(), protocol=chosen)
    return ours.run(asked, max_new_tokens=10, force_start=True, past_key_values=True)


def sites(trace: me.Trace) -> list[Branch]:
    """An edit per layer and slot, four times over."""
    return [
        Branch([me.Edit(f"blocks.{layer}.{name}", at, noise((1, 256), 4 * layer, torch.float32))])
        for name in ("hook_resid_pre", "hook_resid_post", "hook_mlp_out", "hook_attn_out")
        for layer in range(4)
        for at in trace.latent_positions[:, None]
    ]


def early(trace: me.Trace) -> list[Branch]:
    """The same in the prompt, so that a branch has a hundred rows and more."""
    return [
        Branch(
            [
                me.Edit(
                    f"blocks.{layer}.hook_resid_pre",
                    torch.tensor([at]),
                    noise((1, 256), at, torch.float32),
                )
            ]
        )
        for layer in range(4)
        for at in range(100, 107)
    ]


def cut(trace: me.Trace) -> list[Branch]:
    """Edges of the prompt, so that every branch has a bias of its own."""
    last = len(trace.labels) - 1
    return [
        Branch(knockouts=(Edges(torch.tensor([at]), torch.tensor([last % at])),))
        for at in range(100, 164)
    ]


def late(trace: me.Trace) -> list[Branch]:
    """Edges of the last position in one layer: hardly a row, and a bias for a long tail."""
    last = torch.tensor([len(trace.labels) - 1])
    return [Branch(knockouts=(Edges(last, last - 1 - at, (at % 4,)),)) for at in range(64)]


def heads(trace: me.Trace) -> list[Branch]:
    """Heads of the last position: hardly a row, and no bias of their own."""
    last = torch.tensor([len(trace.labels) - 1])
    value = noise((1, 32), 5, torch.float32)
    return [
        Branch([me.Edit(f"blocks.{layer}.attn.hook_z", last, value, head)])
        for layer in range(4)
        for head in range(8)
    ]


def shortened(trace: me.Trace) -> list[Branch]:
    """Runs without one or two of what was fed."""
    n = trace.n_prompt
    pairs = [(n + i, n + j) for i in range(8) for j in range(i, 8)]
    return [Branch(removed=torch.tensor(sorted({*pair}))) for pair in pairs]


KINDS = {
    "sites": sites,
    "early": early,
    "cut": cut,
    "late": late,
    "heads": heads,
    "shortened": shortened,
}
STARTS = {"early": 100, "cut": 100, "late": 0, "heads": 0}


def held_of(trace: me.Trace, kind: str) -> Snapshot:
    return snapshot(trace, STARTS.get(kind, trace.n_prompt))


@pytest.mark.parametrize("budget", [6 * MB, 16 * MB, 64 * MB])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["llama", "qwen2_5_vl"])
def test_what_is_alive_at_once_stays_within_the_budget(model: str, kind: str, budget: int) -> None:
    trace = large(model)
    held, branches = held_of(trace, kind), KINDS[kind](trace)
    with Live() as live:
        compute(held, branches, budget=budget)
    assert live.peak <= budget


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_budget_holds_one_branch(kind: str) -> None:
    trace = large("llama")
    held, branches = held_of(trace, kind), KINDS[kind](trace)[:8]
    least = least_budget(held, branches)
    with Live() as live:
        compute(held, branches, budget=least)
    assert live.peak <= least


@contextlib.contextmanager
def chunks(trace: me.Trace) -> Iterator[list[int]]:
    """How often the last block was called."""
    blocks = trace.reasoner.architecture.blocks(trace.reasoner.model)
    calls = [0]

    def count(*_: Any) -> None:
        calls[0] += 1

    handle = blocks[len(blocks) - 1].register_forward_pre_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["sites", "cut", "shortened"])
def test_any_budget_that_holds_one_branch_gives_the_same(kind: str) -> None:
    trace = said("qwen2_5_vl")
    held = snapshot(trace, 3)
    branches = of_tiny(trace, kind)
    least = least_budget(held, branches)
    with chunks(trace) as calls:
        whole = compute(held, branches).logits
        assert calls == [1]
        for factor in (1, 1.7, 3, 10):
            calls[0] = 0
            found = compute(held, branches, budget=int(least * factor)).logits
            torch.testing.assert_close(found, whole, **EXACT)
            assert 1 < calls[0] <= len(branches) / (1 if factor < 2 else factor // 2)


def of_tiny(trace: me.Trace, kind: str) -> list[Branch]:
    """Twenty branches that differ in where they begin."""
    if kind == "shortened":
        n, last = trace.n_prompt, len(trace.labels) - 1
        return [Branch(removed=torch.tensor([i, i + 1])) for i in range(n, last - 1)] * 4
    if kind == "cut":
        return [
            Branch(knockouts=(Edges(torch.tensor([at]), torch.tensor([at // 2])),))
            for at in range(3, 20)
        ] + [Branch()] * 3
    return [
        Branch([me.Edit(f"blocks.{at % 3}.hook_resid_mid", torch.tensor([at]), noise((1, 48), at))])
        for at in range(3, 20)
    ] + [Branch()] * 3


def least_budget(held: Snapshot, branches: list[Branch]) -> int:
    """What the refusal of a budget of one byte asks for."""
    with pytest.raises(EngineError, match=r"budget is 1\. Pass budget=[\d,]+ at least") as fault:
        compute(held, branches, budget=1)
    return int(str(fault.value).split("budget=")[1].split(" ")[0].replace(",", ""))


def test_a_budget_too_small_for_one_branch_is_refused_with_the_bytes_it_takes() -> None:
    trace = said("qwen2_5_vl")
    held = snapshot(trace, 3)
    branches = of_tiny(trace, "sites")
    least = least_budget(held, branches)
    with pytest.raises(EngineError, match=f"takes about {least:,} bytes and the budget is"):
        compute(held, branches, budget=least - 1)
    compute(held, branches, budget=least)


def test_what_is_reduced_and_recorded_chunk_by_chunk_is_in_order() -> None:
    trace = said("llama")
    held = snapshot(trace, 3)
    branches = [
        Branch([me.Edit("blocks.1.hook_resid_mid", torch.tensor([at]), noise((1, 48), at))])
        for at in range(3, 12)
    ]
    asked: Any = {
        "reduce": lambda logits: logits.argmax(dim=-1),
        "record": ["blocks.2.hook_resid_post"],
        "read": [-1, -2],
    }
    whole = compute(held, branches, **asked)
    least = least_budget(held, branches)
    parts = compute(held, branches, **asked, budget=2 * least)
    assert whole.logits.shape == (len(branches), 2)
    assert torch.equal(parts.logits, whole.logits)
    torch.testing.assert_close(parts.activations, whole.activations, **EXACT)


@contextlib.contextmanager
def short_of_memory(trace: me.Trace, most: int) -> Iterator[list[int]]:
    """A block that cannot take more than so many rows; what it was asked for, in order."""
    block = trace.reasoner.architecture.blocks(trace.reasoner.model)[1]
    asked: list[int] = []

    def refuse(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        asked.append(hidden.shape[1])
        if hidden.shape[1] > most:
            raise torch.OutOfMemoryError("no memory for so many rows")

    handle = block.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        yield asked
    finally:
        handle.remove()


def test_a_chunk_that_runs_out_of_memory_is_halved() -> None:
    trace = said("qwen2_5_vl")
    held, branches = snapshot(trace, 3), of_tiny(trace, "sites")
    wanted = compute(held, branches, record=["blocks.1.hook_resid_mid"])
    with short_of_memory(trace, most=3 * held.n_tail) as asked:
        found = compute(held, branches, record=["blocks.1.hook_resid_mid"])
    torch.testing.assert_close(found.logits, wanted.logits, **EXACT)
    torch.testing.assert_close(found.activations, wanted.activations, **EXACT)
    assert asked[0] == 20 * held.n_tail
    assert max(asked[-1], asked[-2]) <= 3 * held.n_tail


def test_one_branch_that_runs_out_of_memory_alone_is_refused() -> None:
    trace = said("qwen2_5_vl")
    held, branches = snapshot(trace, 3), of_tiny(trace, "sites")
    with (
        short_of_memory(trace, most=10) as asked,
        pytest.raises(EngineError, match=r"One branch alone does not fit.*Free some"),
    ):
        compute(held, branches)
    assert asked[0] > asked[-1] > 10
    found = compute(held, branches).logits  # and nothing is left changed
    assert found.shape[0] == 20
