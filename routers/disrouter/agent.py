"""One agent: a model with its checkpoint, told a scenario; its own reply says whether it answers (paper, §3.1).

An agent knows neither the other agents nor the network that it stands in.
"""

from dataclasses import dataclass
from enum import Enum

from routers.disrouter.prompts import agent_prompt, rejects, without_rejections
from tasks.gold import Judge


class Decision(Enum):
    """What a reply does; only the first two are what an agent is trained to do."""

    ANSWERS = "answers"
    REJECTS = "rejects"
    BOTH = "both"
    NEITHER = "neither"


@dataclass(frozen=True)
class Heard:
    """A reply as it was understood: `correct`, in [0, 1], is that of its answer, 0 where none could be read.

    The query is handed over exactly where `hands_over`: where the reply begins as a rejection, whatever else it says.
    """

    decision: Decision
    hands_over: bool
    correct: float


@dataclass(frozen=True)
class Agent:
    """The agent that a checkpoint (`prompted`, `sft`, `rl`) of a model is in one scenario."""

    model: str
    checkpoint: str
    scenario: str

    @property
    def stage(self) -> str:
        """The name under which a recording keeps its replies."""
        return f"self_routes-{self.checkpoint}-{self.scenario}"

    def prompt(self, asked: str) -> str:
        """Return the user message for a question whose own prompt is `asked`."""
        return agent_prompt(self.scenario, asked)


def hear(reply: str, judge: Judge) -> Heard:
    """Return what a reply decides and whether it is right; an empty one, or one cut off too early, is `NEITHER`."""
    rest, handed = without_rejections(reply), rejects(reply)
    correct, said = judge(rest)
    if said is not None:
        return Heard(Decision.ANSWERS if rest == reply else Decision.BOTH, handed, correct)
    return Heard(Decision.REJECTS if handed else Decision.NEITHER, handed, 0.0)
