"""The tables of the page: what stands in every column, and how a cell is written.

A table is {"id", "name", "caption", "columns", "rows"}.
A column is {"key", "label", "hint", "kind", "first", "sorted"}; a first click sorts in the direction `first`.
A row is {"router", "reference", "optimal", "cells"}.
A cell is {"text", "note", "value", "interval", "shade", "bar"}; a null `value` sorts last in either direction. An
`interval` is its [low, high]; a `bar` is low end, value and high end in percent of the width that all bars of the table
share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.frontier import pareto_optimal
from bench.plots import alpha_label
from leaderboard.sentences import over_best_single
from leaderboard.wording import Row, decimal, percent, signed, span, whole

Dict = dict[str, Any]
Ends = tuple[float | None, float | None]


@dataclass(frozen=True)
class Column:
    """One column: its key, its header, what explains it, the direction of a first click, and a row's cell."""

    key: str
    label: str
    cell: Callable[[Row], Dict]
    hint: str = ""
    descending: bool = True
    kind: str = "number"
    sorted: bool = False


def cell(
    value: float | str | None,
    text: str | None = None,
    note: str = "",
    interval: Ends = (None, None),
    drawn: bool = False,
    shade: int | None = None,
) -> Dict:
    """Return a cell; its text is that of the value with three digits unless another is given.

    Where it is `drawn`, value and interval become a bar.
    """
    if text is None:
        text = value if isinstance(value, str) else decimal(value)
    ends = None if None in interval else list(interval)
    bar = [interval[0], value, interval[1]] if drawn and value is not None else None
    return {"text": text, "note": note, "value": value, "interval": ends, "shade": shade, "bar": bar}


def number(key: str) -> Callable[[Row], Dict]:
    """Return what writes the value of `key` with three digits."""
    return lambda row: cell(row[key])


