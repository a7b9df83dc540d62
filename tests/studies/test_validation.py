"""The instrument on models whose truth is known, by the command and in Python."""

import functools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mindseye.errors import UnknownNameError
from mindseye.organisms import DESIGNS
from mindseye.studies import sensitivity, validate
from mindseye.studies.practices import FOOLED_BY
from mindseye.studies.validation import KNOWN, random_organism

pytestmark = pytest.mark.model

LEVELS = ("embedding", "kv", "span")
PRACTICES = ("raw cosine", "probe", "noise ablation", "shared tensor")


def command(*arguments):
    """Run `mindseye validate` by itself, where nothing checks types and all is fast."""
    return subprocess.run(
        [Path(sys.executable).parent / "mindseye", "validate", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """What is found of every organism on its shipped weights, as the command writes it."""
    path = tmp_path_factory.mktemp("validation") / "all.csv"
    ended = command(*KNOWN, "--pairs", 12, "--csv", path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"All {len(KNOWN)} verdicts are right." in ended.stdout
    return pd.read_csv(path, keep_default_na=False).set_index("organism")


TOLD = []
"""What was told of progress."""


def told(name, pairs):
    TOLD.append((name, len(pairs)))
    return pairs


@pytest.fixture(scope="module")
def few():
    """Two organisms, with everything that was measured of them."""
    return validate(("bypass", "feedback"), n_pairs=4, track=told)


def test_every_organism_whose_truth_is_known_is_tested(table):
    assert list(table.index) == list(KNOWN)
    unknown = {name for name, plan in DESIGNS.items() if plan.verdict is None}
    assert set(DESIGNS) - set(KNOWN) == unknown
    assert {"natural", "capimagine", "captioner", "direct", "base"} == unknown


def test_no_verdict_is_wrong(table):
    assert table["right"].all()
    for name, plan in DESIGNS.items():
        if name in KNOWN:
            assert table.loc[name, "verdict"] == plan.verdict
            found = table.loc[name, list(LEVELS)].to_dict()
            assert {level: found[level] for level in plan.levels} == dict(plan.levels)


def test_every_word_but_inconclusive_is_met(table):
    assert set(table["verdict"]) == {
        "mediates", "redundant", "necessary only jointly", "negligible", "relay", "marker-format",
        "soft prompt",
    }  # fmt: skip


@pytest.mark.parametrize(("practice", "name"), FOOLED_BY.items())
def test_a_practice_is_fooled_by_the_organism_made_for_it(table, practice, name):
    """It says the opposite of the truth, and the verdict beside it does not."""
    row = table.loc[name]
    assert row[f"{practice} active"] != row["active"]
    assert row["right"]


@pytest.mark.parametrize("practice", PRACTICES)
def test_a_practice_is_right_of_some_organisms(table, practice):
    """Being wrong throughout would be no practice but a bug."""
    hits = table[f"{practice} active"] == table["active"]
    assert hits.mean() > 1 / 3
    assert not hits.all()


def test_numbers_of_practices_are_what_they_are_named_after(table):
    cosine, noise = table["raw cosine"], table["noise ablation"]
    assert cosine["anisotropic"] > 0.9 > cosine["feedback"]
    assert cosine["relay"] == pytest.approx(1)  # the pad's embedding, whatever the input
    assert noise["bypass"] == noise["backup"] == 0
    assert table["shared tensor"]["feedback"] > 0.5


def test_there_is_one_row_per_organism(few):
    frame = few.to_frame()
    assert frame["organism"].tolist() == ["bypass", "feedback"]
    assert frame["letter"].tolist() == ["B", "A'"]
    assert frame["truth"].tolist() == frame["verdict"].tolist() == ["negligible", "mediates"]
    assert frame["active"].tolist() == [False, True]
    for name in PRACTICES:
        said = [each.practices[name] for each in few.tested]
        assert frame[name].tolist() == [each.value for each in said]
        assert frame[f"{name} active"].tolist() == [each.active for each in said]
    assert frame["kv"].tolist() == [each.mediation.verdicts["kv"].word for each in few.tested]


def test_a_mediation_has_what_practices_are_told_from(few):
    for each in few.tested:
        assert each.trained
        assert set(each.mediation.rows["outcome"]) == {"logit difference", "right"}
        assert set(each.mediation.pinned["pin"]) == {"zero", "noise", "shared", "cut"}
        assert each.mediation.outcome == "logit difference"


def test_the_confusion_table_counts_every_organism(few):
    table = few.confusion()
    ours = table["instrument"]
    assert ours.loc["negligible"].to_dict() == {"mediates": 0, "negligible": 1}
    assert ours.loc["mediates"].to_dict() == {"mediates": 1, "negligible": 0}
    for name in PRACTICES:
        assert list(table[name].columns) == ["active", "inert"]
        active = [each.practices[name].active for each in few.tested]
        assert table[name]["active"].sum() == sum(active)
        assert table[name].to_numpy().sum() == 2


def test_a_wrong_claim_about_a_model_is_reported_as_wrong(few, monkeypatch):
    """The twin of no wrong verdicts: a truth that is none is not found."""
    lie = replace(DESIGNS["bypass"], verdict="mediates", levels={"kv": "mediates"})
    monkeypatch.setitem(DESIGNS, "bypass", lie)
    wrong = validate(("bypass",), n_pairs=4)
    assert wrong.wrong == {"bypass": ["kv", "ladder"]}
    assert not wrong.to_frame()["right"].any()
    assert wrong.confusion()["instrument"].loc["mediates", "negligible"] == 1
    # Nothing but the claim is another, as equal seeds give equal validations.
    claimed = ["truth", "right"]
    mine, theirs = (each.to_frame().drop(columns=claimed) for each in (few, wrong))
    assert theirs.equals(mine[:1])


def test_on_random_weights_only_what_follows_from_the_design_is_held_against_it(few):
    """A design that says nothing of a level says nothing of the ladder without its weights."""
    (bypass, _) = few.tested
    silent = replace(bypass.plan, verdict="mediates", levels={"kv": "negligible"})
    assert replace(bypass, plan=silent, trained=True).wrong == ["ladder"]
    assert replace(bypass, plan=silent, trained=False).wrong == []
    whole = replace(bypass.plan, verdict="mediates")
    assert replace(bypass, plan=whole, trained=False).wrong == ["ladder"]


def test_random_weights_are_asked_for_answers_of_their_own():
    (each,) = validate(("feedback",), n_pairs=3, weights=0).tested
    assert not each.trained
    golds = each.mediation.runs["gold"]
    assert not golds.str.fullmatch(r"\d").all()
    rows = each.mediation.rows[each.mediation.rows["outcome"] == "logit difference"]
    assert (rows["te"] > 0.1).all()
    assert (rows["te"] - rows["pie"]).abs().max() < 1e-4


def test_a_random_organism_is_the_same_for_one_seed_and_another_for_another(monkeypatch):
    from mindseye.studies import validation

    monkeypatch.setattr(validation, "blank_processor", functools.cache(validation.blank_processor))
    one, same, other = (
        random_organism(DESIGNS["feedback"], seed).model.get_input_embeddings().weight
        for seed in (0, 0, 1)
    )
    assert (one == same).all()
    assert (one != other).any()
    assert str(one.dtype) == "torch.float64"


def test_an_organism_of_unknown_truth_or_none_at_all_is_refused():
    with pytest.raises(UnknownNameError, match=r"organism 'natural' beforehand; there are mediat"):
        validate(("bypass", "natural"))
    with pytest.raises(UnknownNameError, match="No organism 'unicorn'"):
        validate(("unicorn",))


def test_progress_is_told_by_organism(few):
    assert few.tested
    assert TOLD == [("bypass", 4), ("feedback", 4)]


def test_a_leak_is_as_large_as_it_is_and_matters_beyond_the_margin():
    curve = sensitivity((0.02, 0.4), n_pairs=3)
    assert curve.columns.tolist() == ["gain", "mean", "low", "high", "te", "detected", "verdict"]
    assert curve["gain"].tolist() == [0.02, 0.4]
    assert curve["verdict"].tolist() == ["negligible", "mediates"]
    assert curve["detected"].tolist() == [True, True]  # seen long before it matters
    assert (curve["mean"] / curve["te"]).tolist() == pytest.approx([0.02, 0.4], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("weights", range(10))
def test_no_verdict_on_random_weights_is_wrong(weights):
    """What is true by construction is true of any weights, and found on them."""
    ended = command("--pairs", 8, "--random-weights", weights)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"All {len(KNOWN)} verdicts are right." in ended.stdout
