"""A trace's cache among TransformerLens users. No bridge is booted: that may install packages."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from transformer_lens import ActivationCache

from mindseye.reasoners import Reasoner, Trace
from mindseye.samples import Sample

pytestmark = pytest.mark.model

N_LAYERS = 4


@pytest.fixture
def fresh(reasoner: Reasoner, samples: list[Sample]) -> Trace:
    """A run whose cache nobody has looked at."""
    return reasoner.run(samples[0], max_new_tokens=8)


def stacked(trace: Trace, part: str, n: int = N_LAYERS) -> torch.Tensor:
    return torch.stack([trace.cache[f"blocks.{i}.hook_{part}"] for i in range(n)])


def test_a_traces_cache_is_an_activation_cache_with_a_batch_axis(fresh: Trace) -> None:
    assert isinstance(fresh.cache, ActivationCache)
    assert fresh.cache.has_batch_dim
    assert fresh.cache["blocks.0.hook_resid_pre"].shape == (1, *fresh.embeds.shape)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("resid_post", 1), "blocks.1.hook_resid_post"),
        (("resid_mid", 0), "blocks.0.hook_resid_mid"),
        (("k", 2, "attn"), "blocks.2.attn.hook_k"),
        (("v", 2), "blocks.2.attn.hook_v"),
        (("pattern", 3), "blocks.3.attn.hook_pattern"),
        (("resid_post", -1), "blocks.3.hook_resid_post"),
        ("embed", "hook_embed"),
    ],
)
def test_short_keys_mean_what_they_mean_in_transformer_lens(
    fresh: Trace, key: str | tuple[str | int, ...], name: str
) -> None:
    assert torch.equal(fresh.cache[key], fresh.cache[name])


def test_short_keys_of_different_layers_are_told_apart(fresh: Trace) -> None:
    assert not torch.allclose(fresh.cache["resid_post", 1], fresh.cache["resid_post", 2], atol=1e-2)


def test_stack_activation_stacks_the_layers_below(fresh: Trace) -> None:
    found = fresh.cache.stack_activation("resid_post", layer=3)
    assert torch.equal(found, stacked(fresh, "resid_post", 3))
    assert not torch.equal(found, stacked(fresh, "resid_pre", 3))


def test_stack_activation_stacks_all_layers_by_default(fresh: Trace) -> None:
    assert torch.equal(fresh.cache.stack_activation("mlp_out"), stacked(fresh, "mlp_out"))


def test_accumulated_resid_gives_every_layers_input_and_the_last_output(fresh: Trace) -> None:
    found, labels = fresh.cache.accumulated_resid(return_labels=True)
    assert labels == [*(f"{i}_pre" for i in range(N_LAYERS)), "final_post"]
    assert torch.equal(found[:-1], stacked(fresh, "resid_pre"))
    assert torch.equal(found[-1], fresh.cache["blocks.3.hook_resid_post"])


def test_accumulated_resid_up_to_a_layer_may_include_the_middle(fresh: Trace) -> None:
    found, labels = fresh.cache.accumulated_resid(layer=1, incl_mid=True, return_labels=True)
    assert labels == ["0_pre", "0_mid", "1_pre"]
    assert torch.equal(found[1], fresh.cache["blocks.0.hook_resid_mid"])


def test_decompose_resid_sums_to_the_residual_stream(fresh: Trace) -> None:
    fresh.cache.fetch("hook_embed", "blocks.*.hook_attn_out", "blocks.*.hook_mlp_out")
    parts = fresh.cache.decompose_resid(layer=3)
    # The stream adds one part at a time, a sum over a stacked axis may take another order.
    torch.testing.assert_close(
        parts.sum(0), fresh.cache["blocks.3.hook_resid_pre"], atol=1e-5, rtol=1e-5
    )
    assert len(parts) == 1 + 2 * 3


def test_the_cache_slices_lists_and_moves_what_was_computed(fresh: Trace) -> None:
    fresh.cache.fetch("blocks.*.hook_resid_post")
    names = [f"blocks.{i}.hook_resid_post" for i in range(N_LAYERS)]
    assert list(fresh.cache) == list(fresh.cache.keys()) == names
    assert len(fresh.cache) == len(list(fresh.cache.values())) == N_LAYERS
    assert dict(fresh.cache.items()).keys() == set(names)
    assert fresh.cache.to("cpu")[names[0]].shape == (1, *fresh.embeds.shape)


def test_without_its_batch_axis_the_cache_goes_on_computing_without_one(fresh: Trace) -> None:
    first = fresh.cache["blocks.0.hook_resid_pre"]
    bare = fresh.cache.remove_batch_dim()
    assert torch.equal(bare["blocks.0.hook_resid_pre"], first[0])
    assert bare["blocks.1.hook_resid_pre"].shape == fresh.embeds.shape


def forbid_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **_: object) -> None:
        raise AssertionError(f"a process was started: {args}")

    for name in ("Popen", "call", "check_call", "check_output", "run"):
        monkeypatch.setattr(subprocess, name, refuse)
    for name in ("system", "posix_spawn", "popen"):
        monkeypatch.setattr(os, name, refuse)


def test_the_cache_starts_no_process(fresh: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_processes(monkeypatch)
    fresh.cache.fetch("*")
    assert fresh.cache["resid_post", 1].shape == (1, *fresh.embeds.shape)
    fresh.cache.stack_activation("resid_post", layer=3)


def test_a_process_would_have_been_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_processes(monkeypatch)
    with pytest.raises(AssertionError, match="a process was started"):
        subprocess.check_call([sys.executable, "-m", "pip", "--version"])
    with pytest.raises(AssertionError, match="a process was started"):
        os.system("true")


WATCH = """
    import sys
    started = []
    EVENTS = {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"}
    sys.addaudithook(lambda e, a: started.append((e, a)) if e in EVENTS else None)
"""


@pytest.mark.parametrize(
    ("code", "starts"),
    [("import mindseye.reasoners.cache", False), ("__import__('os').system('true')", True)],
)
def test_importing_the_cache_starts_no_pip(code: str, starts: bool) -> None:
    watched = f"{textwrap.dedent(WATCH)}{code}\nprint('STARTED', started)"
    done = subprocess.run(
        [sys.executable, "-c", watched], capture_output=True, text=True, check=True
    )
    said = done.stdout.strip().splitlines()[-1]
    assert (said != "STARTED []") == starts, said
