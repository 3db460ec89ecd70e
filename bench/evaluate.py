"""Fit and route every router on a suite, and join its decisions with the outcomes."""

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from joblib import Parallel, delayed

from bench.config import RunConfig
from bench.decisions import Predicted, decisions, predict
from bench.replay import Ledger, ReplayEnv, own_reply, price, query_view, recorded_for, settle, training_view
from routers.base import Accounting, AlphaMode, Answerer, BoolArray, FloatArray, IntArray, QueryView, Router, Signal
from routers.registry import ALIASES, RouterSpec
from routers.scorers import BRING_TEXTS
from tasks.errors import InputError, examples
from tasks.scenarios import SCENARIOS, Average, Scenario
from tasks.suite import Rows, Suite
from tasks.types import Domain

if TYPE_CHECKING:  # a run without --live needs no engine
    from bench.live import Live

Progress = Callable[[str], None]
LABELS = Signal.OUTCOME | Signal.POSTERIOR


@dataclass(frozen=True, eq=False)
class Routed:
    """One router on the n test queries of one split, in one scenario, with one seed.

    `chosen` (n,) indices into the pool; `delivered` (n,) True where the agent's own reply is the answer; `shares`
    (n, K) the exact probabilities of a router that draws, else None. Seconds are wall-clock, those of a live run
    without its waiting for models. `predicted` (n, K) is P(correct), of a router that predicts it. Live, `measured` is
    the suite with what the models said just now, and `replayed` (n,) what the same fitted router chooses on the
    recording.
    """

    spec: RouterSpec
    router: Router
    scenario: Scenario
    prompt: str
    split: Domain
    seed: int
    rows: Rows
    chosen: IntArray
    delivered: BoolArray
    ledger: Ledger
    shares: FloatArray | None
    fit_seconds: float
    route_seconds: float
    predicted: FloatArray | None = None
    measured: Suite | None = None
    replayed: IntArray | None = None

    @property
    def alpha_used(self) -> float:
        """The alpha that the router acted on: another than the scenario's only where it enters by a recorded prompt."""
        return SCENARIOS[self.prompt].alpha if self.router.alpha_mode is AlphaMode.PROMPT else self.scenario.alpha


@dataclass(frozen=True, eq=False)
class Scores:
    """What a routed query brought and took, each (n,): correctness, cost by accounting, seconds and US dollars."""

    correct: FloatArray
    cost: dict[Accounting, FloatArray]
    latency_s: FloatArray
    cost_usd: FloatArray


def unusable(router: Router, suite: Suite, fitted_on: Suite) -> str | None:
    """Return why a router cannot run on this suite, or None."""
    needs = {name.replace("*", model) for name in router.needs() for model in suite.pool.names}
    lacking = sorted(needs - suite.available)
    if lacking:
        hint = " (only simulated suites have them)" if all(name.startswith("posteriors/") for name in lacking) else ""
        if "text" in lacking:
            hint = f"; bring the texts by: {BRING_TEXTS}"
        return f"the suite has no {examples(lacking)}{hint}"
    if router.learns and not (len(suite.rows("train", "id")) and len(suite.rows("validation", "id"))):
        return "the suite has no train and validation queries to learn from"
    if suite.pool != fitted_on.pool and not router.pool_agnostic:
        return "its pool cannot change without a refit, and --no-refit was given"
    return None


def usable(
    suite: Suite, fitted_on: Suite, specs: Sequence[RouterSpec], named: frozenset[str]
) -> tuple[list[tuple[RouterSpec, Router]], list[dict[str, str]]]:
    """Build the routers that can run on this suite; return the others with their reasons.

    Raises `InputError` where one that the user named cannot run, or where one that would be ranked asks for labels.
    """
    runnable, skipped = [], []
    for spec in specs:
        router = spec.build()
        if not spec.reference and (router.signals & LABELS or router.joint):
            raise InputError(
                f"router {spec.name} asks for labels of the test set or looks at all its queries at once, which only "
                "reference rows may; leave OUTCOME and POSTERIOR out of its signals"
            )
        reason = unusable(router, suite, fitted_on)
        if reason is None:
            runnable.append((spec, router))
        elif spec.name in named:
            raise InputError(f"router {spec.name} cannot run on suite {suite.manifest.name}: {reason}")
        else:
            skipped.append({"router": spec.name, "reason": reason})
    for alias in named & ALIASES.keys():
        reasons = [one["reason"] for one in skipped if one["router"] in ALIASES[alias]]
        if len(reasons) == len(ALIASES[alias]):
            raise InputError(f"no router of {alias} can run on suite {suite.manifest.name}: {reasons[0]}")
    return runnable, skipped


