from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mindseye.errors import UnknownNameError
from mindseye.plugins import find, register
from mindseye.reasoners.answers import (
    after_hash,
    answer_tag,
    boxed,
    final_answer,
    last_number,
    letter,
    parse_answer,
    whole,
)

PARSERS = ("boxed", "answer_tag", "final_answer", "letter", "whole")
MONET = ("boxed", "final_answer")
COLOURS = ("red", "dark blue", "green", "yellow")

plain = st.text(st.characters(codec="utf-8", exclude_characters="\\{}"), min_size=1).filter(
    lambda text: text.strip()
)
braced = st.recursive(
    st.text("ab 12.,$", max_size=4),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "".join(parts) + "}"),
)
words = st.lists(
    st.text(string.ascii_lowercase, min_size=2, max_size=8), min_size=2, max_size=6, unique=True
)
loudness = st.sampled_from([str.lower, str.upper, str.title])


@given(st.text(), plain, plain.filter(lambda text: "boxed" not in text))
def test_whatever_is_boxed_last_comes_back(before: str, inside: str, after: str) -> None:
    assert boxed(f"{before} \\boxed{{{inside}}} {after}") == inside.strip()


@given(braced, st.text("{}ab ", max_size=6))
def test_a_box_ends_at_its_own_brace_however_deep_the_others_are(inside: str, after: str) -> None:
    assume(inside.strip())
    assert boxed(f"so \\boxed{{{inside}}}{after}") == inside.strip()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\text{(B) a {rare} case}}", "(B) a {rare} case"),
        (r"\boxed{12\text{ cm}}", "12 cm"),
        (r"\boxed{\textbf{\mathrm{B}}}", "B"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {B}", "B"),
        (r"\boxed{A} but no: \boxed{B}", "B"),
        (r"\boxed{\boxed{B}}", "B"),
    ],
)
def test_boxes_as_models_write_them_are_opened(said: str, expected: str) -> None:
    assert boxed(said) == expected


@pytest.mark.parametrize(
    "said", ["", "B", r"\boxed{}", r"\boxed{ }", r"\boxed B", r"\boxed{B", r"\boxed{A} or \boxed{B"]
)
def test_no_box_or_one_that_was_cut_off_is_no_answer(said: str) -> None:
    assert boxed(said) is None


def test_a_box_with_very_many_commands_in_it_is_opened() -> None:
    assert boxed("\\boxed{" + "\\text{" * 3000 + "B" + "}" * 3001) == "B"


@given(st.text(), st.text("abcB(). \n", min_size=1).filter(str.strip), st.text())
def test_the_last_answer_tag_counts(before: str, inside: str, after: str) -> None:
    assume("<answer>" not in after)
    assert answer_tag(f"{before}<answer>{inside}</answer>{after}") == inside.strip()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("<answer> B", "B"),
        ("<answer>A</answer> then <answer>B</answer", "B"),
        ("<answer>A</answer> then <answer>", None),
        ("<answer></answer>", None),
        ("B</answer>", None),
        ("the answer", None),
    ],
)
def test_an_answer_tag_may_stay_open_but_not_empty(said: str, expected: str | None) -> None:
    assert answer_tag(said) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("The final answer is: B", "B"),
        ("The final answer is B.", "B"),
        ("the FINAL  answer\nis: dark blue. It was clear.", "dark blue"),
        ("Answer: 3.5.", "3.5"),
        ("Answer: 3.5\nbecause", "3.5"),
        ("**Final answer:** (B)", "(B)"),
        ("**Answer**: B!", "B"),
        ("Answer:\nB", "B"),
        ("Answer: A. Wait. Answer: C", "C"),
        ("The answer is: 12", "12"),
        (r"The final answer is: \(\boxed{7}\).", r"\(\boxed{7}\)"),
        ("Answer: A. Answer:", None),
        ("Two answers: A and B", None),
        ("The answer is not obvious.", None),
        ("The final answer isn't clear", None),
        ("B", None),
    ],
)
def test_a_final_answer_runs_from_its_last_marker_to_the_end_of_the_sentence(
    said: str, expected: str | None
) -> None:
    assert final_answer(said) == expected


