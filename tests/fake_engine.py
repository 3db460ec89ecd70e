"""An engine for tests: fast, deterministic, and of known ability. Nothing that it says is ever shipped."""

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.engines.base import Reply, Sampling


@dataclass
class FakeEngine:
    """Adds numbers of up to `digits` digits right, rejects what it cannot do, and agrees with every answer."""

    digits: int
    delay_s: float = 0.0
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[Reply]:
        time.sleep(self.delay_s)
        self.asked += prompts
        return [self._reply(prompt, sampling) for prompt in prompts]

    def _reply(self, prompt: str, sampling: Sampling) -> Reply:
        texts = tuple(self._text(prompt, sampling, i) for i in range(sampling.n))
        return Reply(texts, ("stop",) * len(texts), tuple(len(t.split()) for t in texts), len(prompt.split()), 0.01)

    def _text(self, prompt: str, sampling: Sampling, sample: int) -> str:
        if "Is the answer correct?" in prompt:
            return "Yes." if sample % 3 else "maybe"
        a, b = re.findall(r"(\d+) \+ (\d+)", prompt)[0]
        able = len(a) <= self.digits
        if "choose not to answer" in prompt and not able:
            return "I don't know!"
        noise = int(hashlib.sha256(f"{prompt}{sample}{sampling.temperature}".encode()).hexdigest(), 16) % 4
        wrong = not able or (sampling.temperature > 0 and noise == 0)
        return f"The final answer is: {int(a) + int(b) + wrong}."

    def log_probability(self, prompts: Sequence[str], continuation: str) -> list[float | None]:
        return [-0.1 if continuation in self._text(p, Sampling(), 0) else -3.0 for p in prompts]

    def close(self) -> None:
        self.closed = True
