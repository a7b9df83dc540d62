"""Options in another order: the same texts, the same right one, other letters."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindseye.errors import SampleError
from mindseye.interventions.perturbations import permute_options
from mindseye.interventions.perturbations.options import other_options
from mindseye.samples import Sample
from tests.interventions.perturbations.scenes import lettered, rng
from tests.strategies import seeds

LETTERS = "ABCDEFGH"
IMAGE = np.zeros((2, 2, 3), np.uint8)

# Longer than a letter, so that no text can be taken for a label.
texts = st.lists(
    st.lists(st.from_regex(r"[a-z]{2,6}", fullmatch=True), min_size=1, max_size=3)
    .map(" ".join)
    .filter(lambda text: not {"or", "and"} & set(text.split())),
    min_size=2,
    max_size=6,
    unique=True,
)


@dataclass(frozen=True)
class Listed:
    """A sample with options, and what it says apart from their order."""

    sample: Sample
    texts: tuple[str, ...]
    gold: str


@st.composite
def listed(draw: st.DrawFn) -> Listed:
    """Samples of every way in which options, question and answer can be written."""
    told = draw(texts)
    place = draw(st.integers(0, len(told) - 1))
    mark = draw(st.sampled_from(["{}. ", "({}) ", "{}) ", "{}: "]))
    labels = [mark.format(letter) for letter in LETTERS[: len(told)]]
    lines = [label + text for label, text in zip(labels, told, strict=True)]
    written = draw(st.sampled_from(["texts", "lettered", "letters"]))
    options = {"texts": told, "lettered": lines, "letters": list(LETTERS[: len(told)])}[written]
    glue = "\n" if written == "letters" else draw(st.sampled_from(["\n", " ", "  \n "]))
    ending = draw(st.sampled_from(["", "\nAnswer with the letter."]))
    forms = [LETTERS[place], f"({LETTERS[place]})", LETTERS[place].lower()]
    forms += [options[place]] if written != "letters" else []
    forms += [told[place]] if written == "lettered" else []
    return Listed(
        Sample(
            (IMAGE,),
            f"What is it?\n{glue.join(lines)}{ending}",
            draw(st.sampled_from(forms)),
            tuple(options),
        ),
        tuple(told),
        told[place],
    )


def letter_of(answer: str) -> str | None:
    match = re.fullmatch(r"\(?([A-Za-z])\)?", answer)
    return match[1].upper() if match else None


def texts_by_letter(case: Listed, question: str) -> dict[str, str]:
    """What the question says after each letter, by plain search for the known texts."""
    found = {}
    for text in case.texts:
        match = re.search(
            rf"([A-H])[).:]+ {re.escape(text)}(?=\s*(?:$|\(?[A-H][).:]|\n))", question
        )
        assert match
        found[match[1]] = text
    return found


@given(listed(), seeds)
def test_permute_options_keeps_the_texts_and_moves_the_right_one(case: Listed, seed: int) -> None:
    after = permute_options(case.sample, rng=rng(seed))
    before = texts_by_letter(case, case.sample.question)
    said = texts_by_letter(case, after.question)
    assert sorted(said.values()) == sorted(before.values())
    assert sorted(said) == sorted(before)
    places = [{text: letter for letter, text in each.items()}[case.gold] for each in (before, said)]
    assert places[0] != places[1]


@given(listed(), seeds)
def test_permute_options_renumbers_an_answer_by_letter_and_keeps_one_by_text(
    case: Listed, seed: int
) -> None:
    after = permute_options(case.sample, rng=rng(seed))
    letter = letter_of(after.answer)
    if letter is not None:
        assert texts_by_letter(case, after.question)[letter] == case.gold
        assert after.answer != case.sample.answer
        assert re.sub("[A-Za-z]", "", after.answer) == re.sub("[A-Za-z]", "", case.sample.answer)
        assert after.answer.islower() == case.sample.answer.islower()
    else:
        assert after.answer.endswith(case.gold)
        if case.sample.answer in case.sample.options:
            assert after.answer in after.options


@given(listed(), seeds)
def test_permute_options_leaves_labels_and_the_rest_of_the_question_in_place(
    case: Listed, seed: int
) -> None:
    after = permute_options(case.sample, rng=rng(seed))
    assert sorted(after.question) == sorted(case.sample.question)
    assert len(after.question.split()) == len(case.sample.question.split())
    for before, option in zip(case.sample.options, after.options, strict=True):
        if before.startswith(("A", "(A")):
            assert option.startswith(("A", "(A"))
    # Option i in the list is what the question says at letter i, if it says more than a letter.
    said = texts_by_letter(case, after.question)
    for letter, option in zip(LETTERS, after.options, strict=False):
        assert option == letter or option.endswith(said[letter])


def test_permute_options_draws_every_order_that_moves_the_answer_evenly() -> None:
    question = "Which?\nA. aa\nB. bb\nC. cc"
    sample = Sample((IMAGE,), question, "bb", ("aa", "bb", "cc"))
    generator = rng()
    drawn = Counter(permute_options(sample, rng=generator).options for _ in range(800))
    assert {order.index("bb") for order in drawn} == {0, 2}
    assert len(drawn) == 4
    assert min(drawn.values()) > 150  # 200 expected, standard deviation 12


@pytest.mark.parametrize(
    ("question", "permuted"),
    [
        ("Is it red, green, or blue?", "Is it {}, {}, or {}?"),
        ("red / green / blue?", "{} / {} / {}?"),
        ("The red one: (A) red (B) green (C) blue", "The red one: (A) {} (B) {} (C) {}"),
        ("Red green. 1) red 2) green 3) blue", "Red green. 1) {} 2) {} 3) {}"),
        ("A. red, B. green, C. blue. Or A. red, B. green, C. blue", None),
    ],
)
def test_a_list_is_found_however_it_is_written(question: str, permuted: str | None) -> None:
    sample = Sample((IMAGE,), question, "red", ("red", "green", "blue"))
    after = permute_options(sample, rng=rng())
    wanted = permuted or "A. red, B. green, C. blue. Or A. {}, B. {}, C. {}"
    assert after.question == wanted.format(*after.options)
    assert after.answer == "red"


def test_the_texts_of_a_question_with_bare_letters_move() -> None:
    sample = Sample((IMAGE,), "Which?\n(A) a cat\n(B) 5 dogs.\n(C) -1", "B", ("A", "B", "C"))
    after = permute_options(sample, rng=rng(1))
    assert after.options == ("A", "B", "C")
    lines = dict(line.split(") ", 1) for line in after.question.splitlines()[1:])
    assert lines[f"({after.answer}"] == "5 dogs."
    assert sorted(lines.values()) == ["-1", "5 dogs.", "a cat"]


@pytest.mark.parametrize(
    ("sample", "wrong"),
    [
        (Sample((), "?", "a"), "has 0 options; two or more are needed"),
        (Sample((), "? A. a", "a", ("a",)), "has 1 options"),
        (Sample((), "aa, bb?", "cc", ("aa", "bb")), "The answer 'cc' .* none of its options 'aa'"),
        (Sample((), "aa, bb?", "C", ("aa", "bb")), "nor the letter of one"),
        (Sample((), "Which?", "aa", ("aa", "bb")), "does not list its options 'aa', 'bb' in order"),
        (Sample((), "bb or aa?", "aa", ("aa", "bb")), "would not reach the model"),
        (Sample((), "aab or bbb?", "aa", ("aa", "bb")), "does not list its options"),
        (Sample((), "Which?\nA. one", "A", ("A", "B")), "does not list its options"),
    ],
)
def test_options_that_cannot_be_permuted_are_refused(sample: Sample, wrong: str) -> None:
    with pytest.raises(SampleError, match=wrong):
        permute_options(sample, rng=rng())


@given(listed())
def test_the_other_options_are_written_as_the_answer_is(case: Listed) -> None:
    others = other_options(case.sample)
    assert len(others) == len(case.texts) - 1
    assert case.sample.answer not in others
    assert len(set(others)) == len(others)
    by_letter = {letter_of(other) is not None for other in (case.sample.answer, *others)}
    assert len(by_letter) == 1
    if not by_letter.pop():
        assert {other.split(") ")[-1].split(". ")[-1].split(": ")[-1] for other in others} == set(
            case.texts
        ) - {case.gold}


def test_a_scene_with_letters_gets_another_letter_for_the_same_text() -> None:
    sample: Any = lettered()
    after = permute_options(sample, rng=rng())
    assert after.answer != "C"
    assert f"{after.answer}. grey mouse\n" in after.question
    assert after.options["ABCD".index(after.answer)] == "grey mouse"
    assert after.question.endswith("Say a letter.")
