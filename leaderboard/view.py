"""Results → plain dict: all that the page says is decided and formatted here; the template only lays it out.

A table is {"id", "caption", "columns", "rows"}.
A column is {"label", "hint", "kind", "first", "sorted"}, `first` being the direction that a first click sorts in.
A row is {"reference", "optimal", "cells"}.
A cell is {"text", "note", "value", "shade"}; a null `value` sorts last in either direction.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.field_metrics import METRICS
from bench.frontier import pareto_optimal
from bench.plots import COST_ACCURACY, EASY_HARD, SPLITS, alpha_label, figure_name, label, panels
from bench.sweep_plot import FRONTIER

Row = Mapping[str, Any]
Dict = dict[str, Any]

ACCOUNTINGS = {
    "paper": "cost as each router's authors charge it",
    "final": "cost of the answering model alone",
    "every_call": "cost of every call",
    "every_call_and_verify": "cost of every call and every verification",
}
SIMULATED = "Simulated outcomes"
SWEEP = "Accuracy against cost of every router over all alphas, with the hull of the single models"
FIGURES = {
    COST_ACCURACY: "Accuracy against cost of every row, with the hull of the single models and lines of equal utility",
    EASY_HARD: "Mean cost of every router on easy, hard and unsolvable queries, the best discriminator on top",
}


def view(runs: Sequence[Mapping[str, Any]], figures: Sequence[Mapping[str, str]]) -> Dict:
    """Return what the page shows of `runs`, contents of `leaderboard.json` each.

    `figures` holds, for every run, data URIs by figure name (see `bench.plots.figure_name`); a figure that is not there
    is not shown. The same input gives the same dict.
    """
    shown = [_run(run, images, f"run{i}") for i, (run, images) in enumerate(zip(runs, figures, strict=True), 1)]
    return {
        "title": "LLM routers on " + ", ".join(dict.fromkeys(run["suite"]["name"] for run in runs)),
        "runs": shown,
        "switches": _switches(shown),
        "glossary": [{"label": column.label, "hint": column.hint} for column in (*MAIN, *PUBLISHED) if column.hint],
    }


def _run(content: Mapping[str, Any], images: Mapping[str, str], prefix: str) -> Dict:
    run, suite = content["run"], content["suite"]
    return {
        "id": prefix,
        "name": f"{suite['name']} · {run['id']}",
        "simulated": suite["kind"] == "simulated",
        "suite": {**suite, "pool": [{**model, "cost": decimal(model["cost"])} for model in suite["pool"]]},
        "run": {**run, "versions": sorted(run["versions"].items())},
        "accounting": ACCOUNTINGS[run["config"]["accounting"]],
        "live": run["config"].get("live"),
        "skipped": content["skipped"],
        "panels": [_panel(part, content, images, prefix) for part in panels(content["rows"])],
        "figures": [
            {"source": images[name], "alt": f"{SWEEP}, {SPLITS[split]}"}
            for split in SPLITS
            if (name := f"{FRONTIER}_{split}") in images
        ],
        "statistics": _statistics(content["statistics"]),
    }


def _statistics(told: Mapping[str, Any] | None) -> str:
    """Return in one paragraph how intervals and rank groups came about."""
    if told is None:
        return "none were computed"
    lacking = [f"{SPLITS[split]}: {part['lacking']}" for split, part in told["splits"].items() if part["lacking"]]
    words = (
        f"{100 * told['level']:g} % intervals, {told['resamples']:,} resamples: {told['interval']}",
        f"{told['test']}, {told['correction']}",
        f"rank group: {told['rank_group']}",
    )
    return "; ".join([*words, *lacking])


def _panel(rows: Sequence[Row], content: Mapping[str, Any], images: Mapping[str, str], prefix: str) -> Dict:
    """Return everything on one scenario and split."""
    first, suite, config = rows[0], content["suite"], content["run"]["config"]
    rows = sorted(rows, key=_order)
    identity = figure_name(prefix, first)
    mark = f"{SIMULATED}. " if suite["kind"] == "simulated" else ""
    about = f"{label(first)}, {_queries(rows)}. {mark}"
    caption = f"{about}{ACCOUNTINGS[config['accounting']].capitalize()}; {config['average']} average."
    return {
        "id": identity,
        "run": prefix,
        "scenario": _scenario(first),
        "split": first["split"],
        "title": label(first),
        "headline": headline(rows),
        "notes": _notes(rows),
        "figures": [
            {"source": images[name], "alt": f"{alt}: {about}"}
            for kind, alt in FIGURES.items()
            if (name := figure_name(kind, first)) in images
        ],
        "table": _table(f"{identity}-table", caption, _main_columns(rows), rows),
        "details": _details(identity, about, rows),
    }


def _order(row: Row) -> tuple[Any, ...]:
    """Ranked rows by rank, then reference rows by utility; what has no utility comes last."""
    utility = row["utility"]
    return row["reference"], row["rank"] is None, row["rank"] or 0, utility is None, -(utility or 0.0), row["router"]


def _scenario(row: Row) -> str:
    name = f"{row['scenario'].replace('_', ' ')}, " if row["scenario"] else ""
    return name + alpha_label(row["alpha"])


def _queries(rows: Sequence[Row]) -> str:
    counts = sorted({row["n_queries"] for row in rows})
    return f"{' to '.join(f'{n:,}' for n in dict.fromkeys((counts[0], counts[-1])))} test queries"


def _switches(runs: Sequence[Dict]) -> list[Dict]:
    """Return what the reader can switch between: runs where there are several, scenarios, splits."""
    shown = [panel for run in runs for panel in run["panels"]]
    names = {"run": {run["id"]: run["name"] for run in runs}, "split": SPLITS}
    options = {key: list(dict.fromkeys(panel[key] for panel in shown)) for key in ("run", "scenario", "split")}
    return [
        {"key": key, "options": [{"value": value, "label": names.get(key, {}).get(value, value)} for value in values]}
        for key, values in options.items()
        if key != "run" or len(values) > 1
    ]


def headline(rows: Sequence[Row]) -> str:
    """Return one sentence: who leads among the ranked rows of a panel, and by how much over `best_single`."""
    names = _leaders(rows, "rank")
    if not names:
        return "No router is ranked here."
    leader = next(row for row in rows if row["router"] == names[0])
    where = f"{alpha_label(leader['alpha'])} {SPLITS.get(leader['split'], leader['split'])}"
    lead = f"{_join(names)} {_verb(names, 'leads', 'tie for the lead')} at {where}"
    interval = _interval(leader, " (interval {})")
    return f"{lead}: utility {decimal(leader['utility'])}{interval}{_over_best_single(names, leader, rows)}."


def _over_best_single(names: Sequence[str], leader: Row, rows: Sequence[Row]) -> str:
    best = next((row["utility"] for row in rows if row["router"] == "best_single"), None)
    if best is None or leader["utility"] is None:
        return ""
    if "best_single" in names:
        return ", and no router beats it" if len(names) == 1 else ""
    gain = leader["utility"] - best
    return f", {signed(gain)} over best_single" if decimal(gain) != ".000" else ", less than .001 over best_single"


def _notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader has to know beside the headline."""
    ranked = [row for row in rows if row["rank"] is not None]
    leaders, paid = _leaders(ranked, "rank"), _leaders(ranked, "rank_every_call")
    groups = {row["rank_group"] for row in ranked if row["router"] in leaders} - {None}
    close = [row["router"] for row in ranked if row["rank_group"] in groups and row["router"] not in leaders]
    notes = []
    if all(row["utility_low"] is None for row in ranked):
        notes.append("There are no intervals here, so small differences may be chance.")
    if close:
        notes.append(f"{_join(close)} {_verb(close, 'stands', 'stand')} in the same rank group as the lead.")
    if paid and paid != leaders:
        notes.append(f"When every call is paid, {_join(paid)} {_verb(paid, 'leads', 'tie for the lead')}.")
    return notes


