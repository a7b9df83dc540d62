"""The benchmark at tiny sizes: every method gives the same numbers, and the results say on what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import sweep_7b
from benchmarks.sweep import __main__ as sweep
from benchmarks.sweep.bound import bound, decoder
from benchmarks.sweep.comparing import METHODS
from benchmarks.sweep.methods import Cell
from benchmarks.sweep.sizes import Sizes

SMALL = Sizes(layers=3, width=8, inner=16, heads=2, kv_heads=1, vocab=10, prompt=20, slots=4)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("results")
    held = torch.get_num_threads()
    try:
        sweep.main(["--quick", "--threads", "1", "--out", str(out), "--figures", str(out)])
    finally:
        torch.set_num_threads(held)
    found = json.loads((out / "sweep-quick.json").read_text(encoding="utf-8"))
    found["figures"] = {path.name: path.read_text("utf-8") for path in out.glob("*.svg")}
    return found


@pytest.mark.slow
def test_every_method_gives_the_logits_of_raw_hooks(results: dict[str, Any]) -> None:
    rows = results["rows"]
    assert {row["method"] for row in rows} == {method.name for method in METHODS}
    assert {row["sites"] for row in rows} == {12, 36}
    for row in rows:
        assert row["difference"] < 1e-3, row
        assert row["largest_effect"] > 20 * 1e-3, row


@pytest.mark.slow
def test_a_time_that_was_scaled_says_from_how_many_cells(results: dict[str, Any]) -> None:
    for row in results["rows"]:
        assert row["cells_run"] == (row["sites"] if row["method"] == "mindseye" else 4)
        assert row["seconds"] == pytest.approx(row["seconds_runs"] + row["seconds_cells"])


@pytest.mark.slow
def test_results_name_the_machine_and_every_version(results: dict[str, Any]) -> None:
    assert {"cpu", "cores", "threads", "date"} <= results["machine"].keys()
    named = {"python", "torch", "transformers", "nnsight", "transformer-lens", "mindseye"}
    assert results["versions"].keys() == named
    assert results["sizes"]["layers"] == 3
    assert results["machine"]["threads"] == 1


@pytest.mark.slow
def test_scaling_battery_and_figures_are_written(results: dict[str, Any]) -> None:
    assert results["scaling"].keys() == {"prompt", "sites", "layers", "layer"}
    assert [point["sites"] for point in results["scaling"]["sites"]] == [4, 12, 24, 36, 72]
    assert results["battery"]["arms"] == 24
    assert results["battery"]["in_generations"] > 0
    assert set(results["figures"]) == {"sweep.svg", "sweep-scaling.svg"}
    assert "nnsight" in results["figures"]["sweep.svg"]


@pytest.mark.model
def test_the_script_for_a_real_model_runs_to_its_end(tmp_path: Path) -> None:
    out = str(tmp_path)
    found = sweep_7b.main(["--tiny", "--dtype", "float32", "--times", "1", "--out", out])
    assert [row["sites"] for row in found["rows"]] == [12, 12, 12]
    assert max(row["difference"] for row in found["rows"]) < 1e-3
    assert json.loads((tmp_path / "sweep-7b-tiny.json").read_text("utf-8")) == found


def test_the_bound_of_a_cell_that_reaches_nothing_is_nothing() -> None:
    assert bound(SMALL, [Cell(2, "hook_mlp_out", 0)], first_slot=20, length=25) == 0
    assert bound(SMALL, [Cell(1, "hook_mlp_out", 0)], first_slot=20, length=25) > 0


def test_the_bound_falls_with_the_layer_and_with_the_slot() -> None:
    layers = [bound(SMALL, [Cell(i, "hook_resid_pre", 0)], 20, 25) for i in range(3)]
    slots = [bound(SMALL, [Cell(0, "hook_resid_pre", i)], 20, 25) for i in range(4)]
    assert layers == sorted(layers, reverse=True)
    assert slots == sorted(slots, reverse=True)
    assert len({*layers, *slots}) == 6  # the first of each is the same cell


def test_the_bound_counts_what_a_pencil_counts() -> None:
    # Width 8, one head of queries is 4 wide; two query heads, one of keys and values; MLP 16.
    query, key_value, out, mlp, per_key = 2 * 8 * 8, 4 * 8 * 4, 2 * 8 * 8, 6 * 8 * 16, 4 * 8
    rest, logits = out + mlp, 2 * 8 * 10
    assert decoder(SMALL, 2) == 3 * (2 * (query + key_value + rest) + per_key * 3)
    two = Cell(1, "hook_resid_mid", 3)  # position 23 of 25: it and the last one
    last = 2 * key_value + query + per_key * 25 + rest
    assert bound(SMALL, [two], 20, 25) == mlp + last + logits


def test_a_bound_is_refused_where_none_is_known() -> None:
    with pytest.raises(ValueError, match="hook_pattern"):
        bound(SMALL, [Cell(0, "attn.hook_pattern", 0)], 20, 25)
    with pytest.raises(ValueError, match="before the position that is read"):
        bound(SMALL, [Cell(0, "hook_resid_pre", 4)], 20, 25)
