"""The command line, as a stranger meets it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mindseye as me
from mindseye import cli
from mindseye.imagination.training import PAPER, Trained
from mindseye.organisms import DESIGNS, weights_of

pytestmark = pytest.mark.model

COMMAND = Path(sys.executable).parent / "mindseye"


def mindseye(capfd, monkeypatch, *arguments):
    """Run the command in this process; return its exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["mindseye", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capfd.readouterr()
    return ended.value.code or 0, said.out, said.err


@pytest.fixture
def run(capfd, monkeypatch):
    return lambda *arguments: mindseye(capfd, monkeypatch, *arguments)


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.png"
    Image.fromarray(me.task("digits").samples(1)[0].image).save(path)
    return path


def question():
    return me.task("digits").samples(1)[0].question


def is_one_plain_line(code, err):
    return code == 2 and err.startswith("mindseye: ") and len(err.strip().splitlines()) == 1


def test_help_loads_neither_torch_nor_plotly():
    script = (
        "import sys\nsys.argv = ['mindseye', '--help']\nfrom mindseye import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'plotly', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_a_run_shows_latents_and_answer(run, scene):
    code, out, _ = run("run", "organism:mediator", "--image", scene, "--question", question())
    assert code == 0
    assert "<|latent_start|>" in out
    assert "4 latents" in out
    assert f"answer: {me.task('digits').samples(1)[0].answer}" in out


def test_a_run_without_latents_says_so(run, scene):
    code, out, _ = run(
        "run", "organism:base", "--protocol", "mirage",
        "--image", scene, "--question", question(), "--max-new-tokens", 3,
    )  # fmt: skip
    assert code == 0
    assert "no latents" in out
    assert "answer: none that could be parsed" in out


def test_inspect_prints_what_it_writes_and_what_python_returns(run, tmp_path):
    code, out, _ = run("inspect", "organism:natural")
    assert code == 0
    assert "Qwen2_5_VLForConditionalGeneration" in out
    assert "<|latent_start|>" in out
    code, out, _ = run("inspect", "organism:natural", "--json", tmp_path / "new" / "report.json")
    assert code == 0
    written = json.loads((tmp_path / "new" / "report.json").read_text())
    known = me.inspect(me.load("organism:natural", device="cpu"))
    assert written == json.loads(json.dumps(known))
    assert written["vocabulary"]["embedding_rows"] == written["vocabulary"]["tokenizer"]
    assert written["weights"]["missing"] == written["weights"]["unexpected"] == []


def test_inspect_measures_when_a_model_imagines(run):
    code, out, _ = run("inspect", "organism:natural", "--samples", 6, "--json", "-")
    found = json.loads(out)["triggering"]
    assert code == 0
    assert found["n_runs"] == 6
    assert found["rate"] == 1
    assert found["lengths"] == {"4": 6}
    assert found["segment_stops"] == {"count": 6}
    code, out, _ = run(
        "inspect", "organism:base", "--protocol", "mirage", "--samples", 4, "--json", "-"
    )
    found = json.loads(out)["triggering"]
    assert code == 0
    assert (found["rate"], found["low"]) == (0, 0)
    assert found["high"] > 0.5
    assert found["segments"] == {"0": 4}


def test_one_pair_of_images_gives_a_row_per_level(run, tmp_path):
    pair = me.task("digits").pairs(1)[0]
    for name, sample in (("a", pair.clean), ("b", pair.reference)):
        Image.fromarray(sample.image).save(tmp_path / f"{name}.png")
    code, out, _ = run(
        "mediate", "organism:mediator", "--clean", tmp_path / "a.png",
        "--reference", tmp_path / "b.png", "--question", pair.clean.question,
        "--answers", *pair.answers,
    )  # fmt: skip
    assert code == 0
    for level in ("embedding", "kv", "span"):
        assert level in out


def test_the_demo_writes_a_report_a_summary_and_rows(tmp_path):
    """As it is installed: by itself, where nothing checks types, it takes a third of the time."""
    out = tmp_path / "new" / "demo"
    ended = subprocess.run(
        [COMMAND, "demo", "--out", out, "--pairs", "12"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    code, said = ended.returncode, ended.stdout
    assert code == 0, ended.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "latents.html", "replacements.parquet", "report.html", "rows.parquet", "summary.json",
    ]  # fmt: skip
    assert str(out / "report.html") in said
    reasoners = json.loads((out / "summary.json").read_text())["reasoners"]
    assert set(reasoners) == {"mediator", "bypass", "natural"}
    assert reasoners["mediator"]["verdict"] == "mediates"
    assert reasoners["bypass"]["verdict"] == "negligible"
    for name in ("mediator", "bypass"):
        assert reasoners[name]["truth"] == DESIGNS[name].truth
    for found in reasoners.values():
        assert found["n_pairs"] == 12
        assert found["emission_rate"] == 1
        assert found["guards"]["identity_max_abs"] <= 1e-4
        assert set(found["effects"]["kv"]) == {"te", "pde", "tde", "pie", "tie", "int"}
        assert list(found["levels"]) == ["embedding", "kv", "span"]
        assert len(found["checklist"]) == 19
    rows = pd.read_parquet(out / "rows.parquet")
    assert len(rows[rows["pairs"] == "minimal"]) == 3 * 12 * 3


def test_what_is_to_be_expected_is_told_before_an_audit(run, tmp_path):
    code, out, _ = run(
        "audit", "organism:bypass", "--pairs", 2, "--layers", 0, "--levels", "kv",
        "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    assert "organism:bypass: 2 pairs planned; from a pilot of 2:" in out
    assert "PIE at kv" in out
    assert "would be shown" in out


def test_every_organism_is_listed_with_its_letter_its_verdict_and_its_truth(run):
    code, out, _ = run("organisms")
    assert code == 0
    plain = " ".join(out.split())
    for name, plan in DESIGNS.items():
        letter = f"design {plan.letter}; " if plan.letter else ""
        told = f"{plan.truth} {letter}verdict: {plan.verdict or 'unknown'}"
        assert f"{name} {told}" in plain


def test_organisms_are_checked_by_name(run):
    code, out, _ = run("validate", "--pairs", 8, "mediator", "bypass")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if "✓" in line}
    assert set(rows) == {"mediator", "bypass"}
    assert "✓ mediates" in rows["mediator"]
    assert "✓ negligible" in rows["bypass"]
    assert "True verdict (rows) by reported verdict" in out
    assert "All 2 verdicts are right." in out
    assert "A leak through the latents" not in out  # that curve is for a check of everything


def test_a_wrong_verdict_ends_a_check_with_one(run, monkeypatch, tmp_path):
    lie = dataclasses.replace(DESIGNS["bypass"], verdict="mediates")
    monkeypatch.setitem(DESIGNS, "bypass", lie)
    path = tmp_path / "new" / "rows.csv"
    code, out, _ = run("validate", "--pairs", 4, "bypass", "--csv", path)
    assert code == 1
    assert "✗ negligible, not mediates" in out
    assert "bypass is wrong at ladder." in out
    assert "verdicts are right" not in out
    (row,) = pd.read_csv(path).to_dict("records")
    assert (row["truth"], row["verdict"], row["right"]) == ("mediates", "negligible", False)


def test_accuracy_is_measured_by_a_command(run):
    code, out, _ = run("organisms", "measure", "mediator", "--samples", 4)
    assert code == 0
    assert "zoom" in out
    assert "transform" in out


class BadInput:
    """What a stranger might give; each builds arguments and says what the line must contain."""

    @staticmethod
    def missing_image(tmp_path, scene):
        return ("run", "organism:mediator", "--image", tmp_path / "no.png", "--question", "Why?"), (
            "no.png' is not a file"
        )

    @staticmethod
    def unreadable_image(tmp_path, scene):
        path = tmp_path / "text.png"
        path.write_text("not an image")
        return ("run", "organism:mediator", "--image", path, "--question", "Why?"), "cannot be read"

    @staticmethod
    def image_of_the_wrong_kind(tmp_path, scene):
        path = tmp_path / "float.tiff"
        Image.fromarray(np.zeros((8, 8), np.float32)).save(path)
        return ("run", "organism:mediator", "--image", path, "--question", "Why?"), "mode 'F'"

    @staticmethod
    def empty_question(tmp_path, scene):
        return ("run", "organism:mediator", "--image", scene, "--question", "  "), "empty question"

    @staticmethod
    def impossible_shape(tmp_path, scene):
        path = tmp_path / "thin.png"
        Image.new("RGB", (900, 2)).save(path)
        return ("run", "organism:mediator", "--image", path, "--question", "Why?"), "aspect ratio"

    @staticmethod
    def pair_on_different_grids(tmp_path, scene):
        path = tmp_path / "small.png"
        Image.new("RGB", (32, 32)).save(path)
        return (
            "mediate", "organism:mediator", "--clean", scene, "--reference", path,
            "--question", "Why?", "--answers", "1", "2",
        ), "same image grid"  # fmt: skip

    @staticmethod
    def pair_of_one_answer(tmp_path, scene):
        return (
            "mediate", "organism:mediator", "--clean", scene, "--reference", scene,
            "--question", "Why?", "--answers", "1", "1",
        ), "two answers"  # fmt: skip

    @staticmethod
    def folder_that_is_no_model(tmp_path, scene):
        return ("audit", tmp_path, "--out", tmp_path / "o"), "no config.json"

    @staticmethod
    def preset_that_does_not_exist(tmp_path, scene):
        return ("inspect", "organism:natural", "--protocol", "ouija"), "monet_vllm"

    @staticmethod
    def number_format_that_does_not_exist(tmp_path, scene):
        return ("inspect", "organism:natural", "--dtype", "int3"), "bfloat16"

    @staticmethod
    def report_under_a_file(tmp_path, scene):
        return ("inspect", "organism:natural", "--json", scene / "report.json"), "is a file"

    @staticmethod
    def model_that_does_not_exist(tmp_path, scene):
        return ("audit", tmp_path / "nowhere", "--out", tmp_path / "o"), "neither a folder nor"

    @staticmethod
    def model_without_a_protocol(tmp_path, scene):
        return ("audit", "organism:base", "--out", tmp_path / "o"), "says nothing of latents"

    @staticmethod
    def organism_that_does_not_exist(tmp_path, scene):
        return ("audit", "organism:unicorn", "--out", tmp_path / "o"), "mediator, feedback, bypass"

    @staticmethod
    def task_that_does_not_exist(tmp_path, scene):
        return ("audit", "organism:mediator", "--task", "chess", "--out", tmp_path / "o"), "digits"

    @staticmethod
    def level_that_does_not_exist(tmp_path, scene):
        return (
            "audit", "organism:mediator", "--levels", "kv,aura", "--out", tmp_path / "o",
        ), "embedding, kv, span"  # fmt: skip

    @staticmethod
    def layer_that_does_not_exist(tmp_path, scene):
        return (
            "audit", "organism:mediator", "--layers", "2,9", "--out", tmp_path / "o",
        ), "layers 0 to 3"  # fmt: skip

    @staticmethod
    def layers_that_are_no_numbers(tmp_path, scene):
        return (
            "audit", "organism:mediator", "--layers", "top", "--out", tmp_path / "o",
        ), "whole numbers"  # fmt: skip

    @staticmethod
    def too_few_pairs(tmp_path, scene):
        return ("demo", "--pairs", "1", "--out", tmp_path / "o"), "at least 2"

    @staticmethod
    def output_under_a_file(tmp_path, scene):
        return ("demo", "--out", scene / "inside"), "lies under the file"

    @staticmethod
    def output_that_cannot_be_made(tmp_path, scene):
        return ("demo", "--out", "/proc/nowhere"), "cannot be written"

    @staticmethod
    def organism_to_train_that_does_not_exist(tmp_path, scene):
        return ("organisms", "train", "unicorn", "--out", tmp_path / "o"), "mediator"


CASES = [name for name in vars(BadInput) if not name.startswith("_")]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_leaves_nothing_behind(run, tmp_path, scene, case):
    arguments, words = getattr(BadInput, case)(tmp_path, scene)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert is_one_plain_line(code, err), err
    assert words in err
    assert "Traceback" not in out + err
    assert sorted(tmp_path.rglob("*")) == before


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["mindseye", "audit", str(tmp_path), "--out", str(tmp_path / "o"), "--debug"]
    )
    with pytest.raises(me.MindseyeError, match=r"config\.json"):
        cli.main()


def test_the_installed_command_fails_with_one_line_and_no_traceback(tmp_path):
    ended = subprocess.run(
        [COMMAND, "audit", tmp_path, "--out", tmp_path / "o"], capture_output=True, text=True
    )
    assert is_one_plain_line(ended.returncode, ended.stderr)


def test_a_folder_works_as_well_as_a_name(run, tmp_path):
    code, _, err = run(
        "audit", weights_of("bypass"), "--pairs", 4, "--layers", "0,1", "--levels", "kv",
        "--out", tmp_path / "o",
    )  # fmt: skip
    assert code == 0, err
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    found = summary["reasoners"]["bypass"]
    assert found["levels"]["kv"]["verdict"] == "negligible"
    assert found["verdict"] == "inconclusive"  # of the whole ladder, of which one level was asked
    assert found["truth"] == ""  # a folder is no organism


def test_what_may_be_named_is_listed(run):
    code, out, _ = run("list", "replacements")
    assert code == 0
    assert "carries another; in distribution: yes; keeps vectors; needs pool" in " ".join(
        out.split()
    )
    code, out, _ = run("list", "replacements", "noise")
    assert (code, out.split()[:2]) == (0, ["scale", "=1.0"])


def test_runs_are_read_into_a_file(run, tmp_path):
    code, out, _ = run(
        "read", "organism:bypass", "lens:top=2", "--samples", 4, "--out", tmp_path / "words.csv"
    )
    assert code == 0
    assert "beside other runs' latents" in " ".join(out.split())
    rows = pd.read_csv(tmp_path / "words.csv")
    assert {"token", "score", "others", "permuted"} <= set(rows)
    assert rows["run"].nunique() == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("audit", "organism:bypass", "--replace", "nois:scale=1"), "Did you mean 'noise'"),
        (("audit", "organism:bypass", "--replace", "noise:scal=1"), "Did you mean 'scale'"),
        (("audit", "organism:bypass", "--perturb", "mask_targt"), "Did you mean 'mask_target'"),
        (("list", "gadgets"), "there are: perturbations"),
        (("read", "organism:bypass", "lense", "--out", "x.csv"), "Did you mean 'lens'"),
        (("read", "organism:bypass", "lens", "--out", "x.doc"), ".csv or .parquet"),
    ],
)
def test_a_name_that_nobody_knows_is_one_line_before_anything_loads(run, asked, message):
    code, _, said = run(*asked)
    assert code == 2
    assert message in " ".join(said.split())


