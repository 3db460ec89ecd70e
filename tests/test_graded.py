"""The graded families: different questions, right answers, levels that hold, parts that never meet."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import graded
from tasks.errors import InputError
from tasks.graded import DAYS, FAMILIES, Question, questions

SHIPPED = {"test": 300, "train": 200, "validation": 60}


def all_of(family: str) -> list[Question]:
    parts = SHIPPED if FAMILIES[family].domain == "id" else {"test": 300}
    return [q for split, n in parts.items() for q in questions(family, split, n)]  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_there_are_enough_different_questions_and_no_part_shares_one(family: str) -> None:
    found = all_of(family)
    assert len({q.text for q in found}) == len({q.query_id for q in found}) == len(found) >= 300
    assert {q.level for q in found} == set(range(1, FAMILIES[family].levels + 1))
    assert FAMILIES[family].levels >= 4


@pytest.mark.parametrize("family", FAMILIES)
def test_more_of_one_part_changes_no_other(family: str) -> None:
    few, many = questions(family, "test", 50), questions(family, "test", 150)
    assert {(q.text, q.answer) for q in few} <= {(q.text, q.answer) for q in many}
    assert questions(family, "test", 50) == few
    assert questions(family, "test", 50, seed=1) != few


def test_the_families_are_what_the_suite_promises() -> None:
    domains = [f.domain for f in FAMILIES.values()]
    assert domains.count("id") >= 7
    assert domains.count("ood") >= 3
    assert [t.name for t in graded.tasks()] == list(FAMILIES)


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def solve_addition(q: Question) -> str:
    return str(sum(numbers(q.text)))


def solve_chain(q: Question) -> str:
    return str(sum(int(n.replace(" ", "")) for n in re.findall(r"(?:- |\+ )?\d+", q.text)))


def solve_product(q: Question) -> str:
    a, b = numbers(q.text)
    return str(a * b)


def solve_largest(q: Question) -> str:
    return str(max(numbers(q.text)))


def solve_story(q: Question) -> str:
    count = 0
    for sentence in q.text.split(".")[:-1]:
        amount = numbers(sentence)
        sign = -1 if "gives away" in sentence or "loses" in sentence else 1
        count = count * 2 if "doubles" in sentence else count + sign * amount[0]
    return str(count)


def solve_weekday(q: Question) -> str:
    day = DAYS.index(next(d for d in DAYS if d in q.text))
    if not numbers(q.text):
        places = {"yesterday": -1, "today": 0, "tomorrow": 1}
        known, asked = (places[word] for word in re.findall("yesterday|today|tomorrow", q.text))
        return DAYS[(day + asked - known) % 7]
    days = numbers(q.text)[0]
    return DAYS[(day - days if "earlier" in q.text else day + days) % 7]


def solve_order(q: Question) -> str:
    more = {"taller", "older", "faster", "richer"}
    facts = re.findall(r"(\w+) is (\w+) than (\w+)", q.text)
    above = [(a, b) if word in more else (b, a) for a, word, b in facts]
    names = {name for pair in above for name in pair}
    top = (names - {low for _, low in above}).pop()
    bottom = (names - {high for high, _ in above}).pop()
    return top if re.search(r"(tallest|oldest|fastest|richest)\?", q.text) else bottom


SOLVERS = {name: solver for name in FAMILIES if (solver := globals().get(f"solve_{name}"))}


@pytest.mark.parametrize("family", SOLVERS)
def test_answers_are_right(family: str) -> None:
    """Each is solved again from its text alone, by other code."""
    for q in all_of(family):
        assert SOLVERS[family](q) == q.answer, q.text


def test_letters_are_right() -> None:
    for q in all_of("letters"):
        quoted = re.findall(r"'([^']+)'", q.text)
        if "How many letters" in q.text:
            expected = str(len(quoted[0]))
        elif "How many times" in q.text:
            expected = str(quoted[1].count(quoted[0]))
        else:
            expected = None
            assert q.answer in quoted[0]
            assert len(q.answer) == 1
        assert expected in (None, q.answer), q.text


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 60), st.integers(0, 3))
def test_any_size_is_shared_out_over_the_levels(family: str, n: int, seed: int) -> None:
    found = questions(family, "test", n, seed)
    counts = [sum(q.level == level for q in found) for level in range(1, FAMILIES[family].levels + 1)]
    assert sum(counts) == n
    assert max(counts) - min(counts) <= 1


def test_asking_for_more_than_there_are_is_an_error() -> None:
    with pytest.raises(InputError, match=r"family facts has only \d+ different test questions of the 5000"):
        questions("facts", "test", 5000)


def test_choices_are_those_that_the_question_names() -> None:
    for q in questions("order", "test", 40):
        assert q.answer in q.choices
        assert all(name in q.text for name in q.choices)
    assert questions("weekday", "test", 1)[0].choices == DAYS
    assert questions("addition", "test", 1)[0].choices == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_chance_is_what_guessing_among_the_answers_named_scores(family: str) -> None:
    asked = questions(family, "test", 10 * FAMILIES[family].levels)
    named = {
        "weekday": lambda q: len(DAYS),
        "order": lambda q: len(q.choices),
        "largest": lambda q: len(numbers(q.text)),
    }
    count = named.get(family)
    expected = sum(1 / count(q) for q in asked) / len(asked) if count else 0.0
    assert {t.name: t.chance for t in graded.tasks()}[family] == pytest.approx(expected)
