"""What is asked of models when a suite is recorded: questions with their prompts, and who judges the replies."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tasks import graded
from tasks.answers import graded as judge
from tasks.errors import InputError, one_of
from tasks.types import Domain, Split

GRADED_PROMPT = "Answer the question, with a short reasoning if it needs one. End with: The final answer is: <answer>."
VERIFY_PROMPT = (
    "Here are a question and an answer that somebody gave.\n\nQuestion: {question}\n\nAnswer: {answer}\n\n"
    "Is the answer correct? Reply with one word, yes or no."
)
Sizes = Mapping[Split, int]


@dataclass(frozen=True)
class Item:
    """One query of a recording.

    `prompt` is the user message that asks it. `score` maps a reply to (correctness in [0, 1], parsed answer or None).
    `shareable` says whether question and answers may be shipped as text.
    """

    query_id: str
    task: str
    domain: Domain
    split: Split
    cluster_id: str
    text: str
    prompt: str
    score: Callable[[str], tuple[float, str | None]]
    shareable: bool

    @property
    def text_sha256(self) -> str:
        """The sha256 of the question's UTF-8 bytes, by which a text can be matched to a suite without texts."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def graded_items(families: Sequence[str], sizes: Sizes, seed: int = 0) -> list[Item]:
    """Return questions of the graded families: test first, then train and validation of the in-domain ones."""
    for name in families:
        one_of("graded family", name, graded.FAMILIES)
    found = []
    for split in ("test", "train", "validation"):
        for name in families:
            if sizes.get(split, 0) and (split == "test" or graded.FAMILIES[name].domain == "id"):
                found += [_graded_item(q) for q in graded.questions(name, split, sizes[split], seed)]
    if not found:
        raise InputError("no question was asked for; name families and a size, such as --limit test=300")
    return found


def _graded_item(q: graded.Question) -> Item:
    return Item(
        query_id=q.query_id,
        task=q.task,
        domain=graded.FAMILIES[q.task].domain,
        split=q.split,
        cluster_id=hashlib.sha256(q.text.encode()).hexdigest()[:16],
        text=q.text,
        prompt=f"{GRADED_PROMPT}\n\n{q.text}",
        score=partial(_judged, q.kind, q.answer, q.choices),
        shareable=True,
    )


def _judged(kind: str, answer: str, choices: Sequence[str], reply: str) -> tuple[float, str | None]:
    return judge(reply, kind, answer, choices)
