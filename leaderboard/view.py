"""Results → plain dict: all that the page says is decided and formatted here; the template only lays it out."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.plots import COST_ACCURACY, EASY_HARD, SPLITS, UTILITY_ALPHA, figure_name, label, panels
from bench.sweep_plot import FRONTIER
from leaderboard import compare, embedded, papers
from leaderboard.columns import MAIN, PUBLISHED, details, main_columns, table
from leaderboard.schema import ANSWER_RATE
from leaderboard.sentences import headline, notes
from leaderboard.wording import ACCOUNTINGS, SIMULATED, Row, decimal, queries, scenario, suite_label

Dict = dict[str, Any]

FIGURES = {
    COST_ACCURACY: "Accuracy against cost of every row, with the hull of the single models and lines of equal utility",
    EASY_HARD: "Mean cost of every router on easy, hard and unsolvable queries, the best discriminator on top",
}
RUN_FIGURES = {
    FRONTIER: "Accuracy against cost of every router over all alphas, with the hull of the single models",
    UTILITY_ALPHA: "Utility of every router over alpha, and where the winner changes",
}
# In the order in which a reader chooses; with `run` only where runs would else be taken for each other.
FACETS = ("suite", "pool", "average", "accounting", "run", "split", "scenario")
MANY_SCENARIOS = 6  # beyond which the slider alone chooses
SEVERITIES = {"fatal": "Fatal", "error": "Error", "warning": "Warning", "note": "Note"}


def view(
    runs: Sequence[Mapping[str, Any]], figures: Sequence[Mapping[str, str]], whole: bool = True, behind: bool = True
) -> Dict:
    """Return what the page shows of `runs`, as `schema.read` gives them.

    `figures` holds, for every run, data URIs by figure name (see `bench.plots.figure_name`); a figure that is not there
    is not shown. `whole` is false where some were left out, as the page has no room for them, and `behind` where the
    tables behind the main one are to be. The same input gives the same dict.
    """
    names = _facet_names(runs)
    shown = [
        _run(run, images, f"run{i}", facets, behind)
        for i, (run, images, facets) in enumerate(zip(runs, figures, names, strict=True), 1)
    ]
    return {
        "title": "LLM routers on " + ", ".join(dict.fromkeys(run["suite"]["name"] for run in runs)),
        "runs": shown,
        "switches": _switches(shown),
        "comparisons": compare.comparisons(runs, [run["name"] for run in shown]),
        "glossary": [{"label": column.label, "hint": column.hint} for column in (*MAIN, *PUBLISHED)],
        "left_out": [
            words
            for there, words in ((whole, "static figures"), (behind, "tables by task, by difficulty and by model"))
            if not there
        ],
        "data": {
            "panels": {panel["id"]: panel.pop("data") for run in shown for panel in run["panels"]},
            "runs": {run["id"]: embedded.run(content) for run, content in zip(shown, runs, strict=True)},
        },
    }


def _facet_names(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what tells the runs of a page apart: suite, pool, average, accounting, and the run's id where need be."""
    suites = [name for name, _ in {(run["suite"]["name"], run["suite"]["sha256"]) for run in runs}]
    found = []
    for run in runs:
        name, digest = run["suite"]["name"], run["suite"]["sha256"]
        pool = run["rows"][0]["pool"] if run["rows"] else [model["model"] for model in run["suite"]["pool"]]
        found.append(
            {
                "suite": name if suites.count(name) == 1 else f"{name} ({digest[:8]})",
                "pool": ", ".join(pool),
                "average": run["run"]["config"]["average"],
                "accounting": run["run"]["config"]["accounting"],
                "run": "",
            }
        )
    keys = [[(*facets.values(), *key) for key in _alphas(run)] for run, facets in zip(runs, found, strict=True)]
    flat = [key for mine in keys for key in mine]
    if len(set(flat)) < len(flat):
        for number, (run, facets) in enumerate(zip(runs, found, strict=True), 1):
            facets["run"] = f"{number}: {run['run']['id']}"
    return found


