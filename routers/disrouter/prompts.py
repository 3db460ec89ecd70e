"""What an agent is told, and how its reply is read (paper, Tables 7 and 8)."""

import re

REJECTION = "I don't know!"
SCENARIO_PROMPTS = {
    "performance_first": "Scenario: Performance First. You must ensure your answer is correct. Only choose to answer "
    "if you are completely certain of your ability to answer the question; otherwise, choose not to answer.",
    "balance": "Scenario: Balance. You need to strike a balance between answering and not answering. You can choose to "
    "answer questions you are confident in and choose not to answer those you are uncertain about.",
    "cost_first": "Scenario: Cost First. You need to answer questions as much as possible. Choose to answer as long as "
    "you believe you have the ability to answer correctly; only choose not to answer if you feel there is absolutely "
    "no possibility of giving a correct answer.",
}
# The trained agents know how to reject; a model that was never trained has to be told.
_HOW = f'If you choose not to answer, reply with nothing but "{REJECTION}"'
_REJECTS = re.compile(r"^\W*(?:i\s+(?:don['’]?t|do\s+not)\s+know)\b", re.IGNORECASE)


def agent_prompt(scenario: str, prompt: str) -> str:
    """Return the user message of an agent: the scenario's sentence, how to reject, then the question's own prompt."""
    return f"{SCENARIO_PROMPTS[scenario]} {_HOW}\n\n{prompt}"


def rejects(reply: str) -> bool:
    """Return whether a reply is a rejection: it begins with "I don't know", whatever its apostrophe and case."""
    return bool(_REJECTS.match(reply))
