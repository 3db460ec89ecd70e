"""Question families of our own, in levels of difficulty: text by templates, answers computed, no download.

A routing benchmark needs questions that some models solve and others do not, and whose difficulty is known. Every
family has four levels or more; the same family, size and seed give the same questions for ever (`VERSION` changes when
they do). Seven families are in-domain (trained on), three of another kind are out-of-domain (never trained on).
"""

import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any, cast

import yaml

from tasks.errors import InputError
from tasks.types import Domain, Split, Task

VERSION = 2
PROMPT = "Answer the question. Keep it short and end with: The final answer is: <answer>."
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
Made = tuple[str, str]  # text, answer


@functools.cache
def _words() -> dict[str, Any]:
    """Return the word lists: text in lists, and facts by level as (subject, question, answer)."""
    found: dict[str, Any] = yaml.safe_load((files("tasks") / "words.yaml").read_text("utf-8"))
    lists = {name: found[name].split() for name in ("names", "things", "words")}
    asked = {
        "capitals": ("What is the capital of {}?", "Which country has the capital {}?"),
        "elements": ("What is the chemical symbol of {}?", "Which chemical element has the symbol {}?"),
    }
    facts: list[list[Made]] = [[] for _ in found["capitals"]]
    for name, (there, back) in asked.items():
        for level, text in enumerate(found[name]):
            for pair in text.split(", "):
                left, right = pair.split(" = ")
                facts[level] += [(there.format(left), right), (back.format(right), left)]
    return found | lists | {"facts": facts}


@dataclass(frozen=True)
class Question:
    """One question; `answer` is compared after normalisation (`tasks.answers`), `kind` says what is looked for."""

    query_id: str
    task: str
    level: int
    split: Split
    text: str
    answer: str
    kind: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that may be the answer, in the order in which the question mentions them; () where it is open."""
        return choices(self.kind, self.text)


def choices(kind: str, text: str) -> tuple[str, ...]:
    """Return `Question.choices` of a question's kind and text."""
    known = {"weekday": DAYS, "name": _words()["names"]}.get(kind, ())
    mentioned = (word for word in text.replace(".", "").split() if word in known)
    return tuple(dict.fromkeys(mentioned)) if kind == "name" else tuple(known)


@dataclass(frozen=True)
class Family:
    """A generator of questions: `make` draws one of a level from 1 to `levels`."""

    name: str
    domain: Domain
    levels: int
    kind: str
    description: str
    make: Callable[[Random, int], Made]


def _number(rng: Random, digits: int) -> int:
    return rng.randrange(10 ** (digits - 1), 10**digits)


def _addition(rng: Random, level: int) -> Made:
    if level < 3:
        a, b = rng.randrange(*((1, 20), (20, 100))[level - 1]), rng.randrange(1, 10)
    else:
        a, b = (_number(rng, (2, 3, 6)[level - 3]) for _ in range(2))
    return f"What is {a} + {b}?", str(a + b)


def _chain(rng: Random, level: int) -> Made:
    terms = [rng.randrange(1, 10) for _ in range((3, 4, 5, 6, 8)[level - 1])]
    signs = [1] + [rng.choice((1, -1)) if level > 3 else 1 for _ in terms[1:]]
    shown = str(terms[0]) + "".join(f" {'+' if s > 0 else '-'} {t}" for s, t in zip(signs[1:], terms[1:], strict=True))
    return f"Work out {shown}.", str(sum(s * t for s, t in zip(signs, terms, strict=True)))


def _product(rng: Random, level: int) -> Made:
    low, high = (((2, 11), (2, 11)), ((3, 10), (11, 100)), ((11, 20), (21, 60)), ((21, 100), (21, 100)))[level - 1]
    a, b = rng.randrange(*low), rng.randrange(*high)
    return f"What is {a} {rng.choice(('times', 'multiplied by'))} {b}?", str(a * b)


def _largest(rng: Random, level: int) -> Made:
    length, digits = ((2, 2), (3, 2), (5, 3), (8, 4), (14, 5))[level - 1]
    prefix = 0 if level < 4 else rng.randrange(1, 10) * 10 ** (digits - 1)  # the same first digit: no short cut
    values = rng.sample(range(10 ** (digits - 1), 10**digits), length)
    values = values if not prefix else [prefix + v % 10 ** (digits - 1) for v in values]
    return f"Which of these numbers is the largest: {', '.join(map(str, values))}?", str(max(values))


