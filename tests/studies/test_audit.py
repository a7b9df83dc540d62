"""The audit as a whole: what it carries beside the effects."""

import importlib
import json
from dataclasses import replace

import pytest

import mindseye as me
from mindseye.errors import EditError, SampleError
from mindseye.studies import audit

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def found(organism):
    return audit(organism("bypass"), me.task("digits"), n_pairs=12, truth="inert")


def test_an_audit_is_named_after_its_model_without_the_scheme(found):
    assert found.name == "bypass"


def test_a_folder_gives_its_last_part_as_name(folder, organism):
    renamed = me.load(folder, device="cpu")
    assert audit(renamed, me.task("digits"), n_pairs=2, layers=[0]).name == folder.name


def test_a_summary_is_strict_json_with_every_number(found):
    summary = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert summary["truth"] == "inert"
    assert summary["verdict"] == "negligible"
    assert {each["verdict"] for each in summary["levels"].values()} == {"negligible"}
    assert {"mean", "low", "high", "p_value", "flip_rate"} <= set(summary["effects"]["kv"]["te"])
    assert len(summary["checklist"]) == 19
    assert summary["margin"] == pytest.approx(0.1 * summary["effects"]["kv"]["te"]["mean"])
    assert summary["effects"]["kv"]["int"]["flip_rate"] is None
    assert summary["guards"]["placebo_te"]["low"] <= summary["guards"]["placebo_te"]["high"]


def test_a_summary_has_all_that_was_found(found):
    summary, mediation = found.summary(), found.mediation
    assert set(summary) == {
        "truth", "accuracy", "n_pairs", "n_clusters", "emission_rate", "parse_rate", "outcome",
        "margin", "effects", "contrasts", "shares", "controlled", "verdict", "reasons", "levels",
        "guards", "checklist", "probe", "latents",
    }  # fmt: skip
    for part in ("contrasts", "shares", "controlled"):
        assert len(summary[part]) == len(getattr(mediation, part))
    assert summary["margin"] == mediation.margin_size
    assert set(mediation.guards) < set(summary["guards"])
    te = mediation.effects.query("level == 'kv' and effect == 'te'").iloc[0]
    assert summary["effects"]["kv"]["te"]["mean"] == te["mean"]


def test_what_was_run_beside_the_mediation_is_in_the_checklist(found):
    items = found.checklist.set_index("item")
    assert len(items) == 19
    assert set(items["state"]) <= {"done", "failed", "not run"}
    assert items.loc[[8, 9, 13], "state"].tolist() == ["done", "done", "done"]
    assert items.loc[[16, 19], "state"].tolist() == ["not run", "not run"]
    assert "12 pairs" in items.loc[9, "note"]


def test_a_placebo_that_moves_fails_its_item(found):
    loud = replace(found, placebo=found.mediation)
    items = loud.checklist.set_index("item")
    assert items.loc[13, "state"] == "failed"
    assert loud.placebo_te == found.mediation.effect("te", level="embedding")


def test_nothing_backs_up_and_no_slot_matters_where_nothing_reads_them(found):
    assert len(found.backup) == 12
    assert found.backup[["open", "cut"]].abs().max().max() < 1e-4
    assert set(found.slots["way"]) == {"joint", "frozen", "shapley", "rerolled", "prefix"}
    assert found.slots["effect"].abs().max() < 1e-4


def test_slots_are_looked_at_on_the_first_pairs_only(organism, monkeypatch):
    # The package has a function of the same name.
    monkeypatch.setattr(importlib.import_module("mindseye.studies.audit"), "_N_SLOT_PAIRS", 1)
    few = audit(organism("bypass"), me.task("digits"), n_pairs=2, layers=[0], levels=("kv",))
    assert few.slots["pair"].nunique() == 1
    assert "(1 pairs)" in few.checklist.set_index("item").loc[9, "note"]
    assert few.probe is None  # too few runs
    assert few.summary()["probe"] is None


def test_the_probe_reads_what_the_model_does_not_use(found):
    assert found.probe is not None
    assert found.probe.low > found.probe.shuffled


def test_progress_is_told_stage_by_stage_after_what_is_to_be_expected(organism):
    stages = []

    def track(title, pairs):
        stages.append((title, len(pairs)))
        return pairs

    def announce(expected):
        assert not stages
        stages.append(expected)

    audit(
        organism("bypass"), me.task("digits"), n_pairs=2, layers=[0], track=track,
        announce=announce,
    )  # fmt: skip
    assert (stages[0].n_pairs, stages[0].pilot.n_pairs) == (2, 2)
    assert stages[1:] == [
        ("patching layers x slots", 2), ("mediation", 2), ("placebo pairs", 2),
        ("direct path cut", 2), ("slots one by one", 2),
    ]  # fmt: skip


def test_one_pair_is_too_few(organism):
    with pytest.raises(SampleError, match="at least 2"):
        audit(organism("bypass"), me.task("digits"), n_pairs=1)


def test_a_level_that_does_not_exist_is_refused(organism):
    with pytest.raises(EditError, match="embedding, kv, span"):
        audit(organism("bypass"), me.task("digits"), n_pairs=2, levels=("aura",))
