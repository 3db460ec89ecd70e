"""The settings of a run, resolved; their hash is the run's id."""

import hashlib
from typing import Literal

from tasks.scenarios import Average, Scenario
from tasks.types import Domain, Record

AccountingChoice = Literal["paper", "final", "every_call", "every_call_and_verify"]


class LiveConfig(Record):
    """With what real models were asked."""

    engine: str
    dtype: str


class RunConfig(Record):
    """What decides a run's numbers, and nothing else: neither where it is written nor how many cores it takes."""

    suite: str
    suite_sha256: str
    routers: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    splits: tuple[Domain, ...]
    models: tuple[str, ...]
    refit: bool = True
    seeds: tuple[int, ...] = (0,)
    accounting: AccountingChoice = "paper"
    average: Average = "macro"
    live: LiveConfig | None = None

    @property
    def run_id(self) -> str:
        """Twelve hex digits, the same for the same settings on the same data."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