@given(
    st.sampled_from(string.ascii_uppercase),
    st.sampled_from(["{}", "({})", "{}.", "{}:", "{})", " {}\n", "**{}**", "**{}.** because"]),
    st.sampled_from(["", " a red car", "\nbecause it is"]),
)
def test_a_letter_is_found_alone_or_set_off_at_the_beginning(
    name: str, form: str, after: str
) -> None:
    assume(not after or form.strip() not in ("{}", "**{}**"))
    assert letter(form.format(name) + after) == name


@pytest.mark.parametrize(
    "said",
    [
        "",
        "A cat sits there",
        "I think B",
        "It is B",
        "The answer is (B)",
        "B because",
        "Blue",
        "(Blue)",
        "B.5",
        "(B)lue",
        "4)",
    ],
)
def test_a_letter_in_prose_is_none(said: str) -> None:
    assert letter(said) is None


@given(st.text())
def test_the_whole_is_the_text_without_the_space_around_it(said: str) -> None:
    assert whole(said) == (said.strip() or None)


@given(st.text(), st.sampled_from(PARSERS))
def test_every_parser_returns_a_stripped_text_or_none(said: str, name: str) -> None:
    raw = find("answer", name)(said)
    assert raw is None or (raw and raw == raw.strip())


@given(words, st.data(), loudness, st.sampled_from(["{}", "{}.", '"{}"', "*{}*", " {}!", "({})"]))
def test_an_options_text_is_found_whatever_its_case_and_punctuation(
    options: list[str], data: st.DataObject, loud: object, form: str
) -> None:
    assert callable(loud)
    option = data.draw(st.sampled_from(options))
    said = f"so \\boxed{{{form.format(loud(option))}}}"
    assert parse_answer(said, MONET, options, gold=options[0]) == option


@given(words, st.data(), st.sampled_from(["{}", "({})", "{}.", "{}: {text}", "{}) {text}"]))
def test_a_letter_names_the_option_at_its_place(
    options: list[str], data: st.DataObject, form: str
) -> None:
    place = data.draw(st.integers(0, len(options) - 1))
    name = string.ascii_uppercase[place]
    said = f"<answer>{form.format(name, text=options[place])}</answer>"
    assert parse_answer(said, ("answer_tag",), options, gold=options[0]) == options[place]
    assert parse_answer(said, ("answer_tag",), options, gold="A") == name


@given(words, st.data())
def test_permuting_the_options_leaves_texts_alone_and_moves_letters(
    options: list[str], data: st.DataObject
) -> None:
    option = data.draw(st.sampled_from(options))
    permuted = data.draw(st.permutations(options))
    said = f"\\boxed{{{option}}}"
    assert parse_answer(said, MONET, permuted, gold=options[0]) == option
    name = parse_answer(said, MONET, permuted, gold="A")
    assert name == string.ascii_uppercase[permuted.index(option)]
    assert parse_answer(f"\\boxed{{{name}}}", MONET, permuted, gold=options[0]) == option


@given(
    st.text("ABCabc123():. {}\\n") | st.text(),
    st.lists(st.text("ABCabc12. ", min_size=1), min_size=1, max_size=5),
    st.sampled_from(["{}", "\\boxed{{{}}}", "<answer>{}", "Answer: {}"]),
)
def test_no_answer_is_ever_anything_but_an_option_or_its_letter(
    said: str, options: list[str], form: str
) -> None:
    said = form.format(said)
    text = parse_answer(said, PARSERS, options, gold="neither")
    name = parse_answer(said, PARSERS, options, gold="Z")
    assert text in {None, *options}
    assert (
        name is None if text is None else options[string.ascii_uppercase.index(str(name))] == text
    )