def _story(rng: Random, level: int) -> Made:
    name, thing = rng.choice(_words()["names"]), rng.choice(_words()["things"])
    count = rng.randrange(5, 40)
    parts = [f"{name} has {count} {thing}."]
    for _ in range(level):
        verb, amount = rng.choice(("buys", "finds", "gives away", "loses", "doubles")), rng.randrange(2, 15)
        if verb == "doubles" and level > 2 and count < 100:
            count *= 2
            parts.append(f"Then {name} doubles the number of {thing}.")
        elif verb in ("gives away", "loses") and count > amount:
            count -= amount
            parts.append(f"Then {name} {verb} {amount} of them.")
        else:
            count += amount
            parts.append(f"Then {name} {'finds' if verb == 'finds' else 'buys'} {amount} more.")
    return " ".join(parts) + f" How many {thing} does {name} have now?", str(count)


def _weekday(rng: Random, level: int) -> Made:
    day, back = rng.randrange(7), rng.random() < 0.5
    name, other = rng.sample(_words()["names"], 2)
    if level < 3:
        known, asked = ("tomorrow" if back else "yesterday"), "today"
        if level == 1:
            known, asked = "today", "yesterday" if back else "tomorrow"
        text = f"{name} tells {other} that {known} {'was' if known == 'yesterday' else 'is'} a {DAYS[day]}."
        return f"{text} What day of the week is {asked}?", DAYS[(day + (-1 if back else 1)) % 7]
    low, high = ((2, 4), (4, 10), (10, 31))[level - 3]
    days = rng.randrange(low, high)
    later = f"{days} day{'s' * (days > 1)} {'earlier' if back else 'later'}"
    text = f"{name} meets {other} on a {DAYS[day]}. They {'had met' if back else 'meet again'} {later}."
    return f"{text} What day of the week is that?", DAYS[(day + (-days if back else days)) % 7]


def _letters(rng: Random, level: int) -> Made:
    word = rng.choice(_words()["words"])
    if level < 3:
        places = ("first", "last") if level == 1 else ("second", "third", "fourth")
        place = rng.choice(places)
        index = -1 if place == "last" else ("first", "second", "third", "fourth").index(place)
        return f"What is the {place} letter of the word '{word}'?", word[index]
    if level == 3:
        return f"How many letters does the word '{word}' have?", str(len(word))
    phrase = " ".join(rng.sample(_words()["words"], level - 3))
    letter = rng.choice(sorted(set(phrase) - {" "}))
    return f"How many times does the letter '{letter}' occur in '{phrase}'?", str(phrase.count(letter))


def _units(rng: Random, level: int) -> Made:
    big, small, factor = rng.choice(_words()["units"][min(level, 3) - 1])
    if level == 4:
        value, rest = rng.randrange(2, 30), rng.randrange(1, factor)
        return f"How many {small} are {value} {big} and {rest} {small}?", str(value * factor + rest)
    value = rng.randrange(2, 60 if level > 1 else 21)
    if level == 3:
        return f"How many {big} are {value * factor} {small}?", str(value)
    return f"How many {small} are {value} {big}?", str(value * factor)


def _order(rng: Random, level: int) -> Made:
    names = rng.sample(_words()["names"], level + 1)  # tallest first
    more, less, most, least = rng.choice(_words()["comparisons"])
    statements = []
    for high, low in itertools.pairwise(names):
        plain = level == 1 or rng.random() < 0.5
        statements.append(f"{high} is {more} than {low}." if plain else f"{low} is {less} than {high}.")
    rng.shuffle(statements)
    asks_most = rng.random() < 0.5
    return f"{' '.join(statements)} Who is the {most if asks_most else least}?", names[0 if asks_most else -1]


def _fact(rng: Random, level: int) -> Made:
    made: Made = rng.choice(_words()["facts"][level - 1])
    return made


