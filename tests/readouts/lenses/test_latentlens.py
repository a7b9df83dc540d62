"""Nearest words in context: the search is exact, and entries are what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from mindseye.errors import EditError, ModelError, SampleError
from mindseye.readouts.lenses import LATENT, Index, build_index, latentlens, lens
from mindseye.reasoners import Reasoner

TEXTS = (
    "Which digit is in the red cell? 7",
    "Which digit is in the blue cell? 3",
    "Turn the picture upside down. Which digit ends up at the top right?",
)


def drawn(n_layers: int, n: int, width: int, seed: int) -> Index:
    states = torch.randn(n_layers, n, width, generator=torch.Generator().manual_seed(seed))
    return Index(
        "drawn",
        tuple(range(0, 2 * n_layers, 2)),
        normalize(states, dim=-1),
        tuple(range(n)),
        (0,) * n,
        tuple(range(n)),
        (tuple(range(n)),),
    )


@given(
    n=st.integers(1, 40), top=st.integers(1, 12), chunk=st.integers(1, 50), seed=st.integers(0, 99)
)
def test_a_search_is_a_brute_force_in_numpy(n, top, chunk, seed):
    index = drawn(3, n, 7, seed)
    queries = 5 * torch.randn(4, 7, generator=torch.Generator().manual_seed(seed + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latentlens, "_ENTRIES", chunk)
        found = index.search(queries, top)
    rows = index.states.numpy().reshape(3 * n, 7)
    asked = queries.numpy() / np.linalg.norm(queries.numpy(), axis=1, keepdims=True)
    cosines = asked @ rows.T
    order = np.argsort(-cosines, axis=1)[:, :top]
    np.testing.assert_allclose(found.cosines, np.take_along_axis(cosines, order, 1), atol=1e-6)
    np.testing.assert_array_equal(found.layers, 2 * (order // n))
    np.testing.assert_array_equal(found.entries, order % n)
    near = index.vectors(found).numpy()
    np.testing.assert_allclose(near, rows[order], atol=1e-6)


@pytest.fixture(scope="module")
def index(reasoner: Reasoner) -> Index:
    return build_index(reasoner, TEXTS)


@pytest.mark.model
def test_an_entry_is_the_state_of_its_token_in_its_text(reasoner, index):
    assert index.layers == (0, 1, 2, 4)
    for entry in (0, 5, len(index.tokens) - 1):
        ids = torch.tensor([index.texts[index.sources[entry]]])
        assert ids[0, index.places[entry]] == index.tokens[entry]
        states = reasoner.model.model.language_model(
            input_ids=ids, output_hidden_states=True
        ).hidden_states
        for row, layer in enumerate(index.layers):
            # The library's first is the embedding and its last is post-norm.
            wanted = normalize(states[min(layer + 1, 4)][0, index.places[entry]], dim=-1)
            torch.testing.assert_close(index.states[row, entry], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.model
def test_equal_beginnings_are_kept_once_and_tokens_up_to_their_number(reasoner):
    once = build_index(reasoner, TEXTS[:1])
    again = build_index(reasoner, [TEXTS[0], TEXTS[0]])
    assert again.tokens == once.tokens
    few = build_index(reasoner, TEXTS, per_token=1)
    assert len(set(few.tokens)) == len(few.tokens)
    assert len(build_index(reasoner, TEXTS).tokens) > len(few.tokens)


@pytest.mark.model
def test_a_state_of_the_index_finds_itself_and_its_context(reasoner, index):
    found = index.search(3 * index.states[1, 4:5], 1)
    assert (found.layers.item(), found.entries.item()) == (index.layers[1], 4)
    assert found.cosines.item() == pytest.approx(1, abs=1e-5)
    context = index.context(reasoner, 4)
    assert f"⟦{reasoner.read([index.tokens[4]])}⟧" in context
    assert context.replace("⟦", "").replace("⟧", "") in TEXTS[0]


@pytest.mark.model
def test_floors_are_cosines_of_the_same_entries_with_other_runs(reasoner, traces, index):
    frame = lens(reasoner, traces, kind="latentlens", index=index, top=2, layers=[LATENT])
    unit = normalize(torch.stack([trace.latents for trace in traces]).detach(), dim=-1)
    for row in frame.to_frame().head(8).itertuples():
        found = index.search(unit[row.run, row.slot][None], 2)
        entry = index.vectors(found)[0, row.rank]
        assert row.token == index.tokens[found.entries[0, row.rank]]
        assert row.found_layer == found.layers[0, row.rank]
        assert row.score == pytest.approx(float(entry @ unit[row.run, row.slot]), abs=1e-5)
        others = np.delete((unit[:, row.slot] @ entry).numpy(), row.run)
        assert row.others == pytest.approx(others.mean(), abs=1e-5)


@pytest.mark.model
def test_it_survives_a_folder(index, tmp_path):
    index.save(tmp_path)
    read = Index.load(tmp_path)
    torch.testing.assert_close(read.states, index.states, atol=0, rtol=0)
    assert replace(read, states=index.states) is not index
    for name in ("model", "layers", "tokens", "sources", "places", "texts"):
        assert getattr(read, name) == getattr(index, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", [1]),
        ("places", [99] * 6),
        ("places", ["<script>"] * 6),
        ("tokens", [-1] * 6),
        ("layers", [2, 0]),
        ("texts", []),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(tmp_path, name, value):
    drawn(2, 6, 4, 0).save(tmp_path)
    facts = tmp_path / "latentlens_index.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {name: value}))
    with pytest.raises(ModelError, match="holds no latentlens_index"):
        Index.load(tmp_path)


@pytest.mark.model
def test_what_makes_no_index_is_refused(reasoner, traces):
    with pytest.raises(SampleError, match="no token is left"):
        build_index(reasoner, ["a"])
    with pytest.raises(EditError, match="post-norm states are layer 4"):
        build_index(reasoner, TEXTS, [5])
    with pytest.raises(ModelError, match="7 wide"):
        lens(reasoner, traces, kind="latentlens", index=drawn(2, 6, 7, 0))
