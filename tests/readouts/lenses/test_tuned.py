"""The tuned lens begins as the logit lens and ends nearer to the model."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from mindseye.errors import EditError, ModelError, OutputError, SampleError
from mindseye.readouts.lenses import TunedLens, fit_tuned_lens, lens
from mindseye.readouts.lenses.tuned import _divergence, _text_states
from mindseye.reasoners import Reasoner, Trace
from mindseye.tasks.digits import Digits

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def runs(reasoner: Reasoner) -> list[Trace]:
    found = Digits().samples(24, split="train")
    return [reasoner.run(sample, max_new_tokens=8) for sample in found]


@pytest.fixture(scope="module")
def fitted(reasoner: Reasoner, runs: list[Trace]) -> TunedLens:
    return fit_tuned_lens(reasoner, runs, steps=150, generator=torch.Generator().manual_seed(0))


def identity(tuned: TunedLens) -> TunedLens:
    return TunedLens(
        tuned.model,
        tuned.layers,
        torch.zeros_like(tuned.weight),
        torch.zeros_like(tuned.bias),
        tuned.fit,
    )


def test_the_identity_is_the_logit_lens(reasoner, traces, fitted):
    plain = lens(reasoner, traces, top=3).to_frame()
    same = lens(reasoner, traces, kind="tuned", tuned=identity(fitted), top=3).to_frame()
    pd.testing.assert_frame_equal(plain, same)
    tuned = lens(reasoner, traces, kind="tuned", tuned=fitted, top=3).to_frame()
    assert not plain["score"].equals(tuned["score"])


def test_the_latent_and_the_last_block_need_no_translator(reasoner, traces, fitted):
    ends = [-1, 3]
    plain = lens(reasoner, traces, top=3, layers=ends).to_frame()
    tuned = lens(reasoner, traces, kind="tuned", tuned=fitted, top=3, layers=ends).to_frame()
    pd.testing.assert_frame_equal(plain, tuned)


def test_on_runs_held_out_it_is_nearer_to_the_model_than_the_logit_lens(fitted):
    assert list(fitted.fit["layer"]) == [0, 1, 2]
    assert (fitted.fit["tuned"] < fitted.fit["logit"]).all()


def test_another_layers_translator_is_worse(reasoner, runs, fitted):
    text = _text_states(reasoner, runs[:6], [0, 2])
    own, swapped = (
        _divergence(reasoner, text, 0, fitted.weight[i], fitted.bias[i]) for i in (0, 2)
    )
    assert own < swapped


def test_fitting_leaves_the_model_alone_and_can_be_repeated(reasoner, runs):
    before = {name: value.clone() for name, value in reasoner.model.state_dict().items()}
    first, second = (
        fit_tuned_lens(
            reasoner, runs[:4], layers=[1], steps=3, generator=torch.Generator().manual_seed(5)
        )
        for _ in range(2)
    )
    torch.testing.assert_close(first.weight, second.weight, atol=0, rtol=0)
    assert all(torch.equal(before[n], v) for n, v in reasoner.model.state_dict().items())
    assert all(weight.grad is None for weight in reasoner.model.parameters())


def test_a_heavy_ridge_leaves_the_logit_lens(reasoner, runs):
    held = fit_tuned_lens(
        reasoner,
        runs[:8],
        layers=[0],
        steps=60,
        ridge=1e4,
        generator=torch.Generator().manual_seed(0),
    )
    assert held.weight.abs().max() < 0.01


def test_it_survives_a_folder(fitted, tmp_path):
    fitted.save(tmp_path / "deep" / "lens")
    read = TunedLens.load(tmp_path / "deep" / "lens")
    torch.testing.assert_close(read.weight, fitted.weight, atol=0, rtol=0)
    torch.testing.assert_close(read.bias, fitted.bias, atol=0, rtol=0)
    assert (read.layers, read.model) == (fitted.layers, fitted.model)
    pd.testing.assert_frame_equal(read.fit, fitted.fit)
    assert sorted(p.suffix for p in (tmp_path / "deep" / "lens").iterdir()) == [
        ".json",
        ".safetensors",
    ]


@pytest.mark.parametrize("broken", ["absent", "kind", "layers", "json"])
def test_a_folder_that_holds_something_else_is_refused(fitted, tmp_path, broken):
    fitted.save(tmp_path)
    facts = tmp_path / "tuned_lens.json"
    said = json.loads(facts.read_text())
    if broken == "absent":
        (tmp_path / "tuned_lens.safetensors").unlink()
    elif broken == "json":
        facts.write_text("{")
    else:
        said[broken] = {"kind": "other", "layers": [0]}[broken]
        facts.write_text(json.dumps(said))
    with pytest.raises(ModelError, match="holds no tuned_lens"):
        TunedLens.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(fitted, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        fitted.save(tmp_path / "file" / "lens")


def test_what_cannot_be_fitted_is_refused(reasoner, runs):
    draw = torch.Generator().manual_seed(0)
    with pytest.raises(SampleError, match="holds out 0"):
        fit_tuned_lens(reasoner, runs[:1], generator=draw)
    with pytest.raises(EditError, match="this model has 0 to 3"):
        fit_tuned_lens(reasoner, runs, layers=[-1], generator=draw)


def test_a_lens_of_another_shape_is_refused(reasoner, traces, fitted):
    narrow = TunedLens("small", (0,), torch.zeros(1, 5, 5), torch.zeros(1, 5), fitted.fit)
    with pytest.raises(ModelError, match="5 wide"):
        lens(reasoner, traces, kind="tuned", tuned=narrow)
