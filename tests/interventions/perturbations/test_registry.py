"""Nothing is offered without a docstring, a declaration, an entry point and a test."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from mindseye import plugins
from mindseye.interventions.perturbations import Perturbation, perturbation
from mindseye.interventions.perturbations.perturbing import changed_parts
from mindseye.plugins import find
from mindseye.samples import Sample, read_image
from tests.interventions.perturbations.scenes import built_in, examples, rng

HERE = Path(__file__).parent
DECLARED = {"keeps_grid", "in_distribution", "changes_answer", "touches"}


@pytest.fixture(autouse=True)
def forget_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_offers", dict(plugins._offers))


def lacks(asked: Perturbation, tests: Iterable[str]) -> list[str]:
    """What a perturbation lacks before it may be offered."""
    source = ast.parse(inspect.cleandoc(inspect.getsource(inspect.unwrap(asked.function))))
    function = source.body[0]
    assert isinstance(function, ast.FunctionDef)
    declared = {
        keyword.arg
        for call in function.decorator_list
        if isinstance(call, ast.Call)
        for keyword in call.keywords
    }
    missing = [f"declaration of {name}" for name in sorted(DECLARED - declared)]
    doc = ast.get_docstring(function) or ""
    missing += [] if doc else ["docstring"]
    missing += [f"meaning of {each.name}" for each in asked.parameters if not each.meaning]
    missing += [] if "Raises:" in doc else ["errors"]
    missing += [] if any(test.startswith(f"test_{asked.name}_") for test in tests) else ["test"]
    return missing


def _names_of_tests() -> list[str]:
    """The names of all tests of this folder."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in HERE.glob("test_*.py")]
    functions = [node for tree in trees for node in ast.walk(tree)]
    return [node.name for node in functions if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_perturbation_lacks_nothing(name: str) -> None:
    assert lacks(find("perturbation", name), _names_of_tests()) == []


def test_a_perturbation_that_lacks_everything_would_be_seen() -> None:
    @perturbation("bare")
    def bare(sample: Sample, *, dose: float = 1.0, rng: np.random.Generator) -> Sample:
        return sample

    assert lacks(bare, _names_of_tests()) == [
        "declaration of changes_answer",
        "declaration of in_distribution",
        "declaration of keeps_grid",
        "declaration of touches",
        "docstring",
        "meaning of dose",
        "errors",
        "test",
    ]


def test_a_perturbation_that_is_not_ours_is_not_taken_for_a_built_in() -> None:
    @perturbation("guest")
    def guest(sample: Sample, *, rng: np.random.Generator) -> Sample:
        return sample

    assert find("perturbation", "guest") is guest
    assert "guest" not in built_in()


def test_every_built_in_perturbation_is_an_entry_point() -> None:
    project = tomllib.loads((HERE.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    offered = project["project"]["entry-points"].get("mindseye.perturbation", {})
    homes = {name: find("perturbation", name).function.__module__ for name in built_in()}
    assert offered == {name: f"{module}:{name}" for name, module in homes.items()}


def test_perturbations_load_no_torch() -> None:
    code = "import sys, mindseye.interventions.perturbations.pairing; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def kept(sample: Sample) -> tuple[object, ...]:
    """All that a sample holds, copied."""
    pictures = tuple(read_image(image).tobytes() for image in sample.images)
    helper = None if sample.helper is None else sample.helper.tobytes()
    rest = (sample.question, sample.answer, sample.options, dict(sample.regions))
    return pictures, helper, rest, sample.imagination, sample.id, sample.kind, dict(sample.meta)


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_perturbation_leaves_the_original_as_it_is(name: str) -> None:
    sample, told = examples()[name]
    before = kept(sample)
    find("perturbation", name)(sample, rng=rng(), **told)
    assert kept(sample) == before


@pytest.mark.parametrize("name", built_in())
@pytest.mark.parametrize("seed", range(5))
def test_equal_generators_give_equal_samples(name: str, seed: int) -> None:
    sample, told = examples()[name]
    twice = [find("perturbation", name)(sample, rng=rng(seed), **told) for _ in range(2)]
    assert kept(twice[0]) == kept(twice[1])


@pytest.mark.parametrize("name", built_in())
@pytest.mark.parametrize("seed", range(5))
def test_a_built_in_perturbation_changes_something_and_only_what_it_declares(
    name: str, seed: int
) -> None:
    sample, told = examples()[name]
    offered = find("perturbation", name)
    # The function itself, so that the check inside the call is not what makes this pass.
    touched = changed_parts(sample, offered.function(sample, rng=rng(seed), **told))
    assert touched
    assert touched <= offered.touches


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_perturbation_keeps_the_grid_exactly_if_it_says_so(name: str) -> None:
    sample, told = examples()[name]
    offered = find("perturbation", name)
    grids = set()
    for seed in range(10):
        after = offered.function(sample, rng=rng(seed), **told)
        sizes = tuple(read_image(image).shape for image in after.images)
        grids.add((sizes, len(after.question.split())))
    own = (
        tuple(read_image(image).shape for image in sample.images),
        len(sample.question.split()),
    )
    assert (grids == {own}) == offered.keeps_grid


@pytest.mark.parametrize("name", built_in())
def test_an_answer_that_is_declared_to_stay_stays(name: str) -> None:
    sample, told = examples()[name]
    offered = find("perturbation", name)
    after = offered(sample, rng=rng(), **told)
    if offered.changes_answer == "no" and name != "permute_options":
        assert after.answer == sample.answer
    if "answer" not in offered.touches:
        assert after.answer == sample.answer
