"""A deterministic chat server that answers, right or wrong, in the many formats of small models.

python -m tests.formats_server DATA_DIR serves until it is killed; its first line is the address up to /v1.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tasks import catalog
from tasks.catalog import LETTERS, Item
from tests.hostile_server import Handler, Server

TASKS = ("arc_challenge", "gsm8k")
# `it` is what the reply settles on, `other` what it mentions besides, `text` what the option `it` says
CHOICE = (
    "The final answer is: {it}",
    "The best answer is {it}. It agrees with all that is known.",
    "Answer: {it}",
    r"So it must be \boxed{{{it}}}.",
    "**{it}**",
    "({it}) {text}",
    " {it}.\n",
    "{it}",
    "{text}",
    "It is {text}",
    "Option {other} is tempting.\r\n\r\nThe correct option is {it}.<|im_end|>",
    "<think>Is it {other}?</think>\n\nThe answer is: {it}",
    "Answer: {it}\n\nQuestion: What else?\nAnswer: {other}",
    "答案是{it}",
)
NUMBER = (
    "The final answer is: {it}",
    "The final answer is: {it}.00",
    "She has {other} and then some.\n#### {it}",
    "First {other}, then more: {other} + 1.\n\nAnswer: ${it}",
    r"\[ x = \boxed{{{it}}} \]",
    "**{it}**",
    "{it}",
    " {it}.\n\n",
    "It takes {other} days, hence {it} in all",
    "<think>{other}?</think>\nThe answer is {it} apples.<|endoftext|>",
    "Answer: {it}\n\nQuestion: How many are left?\nAnswer: {other}",
)
UNREADABLE = (
    None,
    "",
    " \n\t\n",
    "I don't know!",
    "The final answer is:",
    "\u00a0\u2028…",
    "# " * 500,
    "One of A, B, C or D.",
)


def reply(item: Item, messages: list[dict[str, Any]]) -> str | None:
    """Return what is said to `messages`, which ask `item`: a pure function of them, right half of the time."""
    digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()
    right, unreadable, pick = digest[0] % 2, digest[1] % 8 == 0, digest[2]
    if unreadable:
        return UNREADABLE[pick % len(UNREADABLE)]
    gold = item.answer[0]
    if item.choices:
        place = LETTERS.index(gold)
        it, other = place if right else (place + 1) % len(item.choices), (place + 2) % len(item.choices)
        form = CHOICE[pick % len(CHOICE)]
        return form.format(it=LETTERS[it], other=LETTERS[other], text=item.choices[it])
    value = round(float(gold.replace(",", "")))
    form = NUMBER[pick % len(NUMBER)]
    return form.format(it=f"{value if right else value + 1:,}", other=value + 7)


class FormatsHandler(Handler):
    """Answers what the data sets ask, greedily and with the recording's 512 tokens; refuses anything else."""

    server: "FormatsServer"

    def complete(self, body: dict[str, Any], n: int) -> None:
        messages = body["messages"]
        item = self.server.items.get(messages[-1]["content"])
        if [m["role"] for m in messages] != ["user"] or item is None:
            return self.fail(400, f"none of the questions: {messages}")
        if (n, body["max_tokens"], body["temperature"], body.get("stop") or []) != (1, 512, 0.0, []):
            return self.fail(400, f"not asked as a recording asks: {body}")
        said = reply(item, messages)
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(item.question.split()), "completion_tokens": len((said or "").split())}
        return self.send(200, json.dumps({"choices": [choice], "usage": usage}).encode())


class FormatsServer(Server):
    """Knows the test questions of `TASKS` in a folder by the prompts that ask them."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(FormatsHandler)
        self.items = {catalog.prompt(item): item for name in TASKS for item in catalog.read(data_dir, name, "test")}


if __name__ == "__main__":
    with FormatsServer(Path(sys.argv[1])) as running:
        sys.stdout.write(f"http://127.0.0.1:{running.server_port}/v1\n")
        sys.stdout.flush()
        running.serve_forever()
