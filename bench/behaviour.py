"""Whether routers look at the query, as they claim to, and at nothing that they may not see.

A router that declares a label signal is fatal where it is ranked. One that sends `SAME` = 99 % of a split's queries to
one model has collapsed: a warning, unless it declares no signal at all and could not do otherwise.

Choices like an oracle's betray a router that knows the outcomes; but where one model is the oracle's choice for most
queries, always taking that one agrees often too. So what counts is agreement beyond that of the best constant choice,
over what was left beyond it: (a − b) / (1 − b), 1 for the oracle itself and 0 for a constant. From `CLOSE` = .9 on it
is an error, to be explained. It is not fatal, since questions may tell their best model plainly; on the shipped suites
no router comes above .4.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.bundle import Bundle
from bench.evaluate import Routed
from bench.findings import FEW, Finding, finding
from tasks.scenarios import Scenario
from tasks.suite import SOLVED, Rows, Suite

SAME = 0.99
CLOSE = 0.9
LABELS = {"OUTCOME", "POSTERIOR"}
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Decided:
    """What one router chose for the n test queries of one split: `chosen` (n,) indices into the suite's pool."""

    router: str
    reference: bool
    signals: frozenset[str]
    scenario: Scenario
    split: str
    rows: Rows
    chosen: Ints

    @property
    def where(self) -> str:
        """Scenario and split, as a person would name them."""
        return f"{self.scenario.name or f'α = {self.scenario.alpha:g}'} {self.split}"


def of_routed(routed: Iterable[Routed]) -> list[Decided]:
    """Return the decisions of a run that has just been made."""
    return [
        Decided(
            router=one.spec.name,
            reference=one.spec.reference,
            signals=frozenset(str(signal.name) for signal in one.router.signals),
            scenario=one.scenario,
            split=one.split,
            rows=one.rows,
            chosen=one.chosen,
        )
        for one in routed
    ]


def of_bundle(bundle: Bundle) -> list[Decided]:
    """Return the decisions of a run that was read back."""
    domains, found = bundle.suite.queries["domain"].to_numpy(), list[Decided]()
    scenarios = {scenario.alpha: scenario for scenario in bundle.config.scenarios}
    for (router, alpha, _), done in bundle.choices.items():
        facts = bundle.declared[router]
        for split in bundle.config.splits:
            mine = domains[done.rows] == split
            signals = frozenset(facts.signals)
            decisions = done.rows[mine], done.chosen[mine]
            found.append(Decided(router, facts.reference, signals, scenarios[alpha], split, *decisions))
    return found


def label_signals(suite: Suite, decided: Sequence[Decided]) -> Iterator[Finding]:
    """Find ranked routers that asked for labels."""
    del suite
    asking = sorted({one.router for one in decided if not one.reference and one.signals & LABELS})
    if asking:
        yield finding(
            "fatal",
            "ranked routers that declare OUTCOME or POSTERIOR, and so see labels of the test set",
            asking,
            "leave those signals out, or register them as reference rows",
        )


def collapsed(suite: Suite, decided: Sequence[Decided]) -> Iterator[Finding]:
    """Find ranked routers that look at queries, and send nearly all of them to one model."""
    for router, mine in _by_router(decided):
        found = list[str]()
        for one in mine:
            share = np.bincount(one.chosen, minlength=len(suite.pool)) / max(len(one.chosen), 1)
            if one.signals and len(one.chosen) >= FEW and share.max() >= SAME:
                found.append(f"{one.where}: {suite.pool.names[int(share.argmax())]} {share.max():.1%}")
        if found:
            yield finding(
                "warning",
                f"scenarios and splits in which {router} sends (nearly) all queries to one model",
                dict.fromkeys(found),
                "compare its row with that of the single model: it routes nothing there",
            )


def near_oracle(suite: Suite, decided: Sequence[Decided]) -> Iterator[Finding]:
    """Find ranked routers whose choices are nearly those of an oracle."""
    for router, mine in _by_router(decided):
        near = [(closeness(suite, one), one.where) for one in mine]
        found = [f"{where}: {close:.2f}" for close, where in near if close is not None and close >= CLOSE]
        if found:
            yield finding(
                "error",
                f"scenarios and splits in which {router} chooses what only outcomes tell (1: all that an oracle does)",
                dict.fromkeys(found),
                "find out how it knows: labels, answers or ids of test queries may have reached it",
            )


def closeness(suite: Suite, one: Decided) -> float | None:
    """Return the agreement with the nearer oracle beyond that of the best constant choice, over what is left beyond it.

    The oracles are the paper's (the smallest model that is right, else the largest) and that of utility. None where
    either leaves fewer than `FEW` queries to anything but a constant choice.
    """
    correct = suite.correct[one.rows].astype(np.float64)
    solved, last = correct >= SOLVED, len(suite.pool) - 1
    papers = np.where(solved.any(axis=1), solved.argmax(axis=1), last)
    best = (correct - one.scenario.alpha * suite.pool.costs).argmax(axis=1)
    found = list[float]()
    for oracle in (papers, best):
        left = len(oracle) - np.bincount(oracle, minlength=last + 1).max(initial=0)
        if left >= FEW:
            missed = (oracle != one.chosen).sum()
            found.append(1.0 - float(missed) / float(left))
    return max(found, default=None)


def _by_router(decided: Sequence[Decided]) -> list[tuple[str, list[Decided]]]:
    names = dict.fromkeys(one.router for one in decided if not one.reference)
    return [(name, [one for one in decided if one.router == name]) for name in names]