FAMILIES = {
    family.name: family
    for family in (
        Family("addition", "id", 5, "number", "adding two numbers; levels by digits", _addition),
        Family("chain", "id", 5, "number", "chains of small sums; levels by terms", _chain),
        Family("product", "id", 4, "number", "multiplying two numbers; levels by digits", _product),
        Family("largest", "id", 5, "number", "the largest number of a list; levels by length", _largest),
        Family("story", "id", 5, "number", "bought, found and given away; levels by steps", _story),
        Family("weekday", "id", 5, "weekday", "days of the week; levels by distance", _weekday),
        Family("letters", "id", 5, "letter", "letters of words: which, how many", _letters),
        Family("units", "ood", 4, "number", "converting units", _units),
        Family("order", "ood", 5, "name", "who is tallest; levels by statements", _order),
        Family("facts", "ood", 4, "phrase", "capitals and other short facts; levels by how well known", _fact),
    )
}


def tasks() -> tuple[Task, ...]:
    """Return the families as tasks of a suite; `chance` is the mean over levels of 1 / number of possible answers.

    Where the answer is none of those that the question names, nothing is to be had by guessing.
    """
    possible = {"weekday": [len(DAYS)], "order": [level + 1 for level in range(1, 6)], "largest": [2, 3, 5, 8, 14]}
    chances = {name: sum(1 / n for n in counts) / len(counts) for name, counts in possible.items()}
    return tuple(
        Task(
            name=f.name,
            domain=f.domain,
            description=f.description,
            licence="Apache-2.0",
            source=f"tasks.graded {VERSION}",
            chance=chances.get(f.name, 0.0),
        )
        for f in FAMILIES.values()
    )


def kind(family: str, text: str) -> str:
    """Return what a question of a family looks for; letters are looked for, or counted."""
    counted = FAMILIES[family].kind == "letter" and text.startswith("How many")
    return "number" if counted else FAMILIES[family].kind


def questions(family: str, split: Split, n: int, seed: int = 0) -> list[Question]:
    """Return n different questions of one part, levels in equal shares; no question stands in two parts.

    A level's questions are drawn in one seeded sequence and dealt to the parts by a fixed pattern, so that more of one
    part never changes another. Raises `InputError` where a level cannot give that many different questions.
    """
    made = FAMILIES[family]
    found = []
    for level in range(1, made.levels + 1):
        share = n // made.levels + (level <= n % made.levels)
        found += _level(made, level, split, share, seed)
    if len(found) < n:
        raise InputError(f"family {family} has only {len(found)} different {split} questions of the {n} asked for")
    return found


def find(query_ids: Collection[str], seed: int = 0) -> dict[str, Question]:
    """Return the questions with these ids, as `questions` makes them with this seed; ids of no question are left out.

    This is how the answers of a recorded suite, which ships questions only, are had again.
    """
    wanted: dict[tuple[str, int, Split], int] = {}
    for name in query_ids:
        if (parts := _ID.fullmatch(name)) and (made := FAMILIES.get(parts["family"])):
            level, split, number = int(parts["level"]), parts["split"], int(parts["number"])
            if 1 <= level <= made.levels:
                key = made.name, level, cast(Split, split)
                wanted[key] = max(wanted.get(key, 0), number + 1)
    there = (q for (name, level, split), n in wanted.items() for q in _level(FAMILIES[name], level, split, n, seed))
    asked = set(query_ids)
    return {q.query_id: q for q in there if q.query_id in asked}


_ID = re.compile(r"(?P<family>[a-z]+)-(?P<level>\d)-(?P<split>train|validation|test)-(?P<number>\d{4})")


def _level(family: Family, level: int, split: Split, n: int, seed: int) -> list[Question]:
    """Return the first n questions of one level and part, fewer where there are no more."""
    dealt = enumerate(itertools.islice(_dealt(family, level, split, seed), n))
    return [
        Question(
            f"{family.name}-{level}-{split}-{number:04d}", family.name, level, split, *made, kind(family.name, made[0])
        )
        for number, made in dealt
    ]


_DEAL: tuple[Split, ...] = ("test", "train", "test", "train", "test", "validation", "test", "train", "test")


def _dealt(family: Family, level: int, split: Split, seed: int) -> Iterator[Made]:
    """Yield the different questions of a level that fall to `split`; ends when nothing new comes any more."""
    rng, seen, stale = Random(f"{VERSION}/{family.name}/{level}/{seed}"), set[str](), 0  # noqa: S311  (no secret)
    while stale < 2000:
        text, answer = family.make(rng, level)
        if text in seen:
            stale += 1
            continue
        place, stale = len(seen), 0
        seen.add(text)
        if family.domain == "ood" or _DEAL[place % len(_DEAL)] == split:
            yield text, answer