def evaluate(
    suite: Suite,
    fitted_on: Suite,
    routers: Sequence[tuple[RouterSpec, Router]],
    config: RunConfig,
    jobs: int = 1,
    progress: Progress = lambda _: None,
    live: "Live | None" = None,
    between: Sequence[Scenario] = (),
) -> list[Routed]:
    """Run every router on every scenario, split and seed; return what they did.

    Those whose alpha enters their decisions alone, so that they need no other fit, also run on the scenarios `between`.
    `fitted_on` is `suite`, or with --no-refit the same suite with its full pool. With `live`, routers ask real models
    about the test queries; reference rows, which look at recorded outcomes, are replayed all the same.
    """
    views = {split: query_view(suite, suite.rows("test", split), config.average) for split in config.splits}

    def work(spec: RouterSpec, router: Router) -> list[Routed]:
        progress(spec.name)
        also = between if router.alpha_mode is AlphaMode.DECISION else ()
        scenarios = (*config.scenarios, *also)
        return _run_router(spec, router, suite, fitted_on, views, config, scenarios, None if spec.reference else live)

    results = Parallel(n_jobs=jobs, prefer="threads")(delayed(work)(spec, router) for spec, router in routers)
    return [routed for group in results for routed in group]


def _run_router(
    spec: RouterSpec,
    router: Router,
    suite: Suite,
    fitted_on: Suite,
    views: dict[Domain, QueryView],
    config: RunConfig,
    scenarios: Sequence[Scenario],
    live: "Live | None",
) -> list[Routed]:
    found: list[Routed] = []
    for seed in config.seeds:
        if draws(router):
            router.set_params(seed=seed)
        elif seed != config.seeds[0]:  # nothing is drawn, so every seed repeats the first
            found += [_repeat(routed, seed) for routed in found if routed.seed == config.seeds[0]]
            continue
        fit_seconds, predicted = 0.0, dict[Domain, Predicted]()
        for place, scenario in enumerate(scenarios):
            if place == 0 or router.alpha_mode is AlphaMode.REFIT:
                fit_seconds = _fit(router, fitted_on, scenario, config.average)
                predicted = {split: predict(router, queries) for split, queries in views.items()}
            for split, queries in views.items():
                if place and router.alpha_mode is AlphaMode.NONE:
                    same = next(r for r in found if r.split == split and r.seed == seed)
                    found.append(_repeat(same, seed, scenario))
                else:
                    told = predicted[split]
                    found.append(_route(spec, router, suite, queries, split, scenario, seed, fit_seconds, told, live))
    return found


def draws(router: Router) -> bool:
    """Return whether a router depends on a seed, so that another one is another router."""
    return "seed" in inspect.signature(type(router)).parameters


def _repeat(routed: Routed, seed: int, scenario: Scenario | None = None) -> Routed:
    changes = vars(routed) | {"seed": seed}
    return Routed(**(changes | ({"scenario": scenario, "prompt": nearest_prompt(scenario)} if scenario else {})))


def nearest_prompt(scenario: Scenario, suite: Suite | None = None, checkpoint: str | None = None) -> str:
    """Return the scenario's own name, or that of the nearest of the three (the more cautious of two equally near).

    Only those count in which the agents of a checkpoint were recorded, where there are any.
    """
    recorded = {} if suite is None else suite.self_routes
    names = [name for name in SCENARIOS if (checkpoint, name) in recorded] or list(SCENARIOS)
    if scenario.name in names:
        return str(scenario.name)
    return min(names, key=lambda name: (abs(SCENARIOS[name].alpha - scenario.alpha), SCENARIOS[name].alpha))