@given(st.text("xyz. ,-", max_size=20))
def test_text_that_is_no_option_names_none(said: str) -> None:
    assert parse_answer(f"\\boxed{{{said}}} <answer>{said}", PARSERS, COLOURS, "red") is None


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        ("E", COLOURS),
        ("purple", COLOURS),
        ("blue", COLOURS),
        ("red or green", COLOURS),
        ("not red", COLOURS),
        ("B: red", COLOURS),
        ("A dark green car", COLOURS),
        ("RED", ("red", "Red.", "blue")),
        ("red", ("red", "red", "blue")),
        ("5", ("-5", "7")),
        ("-5", ("5", "7")),
        (".5", ("5", "7")),
        ("35", ("3.5", "7")),
        ("1:2", ("12", "1 2")),
        ("x < y", ("x > y", "x = y")),
        ("6'", ('6"', "7")),
        ("A", ("cat", "a", "dog")),
        ("?", ("!", "...")),
    ],
)
def test_a_finding_that_matches_no_option_or_two_is_no_answer(
    raw: str, options: tuple[str, ...]
) -> None:
    assert parse_answer(raw, ("whole",), options, gold=options[0]) is None


@pytest.mark.parametrize(
    ("raw", "options", "gold", "expected"),
    [
        ("B", COLOURS, "red", "dark blue"),
        ("b", COLOURS, "A", "B"),
        ("Dark Blue!", COLOURS, "A", "B"),
        ("(b)", COLOURS, "(a)", "(b)"),
        ("B dark blue", COLOURS, "red", "dark blue"),
        ("B because of the sky", COLOURS, "A", "B"),
        ("\u22125", ("5", "-5"), "5", "-5"),
        ("5%", ("5", "5%"), "5", "5%"),
        ("3.50", ("3.5", "3.50"), "A", "B"),
        ("Red", ("red", "Red"), "A", "B"),
        ("twenty one", ("Twenty-one", "two"), "two", "Twenty-one"),
        ("A", ("C", "A", "B"), "B", "A"),
        ("(A)", ("C", "A", "B"), "B", "A"),
        ("A: it is", ("C", "A", "B"), "B", "A"),
        ("C", ("x", "y", "z"), "x", "z"),
        ("y", ("x", "y", "z"), "x", "y"),
        ("A. Smith", ("B. Jones", "A. Smith"), "B. Jones", "A. Smith"),
    ],
)
def test_a_finding_is_written_as_the_gold_answer_is(
    raw: str, options: tuple[str, ...], gold: str, expected: str
) -> None:
    assert parse_answer(raw, ("whole",), options, gold) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (r"The final answer is: A. \boxed{C}", "C"),
        (r"\boxed{the sky}. The final answer is: dark blue", "B"),
        (r"\boxed{the sky}", None),
        ("It is dark blue", None),
    ],
)
def test_a_box_that_names_no_option_hands_over_to_the_marker(
    said: str, expected: str | None
) -> None:
    assert parse_answer(said, MONET, COLOURS, "A") == expected


@given(st.text())
def test_without_options_the_first_finding_is_returned_as_it_is(said: str) -> None:
    assert parse_answer(said, ("boxed", "whole"), (), "7") == (boxed(said) or whole(said))


def test_without_parsers_there_is_no_answer() -> None:
    assert parse_answer("B", (), COLOURS, "red") is None


def test_a_parser_of_ones_own_is_tried_under_its_name() -> None:
    @register("answer", "shouted")
    def shouted(said: str) -> str | None:
        return next((word for word in said.split() if word.isupper()), None)

    assert parse_answer("it is RED here", ("boxed", "shouted"), COLOURS, "red") == "red"


def test_a_parser_that_nobody_offers_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"No answer 'boxes'; there are: .*boxed"):
        parse_answer("B", ("boxes",), COLOURS, "red")


@given(st.text(st.characters(codec="utf-8", exclude_characters="#,")), st.integers(0, 10**9))
def test_what_follows_the_last_hash_comes_back_without_commas(before: str, number: int) -> None:
    assert after_hash(f"{before}# 1 ### {number:,}") == str(number)
    assert after_hash(before) is None
    assert after_hash(f"{before}# ") is None


@given(st.integers(-(10**9), 10**9), st.sampled_from(["", ".", " apples.", "!"]))
def test_the_last_number_comes_back_without_commas(number: int, after: str) -> None:
    assert last_number(f"3 and 4.5, so the answer is: {number:,}{after}") == str(number)
    assert last_number("no number" + after) is None


def test_decimals_are_one_number() -> None:
    assert last_number("about 2.50") == "2.50"
