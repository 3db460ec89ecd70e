"""What replies answer: every usual format is read, nothing raises, and nothing takes long."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks import answers

OPTIONS = ("a red lantern", "the north wind", "salt water", "none of these")
MARKED = (
    "The final answer is: {}",
    "The final answer is {}.",
    "The best answer is {}. The others do not fit the lantern.",
    "The most reasonable answer is ({}).",
    "The correct answer to this question is: {}",
    "Therefore, the correct option is {}.",
    "So the answer must be {}.",
    "Answer: {}",
    "**Answer: {}**",
    "**Final Answer:** {}",
    "### Final answer\n\nThe answer is:\n\n{}",
    "FINAL ANSWER = {}",
    "So we get $\\boxed{{{}}}$.",
    "\\boxed{{\\text{{{}}}}}",
    "答案是{}。",
    "La respuesta correcta es: {}",
)
SHOWN = ("{}", "{}.", "({})", "**{}**", " {}\n", "{}) salt", "[{}]", "'{}'", "I would choose option {}.", "It is ({}).")


@pytest.mark.parametrize("template", MARKED + SHOWN)
@pytest.mark.parametrize("letter", "ABCDE")
def test_a_letter_is_found_in_every_template(template: str, letter: str) -> None:
    assert answers.choice(template.format(letter), OPTIONS) == letter


@given(st.sampled_from(MARKED), st.sampled_from("ABCDE"), st.sampled_from("ABCDE"), st.integers(0, 3))
def test_the_last_marked_letter_decides(template: str, letter: str, other: str, blanks: int) -> None:
    reply = f"Let me think about {other} first. Answer: {other}\n{' ' * blanks}" + template.format(letter)
    assert answers.choice(reply, OPTIONS) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The final answer is: salt water.", "C"),
        ("B. the north wind", "B"),
        ("The answer is a red lantern, since it glows.", "A"),
        ("The answer is A red lantern", "A"),
        ("The answer is B because A is wrong and C is wrong.", "B"),
        ("Answer: c", "C"),
        ("Salt water", "C"),
        ("It has to be salt water, which is heavier.", "C"),
        ("The final answer is: C. Options A, B and D are wrong.", "C"),
        ("The answer is C.\n\nOption D is incorrect.\nOption A is incorrect.", "C"),
        ("The answer is not A. The answer is D.", "D"),
        ("D\n\nQuestion: What floats?\nA. wood\nB. stone\nC. lead\nD. iron", "D"),
        ("A. a red lantern\nB. the north wind\nC. salt water\nD. none of these\n\nThe answer is B.", "B"),
        ("The answer is B. The answer is B. The answer is B. The ans", "B"),
        ("The final answer must be one of: [A, B, C, D]. The final answer is: C", "C"),
        ("The answer is C.\nThe final answer must be one of: [A, B, C, D] without any prefix.", "C"),
        ("  \n\n  C  \n", "C"),
        ("我认为选C", "C"),
        ("E", "E"),
        ("The answer is E=mc2, so salt water", "C"),
    ],
)
def test_choices_in_replies_as_small_models_write_them(reply: str, letter: str) -> None:
    assert answers.choice(reply, OPTIONS) == letter


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n\t",
        "I don't know!",
        "I don't know! I am a small model.",
        "The final answer is: [A, B, C, D]",
        "The answer is A or B.",
        "A, B and D are all possible.",
        "A. a red lantern\nB. the north wind\nC. salt water\nD. none of these",
        "Could be a red lantern or the north wind",
        "To find it, we first look at the lamp, which",  # cut off
        "The final answer is:",
        "Je ne sais pas.",
        "A cat sat there. I saw it.",
    ],
)
def test_what_settles_on_nothing_is_unparsed(reply: str) -> None:
    assert answers.choice(reply, OPTIONS) is None


def test_the_longest_option_is_meant_where_one_holds_another() -> None:
    assert answers.choice("It is the blue whale shark.", ("whale", "blue whale", "blue whale shark", "shark")) == "C"
    assert answers.choice("whale", ("whale", "whale", "eel", "crab")) is None


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("#### 42", "42"),
        ("She has 3 + 4 = 7 left.\n#### 7", "7"),
        ("#### Step 2: add 5\nThe total is 12.", "12"),
        ("The final answer is: $1,234.50", "1234.5"),
        ("The final answer is: \\$18/day", "18"),
        ("= 42", "42"),
        ("The answer is 5 + 6 = 11 eggs for 3 days", "11"),
        ("The answer is 42 km.", "42"),
        ("42km", "42"),
        ("Answer: 20%", "20"),
        ("so it is **-3**", "-3"),
        ("The result is −3 degrees", "-3"),
        ("-$7", "-7"),
        ("- 3 apples", "3"),
        ("\\boxed{1{,}000}", "1000"),
        ("$$\\boxed{\\$12.00}$$", "12"),
        ("\\boxed{\\frac{3}{4}} hence 0.75", "0.75"),
        ("007", "7"),
        ("-0", "0"),
        (".50", "0.5"),
        ("The answer is 3. The answer is 5.", "5"),
        ("The final answer is 70\nThis answer is correct because 68 + 2 equals 70.", "70"),
        ("Each answer question is worth 5, so 15.\nTo answer the question: 26 + 15 = 41 points.", "41"),
        ("First he buys 2. Then 60 / 5 = 12", "12"),
        ("On the 2nd day he has 8 left, on the 3rd", "8"),
        ("The answer is 18 dollars for 2 eggs", "18"),
        ("Answer: 9\n\nQuestion: How many?", "9"),
        ("答案是 15 个", "15"),
        ("In total 5 apples. In total 5 apples. In total 5 app", "5"),
    ],
)
def test_numbers(reply: str, number: str) -> None:
    assert answers.number(reply) == number


@pytest.mark.parametrize(
    "reply", ["", "I don't know!", "3/4", "3:2", "\\frac{3}{4}", "x2", "the 2nd", "twelve", "1.2.3", "$"]
)
def test_no_number_is_none(reply: str) -> None:
    assert answers.number(reply) is None


@given(
    st.decimals(-(10**9), 10**9, places=2, allow_nan=False),
    st.sampled_from(
        ("{:,}", "{}", "${:,}", "**{:,}**", "{:,} apples", "= {:,}", "#### {:,}", "\\boxed{{{:,}}}", "{:,}.")
    ),
    st.sampled_from(("{}", "The final answer is: {}", "He had 7 before.\nAnswer: {}\n", "so we get {}")),
)
def test_numbers_survive_formatting(value: object, form: str, frame: str) -> None:
    assert answers.number(frame.format(form.format(value))) == answers.number(str(value)) != None  # noqa: E711
    assert float(answers.number(str(value)) or "nan") == float(str(value))


def test_the_graded_kinds() -> None:
    assert answers.graded("The final answer is: Tuesday.", "weekday", "Tuesday") == (1.0, "tuesday")
    assert answers.graded("3 days after Monday is thursday", "weekday", "Thursday") == (1.0, "thursday")
    assert answers.graded("The third letter is 'T'.", "letter", "t") == (1.0, "t")
    assert answers.graded("The final answer is: **t**", "letter", "t") == (1.0, "t")
    assert answers.graded("Ann is taller than Bob. Ann is the tallest.", "name", "Ann", ("Ann", "Bob")) == (1.0, "ann")
    assert answers.graded("Ann or Bob", "name", "Ann", ("Ann", "Bob")) == (0.0, None)
    assert answers.graded("Ann", "name", "Ann") == (0.0, None)
    assert answers.graded("1,200 metres", "number", "1200") == (1.0, "1200")
    assert answers.graded("", "phrase", "Bogotá") == (0.0, None)


@pytest.mark.parametrize(
    ("reply", "gold"),
    [
        ("Bogota.", "Bogotá"),
        ("The capital of Colombia is Bogotá.", "Bogotá"),
        ("Bogotá is the capital of Colombia.", "Bogotá"),
        ("The final answer is: the city of Bogotá", "Bogotá"),
        ("It is the Netherlands.", "Netherlands"),
        ("The country whose capital is this is the Netherlands.", "Netherlands"),
        ("Fe (iron)", "Fe"),
        ('The chemical symbol of iron is "Fe".', "Fe"),
        ("Iron has the symbol Fe", "Fe"),
        ("The element is called iron, a metal.", "iron"),
    ],
)
def test_phrases(reply: str, gold: str) -> None:
    assert answers.graded(reply, "phrase", gold)[0] == 1.0


def test_spans() -> None:
    assert answers.span("He ran.\nThe final answer is: the Old Mill.") == "the Old Mill"
    assert answers.span("He ran to it.\n\n**Old Mill**\n") == "Old Mill"
    assert answers.span("I don't know!") is None
    assert answers.span(" \n ...") is None


def test_squad_f1_counts_words_as_the_official_script_does() -> None:
    assert answers.normalised("The  Old-Mill, a (red) one") == "oldmill red one"
    assert answers.token_f1("the old mill", "Old Mill!") == 1.0
    assert answers.token_f1("old mill by the sea", "old mill") == pytest.approx(2 * 2 / 6)
    assert answers.token_f1("old old", "old") == pytest.approx(2 / 3)
    assert answers.token_f1("river", "mill") == answers.token_f1("", "mill") == 0.0


def test_drop_f1_compares_numbers_by_value_and_ignores_the_order_of_spans() -> None:
    assert answers.drop_f1("24 yards", "24.0") == pytest.approx(2 / 3)
    assert answers.drop_f1("24-yard", "24 yard") == 1.0
    assert answers.drop_f1("25 yards", "24 yards") == 0.0
    assert answers.drop_f1("yards", "24 yards") == 0.0
    assert answers.drop_f1("Bob and Ann", "Ann and Bob") == 1.0
    assert answers.drop_f1("old old mill", "the old mill") == 1.0
    assert answers.drop_f1("", "mill") == 0.0


READERS = (
    lambda text: answers.choice(text, OPTIONS),
    answers.number,
    answers.weekday,
    answers.letter,
    answers.phrase,
    answers.span,
    lambda text: answers.name(text, ("Ann", "Bob")),
    lambda text: answers.drop_f1(text, text),
    lambda text: answers.token_f1(text, text),
)
PIECES = st.sampled_from(
    ("answer", " is ", ":", "\\boxed{", "}", "{", "**", "A", "(", "####", "1,", "/", "\n", "=", "$")
)


@given(st.text() | st.lists(PIECES | st.characters(), max_size=40).map("".join))
@example("\\boxed{" * 3)
@example("\ud800 answer is \x00")
@example("answer is \u2028\u2029²½٣")
def test_extraction_never_raises(text: str) -> None:
    for read in READERS:
        read(text)


HOSTILE = (
    " ", "a", "A ", "\n", "\n\n ", "1", "1,111,", "1/", "1.", "-", "$", "=", "(", "*", "**A", "answer ", "answer is ",
    "answer:\n", "\\boxed{", "\\boxed{}", "{", "{}", "\\frac{1}", "\\text{", "####", "#### 1", "best option ", "'a'",
    "Ann est ", "is ", "the answer is A or ", "A, ", "I don't ", "答案", "respuesta ", "option A", "1 / 1", "monday",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_extraction_is_fast_on_100_kilobytes(piece: str) -> None:
    for text in (piece * (100_000 // len(piece)), "\\boxed{" + piece * (100_000 // len(piece)) + "x/8"):
        for read in READERS:
            start = time.perf_counter()
            read(text)
            assert time.perf_counter() - start < 30.0, piece  # backtracking that explodes would take for ever