def _fit(router: Router, suite: Suite, scenario: Scenario, average: Average) -> float:
    prompt = nearest_prompt(scenario, suite, router.checkpoint)
    train, validation = (
        training_view(suite, suite.rows(split, "id"), router.signals, prompt, average)
        for split in ("train", "validation")
    )
    start = time.perf_counter()
    router.fit(train, validation, scenario)
    return time.perf_counter() - start


def _route(
    spec: RouterSpec,
    router: Router,
    suite: Suite,
    queries: QueryView,
    split: Domain,
    scenario: Scenario,
    seed: int,
    fit_seconds: float,
    predicted: Predicted,
    live: "Live | None",
) -> Routed:
    rows, prompt = suite.rows("test", split), nearest_prompt(scenario, suite, router.checkpoint)
    signals = router.signals
    env = _replay(suite, rows, signals, prompt) if live is None else live.env(rows, signals, prompt)
    start = time.perf_counter()
    chosen = decisions(spec.name, router, queries, env, scenario, predicted)
    seconds = time.perf_counter() - start - env.waited_s + predicted.seconds
    if live is not None:
        live.deliver(rows, chosen, own_reply(env.ledger, chosen))
    delivered = settle(env.ledger, chosen, _recorded(live.measured if live else suite, "completion_tokens", rows))
    return Routed(
        spec=spec,
        router=router,
        scenario=scenario,
        prompt=prompt,
        split=split,
        seed=seed,
        rows=rows,
        chosen=chosen,
        delivered=delivered,
        ledger=env.ledger,
        shares=router.choice_shares(queries),
        fit_seconds=fit_seconds,
        route_seconds=seconds,
        predicted=predicted.correctness,
        measured=None if live is None else live.measured,
        replayed=None
        if live is None
        else decisions(spec.name, router, queries, _replay(suite, rows, signals, prompt), scenario, predicted),
    )


def _replay(suite: Suite, rows: Rows, signals: Signal, prompt: str) -> ReplayEnv:
    return ReplayEnv(recorded_for(suite, rows, signals, prompt), signals, Ledger(len(rows)))


def score(routed: Routed, suite: Suite) -> Scores:
    """Join decisions with outcomes: the chosen model's, or that of the agent's own reply where it accepted.

    The outcomes of a live run are those that it measured.
    """
    suite = routed.measured or suite
    rows, chosen, n = routed.rows, routed.chosen, np.arange(len(routed.rows))
    correct = suite.correct[rows].astype(np.float64)
    seconds, dollars = (_recorded(suite, name, rows) for name in ("latency_s", "cost_usd"))
    if routed.shares is not None:
        cost = routed.shares @ suite.pool.costs
        return Scores(
            (routed.shares * correct).sum(axis=1),
            dict.fromkeys(Accounting, cost),
            (routed.shares * seconds).sum(axis=1),
            (routed.shares * dollars).sum(axis=1),
        )
    answered = routed.ledger.asked("answered", len(suite.pool))
    latency, usd = (np.where(answered, amount, 0.0).sum(axis=1) for amount in (seconds, dollars))
    own = correct[n, chosen]
    if routed.router.delivers is Answerer.AGENT:
        table = suite.self_routes[routed.router.checkpoint, routed.prompt]
        own = np.where(routed.delivered, table["correct"][rows, chosen], own)
        asked = routed.ledger.asked("self_routed", len(suite.pool))
        took = table["latency_s"][rows].astype(np.float64) if "latency_s" in table else None
        latency += np.nan if took is None else np.where(asked, took, 0.0).sum(axis=1)
        usd += np.nan  # what an agent's own reply costs in dollars is not recorded
    for call in ("verified", "sampled"):  # neither the time nor the dollars of votes and samples are recorded
        unknown = routed.ledger.calls[call] != 0
        latency[unknown], usd[unknown] = np.nan, np.nan
    return Scores(own, price(routed.ledger, chosen, suite, rows), latency, usd)


def _recorded(suite: Suite, name: str, rows: Rows) -> FloatArray:
    values = suite.outcomes.get(name)
    return np.full((len(rows), len(suite.pool)), np.nan) if values is None else values[rows].astype(np.float64)