def test_an_audit_takes_other_pairs_and_other_arms(run, tmp_path):
    out = tmp_path / "o"
    code, _, said = run(
        "audit", "organism:bypass", "--pairs", 16, "--layers", 0, "--levels", "kv",
        "--perturb", "redraw:attribute=digit", "--replace", "donor:answer=other", "--out", out,
    )  # fmt: skip
    assert code == 0, said
    table = pd.read_parquet(out / "replacements.parquet")
    assert set(table["arm"]) == {"identity", "donor:answer=other"}


def test_text_imagination_is_built_from_words_that_are_there(run, tmp_path):
    """Without a captioner; models and servers are asked in tests/imagination."""
    code, out, said = run(
        "capimagine", "build", "digits:5", "--rewriting", "own", "--no-refine", "--no-filter",
        "--out", tmp_path / "words",
    )  # fmt: skip
    assert code == 0, said
    assert "5 items kept" in " ".join(out.split())
    assert len(pd.read_parquet(tmp_path / "words" / "dataset.parquet")) == 5


@pytest.mark.parametrize(
    ("recipe", "message"),
    [('{"lr": 1}', "was given with 'lr'"), ("{", "recipe"), ("{}", "got no data or no --out")],
)
def test_a_training_that_cannot_begin_says_why(run, tmp_path, recipe, message):
    path = tmp_path / "recipe.json"
    path.write_text(recipe)
    code, _, said = run("capimagine", "train", path)
    assert code == 2
    assert message in " ".join(said.split())


@pytest.mark.parametrize(
    ("said", "message"),
    [("lr=1", "was given with 'lr'"), ("learning_rate", "--set got 'learning_rate'")],
)
def test_a_field_that_cannot_be_set_says_why(run, said, message):
    code, _, told = run("capimagine", "train", "paper", "--set", said)
    assert code == 2
    assert message in " ".join(told.split())


def test_fields_of_a_recipe_are_set_on_the_command_line(run, monkeypatch):
    plans = []

    def dry_run(plan):
        plans.append(plan)
        return Trained(Path(), 3, 3, None, ())

    monkeypatch.setattr("mindseye.imagination.training.dry_run", dry_run)
    changes = (
        *("imagination=latent", "gradient_checkpointing=false"),
        *("learning_rate=2e-5", "keep_column=kept"),
    )
    sets = [part for change in changes for part in ("--set", change)]
    assert run("capimagine", "train", "paper", "--dry-run", *sets)[0] == 0
    (plan,) = plans
    assert plan == dataclasses.replace(
        PAPER,
        imagination="latent",
        gradient_checkpointing=False,
        learning_rate=2e-5,
        keep_column="kept",
    )
