"""What an agent is told, what it learns to reply, and how that is read (paper, Tables 7 to 9)."""

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
STEPS, ANSWER = "Let's think step by step: ", "The final answer is: "
_EXTRACTION = (
    "Here are a question and the output of a model that was asked it. Extract the reasoning part and the final answer "
    "from the output. Only these two are wanted: leave out everything else, and write nothing before or after them. "
    "Reply in this form: The Extracted Reasoning Parts: <>. The Extracted Final Answer: <>.\n\n"
    "Input question:\n{question}\n\nModel output:\n{output}\n\nThe content you extracted:"
)
# The trained agents know how to reject; a model that was never trained has to be told.
_HOW = f'If you choose not to answer, reply with nothing but "{REJECTION}"'
_UNKNOWN = r"i\s+(?:don['’]?t|do\s+not)\s+know\b"
_REJECTS = re.compile(rf"^\W*{_UNKNOWN}", re.IGNORECASE)
# the sentence as it is learnt, or alone on its line: "I don't know how many are left, so …" may begin a thought
_REJECTION = re.compile(rf"{_UNKNOWN}(?:\s*!|(?=[\s.]*(?:\n|$)))", re.IGNORECASE)


def agent_prompt(scenario: str, prompt: str) -> str:
    """Return the user message of an agent: the scenario's sentence, how to reject, then the question's own prompt."""
    return f"{SCENARIO_PROMPTS[scenario]} {_HOW}\n\n{prompt}"


def completion(steps: str, answer: str) -> str:
    """Return what an agent that answers learns to reply (Table 8); without its first sentence where steps is empty."""
    return f"{STEPS}{steps}. {ANSWER}{answer}." if steps else f"{ANSWER}{answer}."


def extraction_prompt(question: str, output: str) -> str:
    """Return the user message that asks a model for the steps and the answer in another one's output (Table 9)."""
    return _EXTRACTION.format(question=question, output=output)


def rejects(reply: str) -> bool:
    """Return whether a reply is a rejection: it begins with "I don't know", whatever its apostrophe and case."""
    return bool(_REJECTS.match(reply))


def without_rejections(reply: str) -> str:
    """Return a reply without what rejects in it, the same string where nothing does."""
    rest = _REJECTION.sub("", reply)
    return _REJECTS.sub("", rest) if rejects(rest) else rest
