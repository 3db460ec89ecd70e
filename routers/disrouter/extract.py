"""The thinking steps and the final answer in a reply: what an agent's training completions are made of (paper, App. C).

An extractor takes a task's name, a question's text and a reply to it, and returns (steps, answer), or None where it
finds no answer; steps is "" where none stand before the answer.
"""

import re
import string
from collections.abc import Callable

from tasks import answers, prompts
from tasks.answers import folded

Extractor = Callable[[str, str, str], tuple[str, str] | None]

_PUNCTUATION = string.punctuation + "“”‘’…"
_OPENING = re.compile(
    r"[\s*_#]{0,9}let['’]s think (?:about (?:it|this) )?step[\s-]by[\s-]step[.:,!*_]{0,9}\s*", re.IGNORECASE
)
_LEAD = re.compile(  # a word between a thought and "answer is"; one of punctuation alone is empty
    r"(?:so|thus|therefore|hence|then|and|the|my|our|final|correct|right|best|likely|most|finally|overall|is|this|that"
    r"|which|means|makes|in|conclusion|answer)?",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?:^|\n)[ \t]{0,9}(?:step )?\d{1,2}[.):]?(?: \w{1,20}){0,2}\s{0,9}$", re.IGNORECASE)
_SOURCE = re.compile(r"(?:^|(?<=[.!?:\n]))\s{0,9}(?:based on|according to|given)\b[^.!?\n]{0,200}$", re.IGNORECASE)
_EXTRACTED = re.compile(
    r"The Extracted Reasoning Parts?:(.*?)The Extracted Final Answer:\s*([^\n]*)", re.IGNORECASE | re.DOTALL
)


def by_marks(task: str, text: str, reply: str) -> tuple[str, str] | None:
    """Extract by the marks that answers carry: steps are what stands before the first mark of the final answer.

    Of an answer without any mark the whole reply is the steps, but for a last line that is only the answer, and none if
    the reply opens with it.
    """
    said = prompts.read(task, text, reply)
    if said is None:
        return None
    for start, marked in answers.marks(reply):
        if prompts.read(task, text, marked) == said:
            before = _cleaned(_without_lead(answers.unboxed(reply[:start])))
            return "" if folded(before) == folded(said) else before, _spelled(said, marked)
    plain = answers.unboxed(reply).strip()
    n_words, words = len(said.split()), plain.split()
    if any(prompts.read(task, text, " ".join(words[:n])) == said for n in (n_words, n_words + 1)):
        return "", _spelled(said, plain)
    before, _, last = plain.rpartition("\n")
    return _cleaned(before if folded(last) == folded(said) else plain), _spelled(said, plain)


def by_model(ask: Callable[[str, str], str]) -> Extractor:
    """Return an extractor by a model: `ask` takes question and output, and returns its reply to `extraction_prompt`."""

    def extract(task: str, text: str, reply: str) -> tuple[str, str] | None:
        del task
        found = _EXTRACTED.search(ask(text, reply))
        steps, answer = (part.strip().strip("<>").rstrip(" .>") for part in found.groups()) if found else ("", "")
        return (_cleaned("" if folded(steps) in ("none", "na") else steps), answer) if answer else None

    return extract


def _without_lead(text: str) -> str:
    """Return the text before a mark without what only leads to it: "so the final", "Based on the passage, the best"."""
    while (parts := text.rsplit(None, 1)) and _LEAD.fullmatch(parts[-1].strip(_PUNCTUATION)):
        text = parts[0] if len(parts) == 2 else ""
    return _SOURCE.sub("", _NUMBERED.sub("", text))


def _cleaned(steps: str) -> str:
    """Return steps that fit Table 8: neither its own first words nor the last full stop; "" where no word is left."""
    while opening := _OPENING.match(steps):
        steps = steps[opening.end() :]
    steps = steps.strip().rstrip(" \t\n.,;:!?")
    return steps if any(c.isalnum() for c in steps) else ""


def _spelled(said: str, text: str) -> str:
    """Return a parsed answer as the text first spells it ("bogota": "Bogotá"); numbers and spans stay as they are."""
    if said != folded(said) or any(c.isdigit() for c in said):
        return said
    if plain := re.search(rf"(?<!\w){re.escape(said)}(?!\w)", text, re.IGNORECASE):
        return plain[0]
    words = text[-1000:].split()
    runs = (" ".join(words[i : i + n]) for n in range(1, len(said.split()) + 2) for i in range(len(words)))
    return next((bare for run in runs if folded(bare := run.strip(_PUNCTUATION)) == said), said)