def table(identity: str, name: str, caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> Dict:
    """Return a table of `rows`, in their order; `name` is how an export asks for it."""
    optimal = pareto_optimal(rows)
    lines = [[column.cell(row) for column in columns] for row in rows]
    _scale([told for line in lines for told in line if told["bar"]])
    return {
        "id": identity,
        "name": name,
        "caption": caption.strip(),
        "columns": [header(column) for column in columns],
        "rows": [
            {"router": row["router"], "reference": row["reference"], "optimal": row["router"] in optimal, "cells": line}
            for row, line in zip(rows, lines, strict=True)
        ],
    }


def header(column: Column) -> Dict:
    """Return what the head of a table says of a column."""
    first = "descending" if column.descending else "ascending"
    shown = {"key": column.key, "label": column.label, "hint": column.hint, "kind": column.kind}
    return shown | {"first": first, "sorted": column.sorted}


def _scale(barred: Sequence[Dict]) -> None:
    """Turn the bars of a table from values into percent of the width that they share."""
    ends = [value for told in barred for value in told["bar"] if value is not None]
    if not ends:
        return
    low, width = min(ends), max(ends) - min(ends) or 1.0
    for told in barred:
        told["bar"] = [None if value is None else round(100 * (value - low) / width, 1) for value in told["bar"]]


def _group(row: Row) -> Dict:
    group = row["rank_group"]
    return cell(group, "ref." if row["reference"] else "–" if group is None else str(group))


def _router(row: Row) -> Dict:
    other = row["alpha_used"] is not None and row["alpha_used"] != row["alpha"]
    told = [f"prompted at {alpha_label(row['alpha_used'])}"] if other else []
    told += [f"{row['n_seeds']} seeds"] if row["n_seeds"] > 1 else []
    return cell(row["router"], note=", ".join(told))


def _utility(row: Row) -> Dict:
    low, value, high = row["utility_low"], row["utility"], row["utility_high"]
    return cell(value, note=span(low, high), interval=(low, high), drawn=True)


def _over_best(row: Row) -> Dict:
    """Return the paired difference to best_single with its interval, and p after Holm's correction."""
    versus = row["versus_best_single"]
    if versus is None:
        return cell(None)
    text = signed(versus["difference"])
    note = over_best_single(row).removeprefix(text).strip(" ,")
    return cell(versus["difference"], text, note, (versus["low"], versus["high"]))


def _every_call(row: Row) -> Dict:
    rank = row["rank_every_call"]
    return cell(row["cost_every_call"], note="" if rank is None else f"rank {rank}")


def _difference(row: Row) -> Dict:
    known = row["utility"] is not None and row["published_utility"] is not None
    value = row["utility"] - row["published_utility"] if known else None
    return cell(value, signed(value))


def _per_task(task: str, name: str) -> Column:
    def told(row: Row) -> Dict:
        return cell((row["per_task"] or {}).get(task, {}).get(name))

    return Column(task, task, told, descending=name != "cost")


def _share(model: str) -> Column:
    def told(row: Row) -> Dict:
        share = (row["share"] or {}).get(model)
        return cell(share, shade=None if share is None else round(5 * share))

    return Column(model, model, told)


ROUTER = Column("router", "Router", _router, descending=False, kind="name")
MAIN = (
    Column(
        "group",
        "Rank group",
        _group,
        "1 + the number of routers that are significantly better: who cannot be told apart share one; reference rows "
        "are never ranked",
        descending=False,
    ),
    Column(
        "rank",
        "Rank",
        lambda row: cell(row["rank"], whole(row["rank"])),
        "by utility alone, however small the difference",
        descending=False,
        sorted=True,
    ),
    ROUTER,
    Column("utility", "Utility", _utility, "accuracy − α · cost, with its interval", kind="number wide"),
    Column(
        "over",
        "Over best_single",
        _over_best,
        "paired difference in utility to the best single model; p corrected for all pairs of routers",
    ),
    Column("accuracy", "Accuracy", number("accuracy"), "share of right answers"),
    Column("cost", "Cost", number("cost"), "of a query; a model's cost lies between 0 and 1", descending=False),
    Column(
        "every_call",
        "Cost, every call",
        _every_call,
        "what every call would cost, whoever answers in the end; below it the rank when all is paid",
        descending=False,
    ),
    Column(
        "oracle",
        "% of oracle",
        lambda row: cell(row["percent_of_oracle"], percent(row["percent_of_oracle"])),
        "utility in percent of the oracle's, which knows who is right",
    ),
    Column(
        "easy", "Easy cost", number("easy_cost"), "mean cost where one of the cheaper models is right", descending=False
    ),
    Column("hard", "Hard cost", number("hard_cost"), "mean cost where none of the cheaper models is right"),
    Column(
        "overhead",
        "Overhead, µs",
        lambda row: cell(row["overhead_us"], percent(row["overhead_us"], 0)),
        "the router's own time for one query",
        descending=False,
    ),
    Column(
        "latency",
        "Latency, s",
        lambda row: cell(row["latency_s"], percent(row["latency_s"], 2)),
        "mean time that the models asked took for one query",
        descending=False,
    ),
)
PUBLISHED = (
    Column("published", "Published utility", number("published_utility"), "as the paper printed it"),
    Column("difference", "Ours − published", _difference, "utility here less the published one"),
)
DIFFICULTY = (
    Column("all", "Solved by all", number("solved_by_all_cost"), "every model is right", descending=False),
    Column("easy", "Easy", number("easy_cost"), "one of the cheaper models is right", descending=False),
    Column("hard", "Hard", number("hard_cost"), "none of the cheaper models is right"),
    Column("unsolvable", "Unsolvable", number("unsolvable_cost"), "no model is right", descending=False),
)


def main_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Return the columns of the leaderboard; published values where there are any."""
    return MAIN + (PUBLISHED if any(row["published_utility"] is not None for row in rows) else ())


def details(identity: str, about: str, rows: Sequence[Row]) -> list[Dict]:
    """Return the tables behind the main one: by task, by difficulty, and where the queries went."""
    tasks = dict.fromkeys(task for row in rows for task in row["per_task"] or {})
    models = dict.fromkeys(model for row in rows for model in row["share"] or {})
    tables: list[tuple[str, str, Sequence[Column]]] = [
        (f"{name}_by_task", f"{name.capitalize()} by task", [_per_task(task, name) for task in tasks])
        for name in ("utility", "accuracy", "cost")
    ]
    tables.append(("difficulty", "Cost by difficulty of the query", DIFFICULTY))
    tables.append(("shares", "Share of queries answered by each model", [_share(model) for model in models]))
    return [
        {"summary": title, "table": table(f"{identity}-{i}", name, f"{title}. {about}", (ROUTER, *columns), rows)}
        for i, (name, title, columns) in enumerate(tables)
    ]
