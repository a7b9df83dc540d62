"""Nothing is offered without a docstring, a declaration, an entry point and a test."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mindseye import plugins
from mindseye.errors import EditError, SampleError
from mindseye.interventions.replacements import (
    Given,
    Pool,
    Replacement,
    Structure,
    find_replacement,
    replacement,
)
from mindseye.plugins import find
from tests.interventions.replacements.scenes import (
    HOME,
    built_in,
    feeding,
    rng,
    structural,
    told,
    with_latents,
)

pytestmark = pytest.mark.model

HERE = Path(__file__).parent
DECLARED = {"carries", "in_distribution"}


@pytest.fixture(autouse=True)
def forget_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_offers", dict(plugins._offers))


def lacks(asked: Replacement, tests: Iterable[str]) -> list[str]:
    """What a replacement lacks before it may be offered."""
    source = ast.parse(inspect.cleandoc(inspect.getsource(asked.function)))
    function = source.body[0]
    assert isinstance(function, ast.FunctionDef)
    declared = {
        keyword.arg
        for call in function.decorator_list
        if isinstance(call, ast.Call)
        for keyword in call.keywords
    }
    missing = [f"declaration of {name}" for name in sorted(DECLARED - declared)]
    missing += [] if ast.get_docstring(function) else ["docstring"]
    missing += [f"meaning of {each.name}" for each in asked.parameters if not each.meaning]
    missing += [] if any(test.startswith(f"test_{asked.name}_") for test in tests) else ["test"]
    return missing


def names_of_tests() -> list[str]:
    """The names of all tests of this folder."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in HERE.glob("test_*.py")]
    functions = [node for tree in trees for node in ast.walk(tree)]
    return [node.name for node in functions if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_replacement_lacks_nothing(name):
    assert lacks(find("replacement", name), names_of_tests()) == []


def test_a_replacement_that_lacks_everything_would_be_seen():
    @replacement("bare")
    def bare(given: Given, *, dose: float = 1.0, rng: torch.Generator) -> torch.Tensor:
        return given.latents * dose

    assert lacks(bare, names_of_tests()) == [
        "declaration of carries",
        "declaration of in_distribution",
        "docstring",
        "meaning of dose",
        "test",
    ]


def test_every_built_in_replacement_is_an_entry_point():
    project = tomllib.loads((HERE.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    offered = project["project"]["entry-points"]["mindseye.replacement"]
    # Those that exist in language only live with imagination in words.
    offered = {name: place for name, place in offered.items() if place.startswith(HOME)}
    homes = {name: find("replacement", name).function.__module__ for name in built_in()}
    assert offered == {name: f"{module}:{name}" for name, module in homes.items()}


@pytest.mark.parametrize("name", feeding())
def test_vectors_are_finite_one_per_slot_and_of_the_latents_dtype(given, name):
    made = find("replacement", name)(given, rng=rng(), **told(name, given))
    assert made.shape == given.latents.shape
    assert made.dtype == given.latents.dtype
    assert made.isfinite().all()


@pytest.mark.parametrize("name", structural())
def test_what_is_no_vectors_is_a_structure_that_changes_something(given, name):
    made = find("replacement", name)(given, rng=rng(), **told(name, given))
    assert isinstance(made, Structure)
    assert (made.removed is not None) + (made.n_slots is not None) + made.forced == 1


@pytest.mark.parametrize("name", feeding())
def test_equal_generators_give_equal_vectors_and_the_run_stays_as_it_is(given, name):
    before = given.latents.clone()
    twice = [find("replacement", name)(given, rng=rng(3), **told(name, given)) for _ in "12"]
    assert torch.equal(*twice)
    assert torch.equal(given.latents, before)


@pytest.mark.parametrize("name", [name for name in feeding() if name != "identity"])
def test_something_is_changed_and_only_at_the_slots_asked_for(given, name):
    offered, own = find("replacement", name), given.latents
    assert not torch.equal(offered(given, rng=rng(), **told(name, given)), own)
    some = offered(given, rng=rng(), slots=[1, 2], **told(name, given))
    assert torch.equal(some[0], own[0])
    assert torch.equal(some[3:], own[3:])


@pytest.mark.parametrize("name", feeding())
def test_what_it_says_it_carries_is_what_its_vectors_hang_on(given, traces, name):
    """Other own latents, all else as it was: only those that carry them may notice."""
    offered = find("replacement", name)
    other = torch.randn(given.latents.shape, generator=rng(9)).to(given.latents)
    elsewhere = replace(given, trace=with_latents(given.trace, other))
    # The function itself, so that the check inside the call is not what makes this pass.
    one, two = (
        offered.function(each, rng=rng(5), **offered.told(told(name, given)))
        for each in (given, elsewhere)
    )
    assert torch.equal(one, two) == (offered.carries != "own")


@pytest.mark.parametrize("name", [n for n in feeding() if find("replacement", n).keeps])
@pytest.mark.parametrize("seed", range(3))
def test_what_it_says_it_keeps_is_kept(given, name, seed):
    offered, own = find("replacement", name), given.latents.double()
    made = offered.function(given, rng=rng(seed), **offered.told(told(name, given))).double()
    if "norms" in offered.keeps:
        torch.testing.assert_close(made.norm(dim=-1), own.norm(dim=-1), rtol=1e-5, atol=0)
    if "mean" in offered.keeps:
        torch.testing.assert_close(made.mean(dim=0), own.mean(dim=0), rtol=1e-5, atol=1e-5)
    if "vectors" in offered.keeps:
        known = torch.cat([given.pool.vectors, given.twin.fed_latents]).double()
        assert all((known == vector).all(dim=1).any() for vector in made)


@pytest.mark.parametrize("name", [n for n in built_in() if find("replacement", n).needs])
def test_what_it_needs_is_asked_for_and_nothing_else_is(given, name):
    offered = find("replacement", name)
    parts = {"pool": None, "twin": None, "outcome": None}
    bare = replace(given.trace.sample, regions={}, helper=None)
    enough = {key: getattr(given, key) for key in parts if key in offered.needs}
    sample = given.trace.sample if {"region", "helper"} & offered.needs else bare
    offered(Given(replace(given.trace, sample=sample), **enough), rng=rng(), **told(name, given))
    for need in offered.needs:
        poorer = Given(
            replace(given.trace, sample=bare), **{k: v for k, v in enough.items() if k != need}
        )
        with pytest.raises(SampleError, match=f"'{name}' needs"):
            offered(poorer, rng=rng(), **told(name, given))


def register(change, **declared):
    return replacement("guest", **declared)(change)


def test_another_shape_is_refused(given):
    def short(given, *, rng):
        return given.latents[1:]

    with pytest.raises(EditError, match=r"'guest' returned \(\d+, \d+\); expected one vector"):
        register(short)(given, rng=rng())


def test_numbers_that_are_none_are_refused(given):
    def broken(given, *, rng):
        return given.latents / 0

    with pytest.raises(EditError, match="not finite"):
        register(broken)(given, rng=rng())


@pytest.mark.parametrize("kept", ["norms", "vectors", "mean"])
def test_what_touches_what_it_declared_to_keep_is_refused(given, kept):
    def louder(given, *, rng):
        return 2 * given.latents

    with pytest.raises(EditError, match=f"keeps the {kept}.*did not"):
        register(louder, keeps=(kept,))(given, rng=rng())
    assert register(louder)(given, rng=rng()).shape == given.latents.shape


def test_an_unknown_word_in_a_declaration_is_refused(unchecked_types):
    with pytest.raises(EditError, match="keeps='length'; it takes some of norms, vectors, mean"):
        replacement("guest", keeps=("length",))
    with pytest.raises(EditError, match="needs='luck'"):
        replacement("guest", needs=("luck",))


def test_a_function_that_takes_no_generator_or_things_by_place_is_refused():
    with pytest.raises(EditError, match=r"takes no rng.*def _lucky"):
        register(_lucky)
    with pytest.raises(EditError, match=r"takes 'dose' by place"):
        register(_placed)


def _lucky(given):
    return given.latents


def _placed(given, dose, *, rng):
    return given.latents


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("nois", "Did you mean 'noise'"),
        ("noise:sacle=1", "Did you mean 'scale'"),
        ("noise:scale=loud", "expected a number"),
        ("slots", "'slots' needs n"),
        ("noise scale", "No replacement"),
        ("noise:scale", "does not say what to do"),
    ],
)
def test_what_cannot_be_found_says_what_there_is(asked, message):
    with pytest.raises((EditError, LookupError), match=message):
        find_replacement(asked)


@pytest.mark.parametrize(
    ("slots", "wanted"), [("0", [0]), ("1-2", [1, 2]), ("0+2-3", [0, 2, 3]), ([3], [3])]
)
def test_slots_are_numbers_and_ranges(given, slots, wanted):
    chosen = find_replacement("zero", slots=slots)
    changed = (chosen(given) != given.latents).any(dim=1).nonzero().squeeze(-1)
    assert changed.tolist() == wanted
    assert chosen.mask(len(given.latents)).nonzero().squeeze(-1).tolist() == wanted


@pytest.mark.parametrize("slots", ["a", "1-", "", [99], [-1], [], "7-9", "3-1"])
def test_slots_that_are_none_are_refused(given, slots):
    with pytest.raises(EditError, match="slots="):
        find_replacement("zero", slots=slots)(given)


def test_slots_can_be_asked_for_in_the_text(given):
    made = find_replacement("zero:slots=1-2")(given)
    assert made.any(dim=1).tolist() == [True, False, False, True]


def test_a_structure_has_no_slots_to_choose(given):
    with pytest.raises(EditError, match="all of it"):
        find_replacement("removal", slots=[0])(given)


def test_draws_hang_on_the_seed_the_name_and_the_run(given, traces):
    chosen = find_replacement("unit_noise", seed=1)
    assert torch.equal(chosen(given), chosen(given))
    others = [
        find_replacement("unit_noise", seed=2)(given),
        chosen(replace(given, trace=traces[2])),
        chosen(replace(given, name="another")),
        find_replacement("unit_noise:scale=1")(given),
    ]
    assert not any(torch.equal(chosen(given), other) for other in others)


def test_a_run_without_latents_has_nothing_to_replace(given):
    with pytest.raises(SampleError, match="no latents to replace"):
        find_replacement("zero")(replace(given, trace=replace(given.trace, segments=())))


def test_a_pool_without_latents_is_none(given):
    with pytest.raises(SampleError, match="runs that imagined"):
        Pool.of([replace(given.trace, labels=given.trace.labels * 0, segments=())])


def test_what_was_registered_without_a_declaration_is_refused():
    plugins.register("replacement", "plain")(lambda given: given)
    with pytest.raises(EditError, match="declares nothing"):
        find_replacement("plain")
