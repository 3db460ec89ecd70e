"""Whether a suite's outcomes, token counts and prices are what a recording can hold, or traces of a broken one.

Judged on test queries, from `FEW` queries on. That every model is alike on all queries of a domain is fatal: no router
can be better than another there. A model that is never right is an error, since a parser that fails looks like that;
one that always is, a task on which all models are alike, and counts that never change may be true, and are warnings.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.findings import FEW, Finding, finding
from tasks.suite import Suite

Floats = NDArray[np.floating]


def constant_outcomes(suite: Suite) -> Iterator[Finding]:
    """Find outcomes that are the same for all models, or for all queries."""
    rows = suite.rows("test")
    correct = suite.correct[rows]
    alike = correct.max(axis=1, initial=0) == correct.min(axis=1, initial=1)
    domains = suite.queries["domain"].to_numpy()[rows]
    parts = {name: domains == name for name in ("id", "ood")}
    useless = [name for name, mine in parts.items() if mine.sum() >= FEW and alike[mine].all()]
    if useless:
        yield finding(
            "fatal",
            "domains in which every model is right on the same test queries, so that routing decides nothing",
            useless,
            "see whether the outcomes of one model were recorded for all",
        )
    names = {task.name: suite.task[rows] == t for t, task in enumerate(suite.manifest.tasks)}
    flat = [name for name, mine in names.items() if mine.sum() >= FEW and alike[mine].all()]
    if flat and not useless:
        yield finding(
            "warning",
            "tasks on whose test queries all models are alike",
            flat,
            "see whether their answers are graded as they should be",
        )
    if len(rows) < FEW:
        return
    for value, severity, how in ((0.0, "error", "never"), (1.0, "warning", "always")):
        models = [name for name, column in zip(suite.pool.names, correct.T, strict=True) if (column == value).all()]
        if models:
            yield finding(
                "error" if severity == "error" else "warning",
                f"models that are {how} right on any of {len(rows)} test queries",
                models,
                "read some of their answers: a parser or a grader that fails looks like that",
            )
    twins = [
        f"{suite.pool.names[a]} = {suite.pool.names[b]}"
        for a in range(correct.shape[1])
        for b in range(a + 1, correct.shape[1])
        if (correct[:, a] == correct[:, b]).all() and not alike.all()
    ]
    if twins:
        yield finding("error", "pairs of models with the same outcomes", twins, "see whether one was recorded twice")
    yield finding(
        "note",
        f"test queries, of {len(rows)}, on which all models are alike; only the others tell routers apart",
        [],
        "read differences between routers accordingly",
        int(alike.sum()),
    )


def token_counts(suite: Suite) -> Iterator[Finding]:
    """Find token counts that are zero, or the same for every query, as a server reports that does not count."""
    rows = suite.rows("test")
    for name in ("prompt_tokens", "completion_tokens"):
        counts = suite.outcomes.get(name)
        if counts is None:
            yield finding("note", f"no {name}, so that neither can dollars be checked", [], "record them", 1)
            continue
        known = {m: c[~np.isnan(c)] for m, c in zip(suite.pool.names, counts[rows].T, strict=True)}
        known = {m: c for m, c in known.items() if len(c) >= FEW}
        zero = [m for m, c in known.items() if (c == 0).all()]
        constant = [f"{m}: {c[0]:g}" for m, c in known.items() if m not in zero and (c == c[0]).all()]
        some = [f"{m}: {int((c == 0).sum())} times" for m, c in known.items() if m not in zero and (c == 0).any()]
        why = "see whether the engine reports its usage; tokens and dollars of these models are wrong"
        if zero:
            yield finding("error", f"models whose {name} are all zero", zero, why)
        if constant:
            severe = name == "prompt_tokens"  # an answer of one letter is always one token, but questions differ
            what = f"models whose {name} are the same for every query"
            yield finding("error" if severe else "warning", what, constant, why)
        if some:
            yield finding("warning", f"models whose {name} are sometimes zero", some, "see whether those calls failed")


def prices(suite: Suite) -> Iterator[Finding]:
    """Find costs that nobody can check: prices that are unknown, undated, or do not fit what was paid."""
    pool, rule = suite.pool, suite.manifest.cost_rule
    unknown = [m.model for m in pool if m.prices is None or m.prices.input_usd_per_mtok is None]
    undated = [m.model for m in pool if m.model not in unknown and m.prices is not None and m.prices.date is None]
    if 0 < len(unknown) < len(pool):
        yield finding("error", "models without a price, where others have one", unknown, "find out what they cost")
    elif unknown:
        what = f"models without a price; costs come from: {rule or 'nobody knows'}"
        yield finding("note", what, unknown, "judge that rule: ranks depend on it")
    if undated:
        advice = "say when they were so: bench.ingest --prices-date YYYY-MM-DD"
        yield finding("warning", "models whose price has no date", undated, advice)
    if not rule:
        yield finding("warning", "no rule says where costs come from", [], "write it into cost_rule of suite.json", 1)
    free = [m.model for m in pool if m.cost == 0]
    if free:
        yield finding("warning", "models that cost nothing", free, "see whether their price is unknown, not zero")
    if len(pool) > 1 and len(set(pool.costs.tolist())) == 1:
        yield finding("warning", "models, all of one cost: alpha changes no rank", pool.names, "see whether that is so")
    yield from _dollars(suite)


def _dollars(suite: Suite) -> Iterator[Finding]:
    """Compare what was paid with price times tokens."""
    rows, paid = suite.rows("test"), suite.outcomes.get("cost_usd")
    tokens = [suite.outcomes.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if paid is None:
        return
    nothing, off = list[str](), list[str]()
    for m, model in enumerate(suite.pool):
        dollars = paid[rows, m].astype(np.float64)
        if model.cost > 0 and (dollars == 0).any():
            nothing.append(f"{model.model}: {int((dollars == 0).sum())} times")
        known, each = model.prices, [None if t is None else t[rows, m].astype(np.float64) for t in tokens]
        if known is None or known.input_usd_per_mtok is None or known.output_usd_per_mtok is None:
            continue
        if each[0] is None or each[1] is None:
            continue
        due = (each[0] * known.input_usd_per_mtok + each[1] * known.output_usd_per_mtok) / 1e6
        both = (dollars > 0) & (due > 0)
        ratio = float(np.median(dollars[both] / due[both])) if both.any() else 1.0
        if not 0.5 <= ratio <= 2.0:
            off.append(f"{model.model}: {ratio:.3g} times")
    if nothing:
        yield finding("error", "models with answers that cost 0 dollars", nothing, "see whether those calls failed")
    if off:
        advice = "see whether prices are per million tokens, and of that day"
        yield finding("error", "models that were paid otherwise than tokens × price (median)", off, advice)
