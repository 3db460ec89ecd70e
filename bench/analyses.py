"""What the paper shows of agents beside its tables of utilities: one function for each analysis, which returns a frame.

Only test queries count, in-domain (`id`) and out-of-domain (`ood`) apart; a mean is one over tasks unless it says
otherwise. A function raises `InputError` where the suite lacks what it needs.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config import RunConfig
from bench.evaluate import evaluate
from bench.world import GAMMA
from routers.base import BoolArray, FloatArray
from routers.registry import built_in
from tasks.errors import InputError
from tasks.scenarios import BALANCE, PERFORMANCE_FIRST, SCENARIOS, Scenario, query_weights, weighted_mean
from tasks.suite import SOLVED, Rows, Suite
from tasks.tables import CHECKPOINTS
from tasks.types import Domain

BALANCE_NAME = str(BALANCE.name)
GAMMAS = (0.25, GAMMA, 1.0, 2.0)
_INCOMPLETE = "not every agent but the last has self-routes on every test query"
_UNTIMED = "neither seconds nor completion tokens of the agents' replies were recorded"
_UNITS = {"seconds": "latency_s", "completion tokens": "completion_tokens"}

Lines = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Agent:
    """An agent in one scenario, on the n test queries of one split for which it was recorded.

    `key` names it in a frame; `rows` (n,) are positions in the suite, `task` (n,) codes; `accepts` and `right` (n,)
    say where it answered, and where its own answer is right; `base` (n,) the correctness of the base model.
    """

    key: dict[str, str]
    model: int
    rows: Rows
    task: Rows
    accepts: BoolArray
    right: FloatArray
    base: FloatArray


def parts(suite: Suite) -> dict[Domain, Rows]:
    """Return the positions of the test queries of every split that has any; raises `InputError` where none has."""
    found: dict[Domain, Rows] = {split: suite.rows("test", split) for split in get_args(Domain)}
    if not any(map(len, found.values())):
        raise InputError(f"suite {suite.manifest.name} has no test queries")
    return {split: rows for split, rows in found.items() if len(rows)}


def checkpoints(suite: Suite, scenarios: Collection[str]) -> dict[str, list[str]]:
    """Return the scenarios of `scenarios` in which every checkpoint was recorded; `InputError` where none was."""
    found = {
        c: [name for name in SCENARIOS if name in scenarios and (c, name) in suite.self_routes] for c in CHECKPOINTS
    }
    if not any(found.values()):
        raise InputError(f"the suite has no self-routes in {' or '.join(scenarios)}")
    return {checkpoint: names for checkpoint, names in found.items() if names}


def agents(suite: Suite, scenarios: Collection[str] = tuple(SCENARIOS)) -> Iterator[Agent]:
    """Yield every agent that was recorded on test queries, by checkpoint, split, scenario and model."""
    recorded = checkpoints(suite, scenarios)
    for checkpoint, names in recorded.items():
        for split, tested in parts(suite).items():
            for scenario in names:
                table = suite.self_routes[checkpoint, scenario]
                for model, name in enumerate(suite.pool.names):
                    rows = tested[table["rejected"][tested, model] >= 0]
                    if len(rows):
                        yield Agent(
                            {"checkpoint": checkpoint, "split": split, "scenario": scenario, "model": name},
                            model,
                            rows,
                            suite.task[rows],
                            table["rejected"][rows, model] == 0,
                            table["correct"][rows, model].astype(np.float64),
                            suite.correct[rows, model].astype(np.float64),
                        )


def macro(values: NDArray[Any], task: Rows) -> float:
    """Return the mean over the tasks that occur of (n,) values; NaN of none."""
    return float(weighted_mean(values.astype(np.float64), query_weights(task))) if len(values) else float("nan")


def config(suite: Suite, scenarios: Sequence[Scenario]) -> RunConfig:
    """Return the settings of a run on all test queries of a suite, without intervals."""
    return RunConfig(
        suite=suite.manifest.name,
        suite_sha256=suite.sha256 or "",
        routers=(),
        scenarios=tuple(scenarios),
        splits=tuple(parts(suite)),
        models=suite.pool.names,
        bootstrap=0,
    )


def routing_shares(suite: Suite) -> pd.DataFrame:
    """Return the share of queries that each model answers in the cascade of agents, by scenario (Fig. 4).

    A checkpoint of which an agent but the last was not recorded on every test query is a line that says so.
    """
    lines: Lines = []
    left_out: Lines = []
    everyone = np.concatenate(list(parts(suite).values()))
    for checkpoint, names in checkpoints(suite, SCENARIOS).items():
        tables = (suite.self_routes[checkpoint, name]["rejected"] for name in names)
        if any((table[everyone, :-1] < 0).any() for table in tables):
            left_out.append({"checkpoint": checkpoint, "left_out": _INCOMPLETE})
            continue
        spec = built_in()[f"disrouter_{checkpoint}"]
        settings = config(suite, [SCENARIOS[name] for name in names])
        for routed in evaluate(suite, suite, [(spec, spec.build())], settings):
            taken = np.eye(len(suite.pool))[routed.chosen]
            shares = weighted_mean(taken, query_weights(suite.task[routed.rows]))
            key = {"checkpoint": checkpoint, "split": routed.split, "scenario": routed.scenario.name}
            of_all = {"n_queries": len(routed.rows)}
            lines += [
                key | {"model": model, "share": share} | of_all
                for model, share in zip(suite.pool.names, shares.tolist(), strict=True)
            ]
    if not lines:
        raise InputError(_INCOMPLETE)
    return pd.DataFrame(lines + left_out)


def answer_rate(suite: Suite) -> pd.DataFrame:
    """Return the share of all queries that an agent would answer, asked alone, by scenario (Fig. 5)."""
    return _frame(
        [
            agent.key | {"answer_rate": macro(agent.accepts, agent.task), "n_queries": len(agent.rows)}
            for agent in agents(suite)
        ]
    )


def _frame(lines: Lines) -> pd.DataFrame:
    if not lines:
        raise InputError("no agent was recorded on a test query")
    return pd.DataFrame(lines)


def answered_rejected(suite: Suite) -> pd.DataFrame:
    """Return the accuracy of an agent's replies, and of its base model on the queries that it rejected (Fig. 7).

    Performance first, as the figure's caption says, and balance, as the text does. A mean is over the tasks that hold
    such queries.
    """
    found: Lines = []
    for agent in agents(suite, (str(PERFORMANCE_FIRST.name), BALANCE_NAME)):
        yes, no = agent.accepts, ~agent.accepts
        accuracies = {
            "answered": macro(agent.right[yes], agent.task[yes]),
            "rejected": macro(agent.base[no], agent.task[no]),
        }
        found.append(agent.key | accuracies | {"n_answered": int(yes.sum()), "n_rejected": int(no.sum())})
    return _frame(found)


def rejection_time(suite: Suite) -> pd.DataFrame:
    """Return what a rejection and an answer of an agent take, and their ratio in percent, of all scenarios (Table 6).

    `unit` is seconds, or completion tokens for a checkpoint whose seconds were not recorded; one that lacks both is a
    line that says so.
    """
    replies: dict[tuple[str, str, str, str], list[tuple[NDArray[Any], ...]]] = {}
    for agent in agents(suite):
        checkpoint, scenario = agent.key["checkpoint"], agent.key["scenario"]
        tables = [table for (c, _), table in suite.self_routes.items() if c == checkpoint]
        unit = next((u for u, name in _UNITS.items() if any(_recorded(table, name) for table in tables)), None)
        amount = None if unit is None else suite.self_routes[checkpoint, scenario].get(_UNITS[unit])
        if unit is not None and amount is not None:
            known = ~np.isnan(amount[agent.rows, agent.model])
            key = checkpoint, agent.key["split"], agent.key["model"], unit
            found = agent.accepts, agent.task, amount[agent.rows, agent.model]
            replies.setdefault(key, []).append(tuple(values[known] for values in found))
    if not replies:
        raise InputError(_UNTIMED)
    lines: Lines = []
    for names, asked in replies.items():
        accepts, task, amount = (np.concatenate(values) for values in zip(*asked, strict=True))
        took = {"rejection": macro(amount[~accepts], task[~accepts]), "answer": macro(amount[accepts], task[accepts])}
        percent = 100.0 * took["rejection"] / took["answer"] if took["answer"] > 0 else float("nan")
        counts = {"n_rejections": int((~accepts).sum()), "n_answers": int(accepts.sum())}
        named = dict(zip(("checkpoint", "split", "model", "unit"), names, strict=True))
        lines.append(named | took | {"percent": percent} | counts)
    untimed = [c for c in checkpoints(suite, SCENARIOS) if c not in {key[0] for key in replies}]
    return pd.DataFrame(lines + [{"checkpoint": c, "left_out": _UNTIMED} for c in untimed])


def _recorded(table: dict[str, NDArray[Any]], name: str) -> bool:
    return name in table and not np.isnan(table[name]).all()


def capability_change(suite: Suite) -> pd.DataFrame:
    """Return in percent what agents in balance can do that their base model could not: ΔPerformance (Fig. 8).

    On the queries of which the base model was sampled: those that the agent answers rightly though every one of the
    base model's samples is wrong, divided by those of which at least one is right. Counts of all tasks together.
    `by_base` is the same of the base model's own greedy replies to the queries that the agent answers: that much comes
    of luck, and only what exceeds it (`beyond_base`) may be capability.
    """
    if not suite.samples:
        raise InputError("the suite has no samples of the base models")
    lines: Lines = []
    for agent in agents(suite, (BALANCE_NAME,)):
        n, n_correct = (suite.samples[name][agent.rows, agent.model] for name in ("n", "n_correct"))
        beyond, able = (n > 0) & (n_correct == 0) & agent.accepts, int((n_correct > 0).sum())
        counts = {"agent": beyond & (agent.right >= SOLVED), "base": beyond & (agent.base >= SOLVED)}
        sizes = {f"n_by_{whose}": int(mask.sum()) for whose, mask in counts.items()}
        percent, by_base = (100.0 * n_gained / able if able else float("nan") for n_gained in sizes.values())
        change = {"delta_performance": percent, "by_base": by_base, "beyond_base": percent - by_base}
        lines.append(agent.key | change | sizes | {"n_able": able, "n_queries": int((n > 0).sum())})
    if not any(line["n_queries"] for line in lines):
        raise InputError("no base model was sampled on test queries that its agent was asked in balance")
    return pd.DataFrame(lines)


def threshold_curve() -> pd.DataFrame:
    """Return from which P(correct) on answering pays under the reward, (1 − alpha)^gamma (Fig. 3, Eq. 10).

    `scenario` names the alphas of the three; `gamma` of the paper, and of the simulated agents, is .5.
    """
    named = {s.alpha: name for name, s in SCENARIOS.items()}
    alphas = sorted({*named, *np.linspace(0.0, 1.0, 101).round(2).tolist()})
    return pd.DataFrame(
        [
            {"gamma": gamma, "alpha": alpha, "scenario": named.get(alpha), "threshold": (1.0 - alpha) ** gamma}
            for gamma in GAMMAS
            for alpha in alphas
        ]
    )
