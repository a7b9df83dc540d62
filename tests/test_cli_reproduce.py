"""`mindseye reproduce`, as a stranger meets it."""

import sys

import pytest

from mindseye import cli
from tests.report.reproductions import reproduction


@pytest.fixture
def run(capfd, monkeypatch):
    """Run the command in this process; return its exit code, output and errors."""

    def mindseye(*arguments):
        monkeypatch.setattr(sys, "argv", ["mindseye", "reproduce", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        return ended.value.code or 0, said.out, said.err

    return mindseye


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["2605.18445", "--mini"], "there is one of 2602.22766"),
        (["2602.22766"], "Add --mini"),
        (["2602.22766", "--mini", "--model", "natural"], "such as natural=FOLDER"),
        (["2602.22766", "--mini", "--model", "latent=x"], "Name all three"),
    ],
)
def test_a_wrong_request_is_one_line(run, tmp_path, arguments, said):
    code, _, err = run(*arguments, "--out", tmp_path / "new")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert said in err
    assert not (tmp_path / "new").exists()


def test_it_prints_every_claim_and_where_the_page_is(run, tmp_path, monkeypatch):
    asked = {}

    def stand_in(**options):
        asked.update(options)
        list(options["track"]("similarity", [1, 2]))
        return reproduction()

    monkeypatch.setattr("mindseye.studies.reproduce", stand_in)
    code, out, err = run(
        "2602.22766", "--mini", "--out", tmp_path, "--pairs", 9, "--seed", 4,
        "--model", "natural=a", "--model", "natural=b", "--model", "direct=c",
    )  # fmt: skip
    assert code == 0
    assert (asked["n_pairs"], asked["seed"]) == (9, 4)
    assert asked["models"] == {"natural": ["a", "b"], "direct": ["c"]}
    assert "2 agree, 1 disagree, 1 undecided" in out
    assert str(tmp_path / "reproduction.html") in out
    assert (tmp_path / "rows.parquet").is_file()
    assert "similarity" in err
    assert "similarity" not in out