def _alphas(run: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    return {(row["alpha"], row["split"]) for row in run["rows"]}


def _run(
    content: Mapping[str, Any], images: Mapping[str, str], prefix: str, facets: Mapping[str, str], behind: bool
) -> Dict:
    run, suite = content["run"], content["suite"]
    return {
        "id": prefix,
        "name": f"{suite['name']} · {run['id']}",
        "simulated": suite["kind"] == "simulated",
        "suite": {**suite, "pool": [{**model, "cost": decimal(model["cost"])} for model in suite["pool"]]},
        "run": {**run, "versions": sorted(run["versions"].items())},
        "accounting": ACCOUNTINGS[run["config"]["accounting"]],
        "live": run["config"].get("live"),
        "routers": [
            {"name": name, **papers.about(name, content["settings"])}
            for name in sorted({row["router"] for row in content["rows"] if not row["reference"]})
        ],
        "skipped": content["skipped"],
        "audit": None
        if run.get("audit") is None
        else [{**one, "severity": SEVERITIES.get(one["severity"], one["severity"])} for one in run["audit"]],
        "panels": [_panel(part, content, images, prefix, facets, behind) for part in panels(content["rows"])],
        "figures": _run_figures(images),
        "statistics": _statistics(content["statistics"]),
    }


def _run_figures(images: Mapping[str, str]) -> list[Dict]:
    """Return the figures that belong to a split, not to one alpha, and that of the agents."""
    found = [
        {"source": images[name], "alt": f"{words}, {SPLITS[split]}"}
        for kind, words in RUN_FIGURES.items()
        for split in SPLITS
        if (name := f"{kind}_{split}") in images
    ]
    if ANSWER_RATE in images:
        found.append({"source": images[ANSWER_RATE], "alt": "How often every agent answers, asked alone, by scenario"})
    return found


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


def _panel(
    rows: Sequence[Row],
    content: Mapping[str, Any],
    images: Mapping[str, str],
    prefix: str,
    facets: Mapping[str, str],
    behind: bool,
) -> Dict:
    """Return everything on one scenario and split."""
    first, suite, config = rows[0], content["suite"], content["run"]["config"]
    rows = sorted(rows, key=order)
    identity = figure_name(prefix, first)
    mark = f"{SIMULATED}. " if suite["kind"] == "simulated" else ""
    about = f"{label(first)}, {queries(rows)}. {mark}"
    caption = f"{about}{ACCOUNTINGS[config['accounting']].capitalize()}; {config['average']} average."
    level = content["statistics"]["level"] if content["statistics"] else 0.95
    chosen = {**facets, "split": first["split"], "scenario": scenario(first)}
    sentence, remarks = headline(rows, suite_label(suite), level), notes(rows)
    return {
        "id": identity,
        "run": prefix,
        "alpha": first["alpha"],
        "facets": chosen,
        "title": label(first),
        "headline": sentence,
        "notes": remarks,
        "figures": [
            {"source": images[name], "alt": f"{alt}: {about}"}
            for kind, alt in FIGURES.items()
            if (name := figure_name(kind, first)) in images
        ],
        "table": table(f"{identity}-table", "leaderboard", caption, main_columns(rows), rows),
        "details": details(identity, about, rows) if behind else [],
        "data": embedded.panel(rows, {**chosen, "of": prefix}, sentence, remarks),
    }


def order(row: Row) -> tuple[Any, ...]:
    """Ranked rows by rank, then reference rows by utility; what has no utility comes last."""
    utility = row["utility"]
    return row["reference"], row["rank"] is None, row["rank"] or 0, utility is None, -(utility or 0.0), row["router"]


def _switches(runs: Sequence[Dict]) -> list[Dict]:
    """Return what the reader can switch between: wherever there is more than one value, and how cost is charged.

    Every run tells the cost of the answering model and of every call beside its own, so that these can always be had.
    """
    shown = [panel["facets"] for run in runs for panel in run["panels"]]
    found = []
    for key in FACETS:
        values = list(dict.fromkeys(facets[key] for facets in shown))
        if key == "accounting" and values:
            values = list(dict.fromkeys([*values, "final", "every_call"]))
        if len(values) > 1 and not (key == "scenario" and len(values) > MANY_SCENARIOS):
            found.append({"key": key, "options": [{"value": one, "label": _option(key, one)} for one in values]})
    return found


def _option(key: str, value: str) -> str:
    if key == "accounting":
        return {"paper": "authors’", "final": "answer alone", "every_call": "every call"}.get(
            value, value.replace("_", " ")
        )
    return SPLITS.get(value, value) if key == "split" else value