def _leaders(rows: Sequence[Row], key: str) -> list[str]:
    ranks = [row[key] for row in rows if row[key] is not None]
    return sorted(row["router"] for row in rows if ranks and row[key] == min(ranks))


def _verb(names: Sequence[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Return such as ".543", "1.000", "−.012"; a dash for None."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = "−" if value < 0 and float(text) else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def signed(value: float | None) -> str:
    """Return such as "+.012"; a dash for None."""
    text = decimal(value)
    return text if value is None or text.startswith("−") else f"+{text}"


def _interval(row: Row, form: str = "{}", key: str = "utility") -> str:
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return "" if low is None or high is None else form.format(f"{decimal(low)} to {decimal(high)}")


def _cell(value: float | str | None, text: str | None = None, note: str = "", shade: int | None = None) -> Dict:
    """Return a cell; its text is that of the value with three digits unless another is given."""
    if text is None:
        text = value if isinstance(value, str) else decimal(value)
    return {"text": text, "note": note, "value": value, "shade": shade}


@dataclass(frozen=True)
class Column:
    """One column: its header, what hovering explains, the direction of a first click, and a row's cell."""

    label: str
    cell: Callable[[Row], Dict]
    hint: str = ""
    descending: bool = True
    kind: str = "number"
    sorted: bool = False


def _number(key: str) -> Callable[[Row], Dict]:
    return lambda row: _cell(row[key])


def _rank(row: Row) -> Dict:
    group = "" if row["rank_group"] is None else f"group {row['rank_group']}"
    return _cell(row["rank"], "ref." if row["reference"] else _whole(row["rank"]), group)


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _router(row: Row) -> Dict:
    other = row["alpha_used"] is not None and row["alpha_used"] != row["alpha"]
    return _cell(row["router"], note=f"prompted at {alpha_label(row['alpha_used'])}" if other else "")


def _over(key: str) -> Callable[[Row], Dict]:
    """Return the cell of a paired difference with its interval, and p after Holm's correction."""

    def cell(row: Row) -> Dict:
        versus = row[key]
        if versus is None:
            return _cell(None)
        span = f"{signed(versus['low'])} to {signed(versus['high'])}, " if versus["low"] is not None else ""
        p = "p < .001" if versus["p_holm"] < 0.001 else f"p = {decimal(versus['p_holm'])}"
        return _cell(versus["difference"], signed(versus["difference"]), f"{span}{p}")

    return cell


def _difference(row: Row) -> Dict:
    known = row["utility"] is not None and row["published_utility"] is not None
    value = row["utility"] - row["published_utility"] if known else None
    return _cell(value, signed(value))


ROUTER = Column("Router", _router, descending=False, kind="name")
MAIN = (
    Column(
        "Rank",
        _rank,
        "among routers by utility, never of reference rows; group: 1 + the routers that are significantly better",
        descending=False,
        sorted=True,
    ),
    ROUTER,
    Column("Utility", lambda row: _cell(row["utility"], note=_interval(row)), "accuracy − α · cost"),
    Column(
        "Over best_single",
        _over("versus_best_single"),
        "paired difference in utility; p corrected for all pairs of routers",
    ),
    Column("Accuracy", _number("accuracy")),
    Column("Cost", _number("cost"), "of a query; the dearest model costs at most 1", descending=False),
    Column("Utility, all calls paid", _number("utility_every_call"), "utility when every call is paid"),
    Column(
        "Rank, all calls paid",
        lambda row: _cell(row["rank_every_call"], _whole(row["rank_every_call"])),
        "rank when every call is paid",
        descending=False,
    ),
    Column(
        "% of oracle",
        lambda row: _cell(row["percent_of_oracle"], _percent(row["percent_of_oracle"])),
        "utility in percent of the oracle's",
    ),
    Column("Easy cost", _number("easy_cost"), "mean cost where one of the cheaper models is right", descending=False),
    Column("Hard cost", _number("hard_cost"), "mean cost where none of the cheaper models is right"),
    Column("Queries", lambda row: _cell(row["n_queries"], _whole(row["n_queries"]), _seeds(row)), "test queries"),
)
PUBLISHED = (
    Column("Published utility", _number("published_utility"), "as the paper printed it"),
    Column("Ours − published", _difference),
)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}".replace("-", "−")


def _seeds(row: Row) -> str:
    return f"{row['n_seeds']} seeds" if row["n_seeds"] > 1 else ""


def _main_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    return MAIN + (PUBLISHED if any(row["published_utility"] is not None for row in rows) else ())


def _details(identity: str, about: str, rows: Sequence[Row]) -> list[Dict]:
    """Return the tables behind the main one: by task, by difficulty, and where the queries went."""
    tasks = dict.fromkeys(task for row in rows for task in row["per_task"] or {})
    models = dict.fromkeys(model for row in rows for model in row["share"] or {})
    tables: list[tuple[str, Iterable[Column]]] = [
        (f"{name.capitalize()} by task", [_per_task(task, name) for task in tasks])
        for name in ("utility", "accuracy", "cost")
    ]
    tables.append(("Cost by difficulty of the query", DIFFICULTY))
    tables.append(("Share of queries answered by each model", [_share(model) for model in models]))
    tables.append(("Compared with the best router; all calls paid; seeds", COMPARISON))
    tables.append(("Metrics of the field", [_metric(name) for name in rows[0]["metrics"]]))
    return [
        {"summary": title, "table": _table(f"{identity}-{i}", f"{title}. {about}", (ROUTER, *columns), rows)}
        for i, (title, columns) in enumerate(tables)
    ]


COMPARISON = (
    Column("Over the best router", _over("versus_best"), "paired difference in utility to the first in rank"),
    Column(
        "Utility, all calls paid",
        lambda row: _cell(row["utility_every_call"], note=_interval(row, key="utility_every_call")),
    ),
    Column(
        "Rank group, all calls paid",
        lambda row: _cell(row["rank_group_every_call"], _whole(row["rank_group_every_call"])),
        descending=False,
    ),
    Column("Standard deviation over seeds", _number("utility_seed_sd"), descending=False),
)
DIFFICULTY = (
    Column("Solved by all", _number("solved_by_all_cost"), "every model is right", descending=False),
    Column("Easy", _number("easy_cost"), "one of the cheaper models is right", descending=False),
    Column("Hard", _number("hard_cost"), "none of the cheaper models is right"),
    Column("Unsolvable", _number("unsolvable_cost"), "no model is right", descending=False),
)


def _per_task(task: str, name: str) -> Column:
    return Column(task, lambda row: _cell((row["per_task"] or {}).get(task, {}).get(name)), descending=name != "cost")


def _metric(name: str) -> Column:
    better = METRICS[name].higher_is_better if name in METRICS else True
    hint = METRICS[name].definition if name in METRICS else ""
    return Column(name.replace("_", " "), lambda row: _cell(row["metrics"][name]), hint, descending=better)


def _share(model: str) -> Column:
    def cell(row: Row) -> Dict:
        share = (row["share"] or {}).get(model)
        return _cell(share, shade=None if share is None else round(5 * share))

    return Column(model, cell)


def _header(column: Column) -> Dict:
    first = "descending" if column.descending else "ascending"
    return {"label": column.label, "hint": column.hint, "kind": column.kind, "first": first, "sorted": column.sorted}


def _table(identity: str, caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> Dict:
    optimal = pareto_optimal(rows)
    return {
        "id": identity,
        "caption": caption.strip(),
        "columns": [_header(column) for column in columns],
        "rows": [
            {
                "reference": row["reference"],
                "optimal": row["router"] in optimal,
                "cells": [column.cell(row) for column in columns],
            }
            for row in rows
        ],
    }
