"""The audit as a whole: what it carries beside the effects."""

import json

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
    assert summary["verdict"] == {
        "embedding": "negligible",
        "kv": "negligible",
        "span": "negligible",
    }
    assert set(summary["effects"]["kv"]["te"]) == {"mean", "low", "high", "flip_rate"}
    assert summary["effects"]["kv"]["int"]["flip_rate"] is None
    assert summary["guards"]["placebo_te"]["low"] <= summary["guards"]["placebo_te"]["high"]


def test_the_probe_reads_what_the_model_does_not_use(found):
    assert found.probe is not None
    assert found.probe.low > found.probe.shuffled


def test_too_few_runs_are_not_probed(organism):
    few = audit(organism("bypass"), me.task("digits"), n_pairs=2, layers=[0], levels=("kv",))
    assert few.probe is None
    assert few.summary()["probe"] is None


def test_progress_is_told_stage_by_stage(organism):
    stages = []

    def track(title, pairs):
        stages.append((title, len(pairs)))
        return pairs

    audit(organism("bypass"), me.task("digits"), n_pairs=2, layers=[0], track=track)
    assert stages == [("patching layers x slots", 2), ("mediation", 2), ("placebo pairs", 2)]


def test_one_pair_is_too_few(organism):
    with pytest.raises(SampleError, match="at least 2"):
        audit(organism("bypass"), me.task("digits"), n_pairs=1)


def test_a_level_that_does_not_exist_is_refused(organism):
    with pytest.raises(EditError, match="embedding, kv, span"):
        audit(organism("bypass"), me.task("digits"), n_pairs=2, levels=("aura",))
