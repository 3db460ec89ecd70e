"""What a recording asks of a model, and what it gets back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tasks.errors import InputError

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How to generate: greedily at temperature 0, else `n` samples of one prompt; `max_tokens` cuts a reply off.

    Raises `InputError` where a number is out of range, or several greedy samples are asked for, which would be one.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    n: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.n < 1 or not 0.0 <= self.temperature < math.inf:
            raise InputError(f"{self} is out of range: max_tokens and n are at least 1, temperature is at least 0")
        if self.n > 1 and self.temperature == 0.0:
            raise InputError(f"{self.n} samples at temperature 0 are {self.n} times the same; raise the temperature")


@dataclass(frozen=True)
class Reply:
    """What a model said to one prompt.

    `texts`, `finish` and `completion_tokens` have one entry a sample. `latency_s` is the prompt's share of the wall
    clock: that of its own request at a server, that of its batch divided by the batch's prompts in process. A prompt
    that the model's context cannot hold together with `max_tokens` has no texts, and `refused` says why. `p_reject` is
    P(the reply begins as a rejection), where an agent was asked and the engine can tell.
    """

    texts: tuple[str, ...]
    finish: tuple[Finish, ...]
    completion_tokens: tuple[int, ...]
    prompt_tokens: int
    latency_s: float
    refused: str | None = None
    p_reject: float | None = None


class Engine(Protocol):
    """One loaded model. Prompts are user messages; the engine applies the model's own chat template."""

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[Reply]:
        """Return one reply a prompt, in order."""

    def log_probability(self, prompts: Sequence[str], continuation: str) -> list[float | None]:
        """Return log P(the reply begins with `continuation` | prompt) in nats; None where the engine cannot tell."""

    def close(self) -> None:
        """Free the model's memory; ends every process that the engine started."""
