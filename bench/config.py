"""The settings of a run, resolved; their hash is the run's id."""

import hashlib
from typing import Literal

import numpy as np

from tasks.errors import InputError
from tasks.scenarios import Average, Scenario
from tasks.types import Domain, Record

AccountingChoice = Literal["paper", "final", "every_call", "every_call_and_verify"]


class LiveConfig(Record):
    """With what real models were asked."""

    engine: str
    dtype: str


class RunConfig(Record):
    """What decides a run's numbers, and nothing else: neither where it is written nor how many cores it takes.

    `bootstrap` is the number of resamples, 0 for no intervals.
    """

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
    bootstrap: int = 2000
    live: LiveConfig | None = None

    @property
    def sweep(self) -> bool:
        """Whether several alphas were given, of which a router is one curve."""
        return len(self.scenarios) > 1 and self.scenarios[0].name is None

    @property
    def between(self) -> tuple[Scenario, ...]:
        """The alphas beside those of the run at which routers that need no other fit are run too: .05 apart.

        They are for the page's slider, without intervals; a sweep has its own alphas, and real models are not asked.
        """
        if self.sweep or self.live is not None:
            return ()
        known = {scenario.alpha for scenario in self.scenarios}
        return tuple(Scenario(None, alpha) for alpha in alphas("0:1:21") if alpha not in known)

    @property
    def run_id(self) -> str:
        """Twelve hex digits, the same for the same settings on the same data."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def alphas(given: str) -> tuple[float, ...]:
    """Return the preference factors that `--alpha` names: one number, or FROM:TO:N for N of them at equal distance.

    Raises `InputError` where it is neither.
    """
    try:
        first, *rest = given.split(":")
        if not rest:
            return (float(first),)
        last, count = rest
        start, stop, n = float(first), float(last), int(count)
    except ValueError:
        raise InputError(f"--alpha is '{given}', but is a number in [0, 1] or FROM:TO:N, such as 0:1:21") from None
    if not 0.0 <= start < stop <= 1.0 or not 2 <= n <= 1001:
        raise InputError(f"--alpha is '{given}', but FROM:TO:N wants 0 <= FROM < TO <= 1 and N from 2 to 1001")
    return tuple(np.linspace(start, stop, n).round(10).tolist())
