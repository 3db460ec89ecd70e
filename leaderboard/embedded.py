"""The numbers that the page's script reads: what the slider re-ranks by, a row's details, and the plots' points."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench import spread
from bench.frontier import pareto_optimal
from bench.plots import row_kind
from leaderboard import papers
from leaderboard.sentences import over_best_single, spending
from leaderboard.wording import Row, suite_label

Dict = dict[str, Any]
_STRATA = ("solved_by_all", "easy", "hard", "unsolvable")


def panel(rows: Sequence[Row], facets: Mapping[str, str], headline: str, notes: Sequence[str]) -> Dict:
    """Return the numbers of one panel: which it is, what it says, and its rows by router."""
    optimal, first = pareto_optimal(rows), rows[0]
    return {
        **facets,
        "alpha": first["alpha"],
        "headline": headline,
        "notes": " ".join(notes),
        "rows": {row["router"]: _row(row, optimal) for row in rows},
    }


def _row(row: Row, optimal: set[str]) -> Dict:
    """Return a row's numbers; `cost` by accounting, `own` being that of the run, and intervals where there are any."""
    return {
        "reference": row["reference"],
        "kind": row_kind(row, optimal),
        "accuracy": row["accuracy"],
        "cost": {"own": row["cost"], "final": row["cost_final"], "every_call": row["cost_every_call"]},
        "interval": {
            "own": [row["utility_low"], row["utility_high"]],
            "every_call": [row["utility_every_call_low"], row["utility_every_call_high"]],
        },
        "group": {"own": row["rank_group"], "every_call": row["rank_group_every_call"]},
        "accounting": row["accounting"],
        "versus": over_best_single(row),
        "spending": spending(row),
        "usd": row["cost_usd"],
        "strata": [_short(row[f"{name}_cost"]) for name in _STRATA],
        "share": {name: _short(value) for name, value in (row["share"] or {}).items()},
        "tasks": {
            name: [_short(scores[key]) for key in ("accuracy", "cost", "utility")]
            for name, scores in (row["per_task"] or {}).items()
        },
    }


def _short(value: float | None) -> float | None:
    """Return a value that is only shown, in as many digits as a page has room for."""
    return None if value is None else round(value, 5)


def run(content: Mapping[str, Any]) -> Dict:
    """Return what is the same for all panels of a run: its routers, where the winner changes, how agents answer."""
    names = dict.fromkeys(row["router"] for row in content["rows"])
    return {
        "suite": suite_label(content["suite"]),
        "simulated": content["suite"]["kind"] == "simulated",
        "command": content["run"]["command"],
        "routers": {name: papers.about(name, content["settings"]) for name in names},
        "changes": {
            frontier["split"]: [[one["before"], one["to"], one["alpha"]] for one in frontier["changes"]]
            for frontier in content["frontiers"]
        },
        "alphas": _beside(content),
        "spread": _spread(content),
        "answer_rate": [
            {key: line[key] for key in ("checkpoint", "split", "scenario", "model", "answer_rate")}
            for line in content["answer_rate"]
        ],
    }


def _beside(content: Mapping[str, Any]) -> Dict:
    """Return, by split and router, [alpha, accuracy, cost by accounting] at alphas of which there are no rows."""
    known = {row["alpha"] for row in content["rows"]}
    found: Dict = {}
    for line in content["alphas"]:
        if line["alpha"] not in known:
            cost = {"own": line["cost"], "final": line["cost_final"], "every_call": line["cost_every_call"]}
            point = [line["alpha"], line["accuracy"], cost]
            found.setdefault(line["split"], {}).setdefault(line["router"], []).append(point)
    return found


def _spread(content: Mapping[str, Any]) -> Dict:
    """Return, by split, for each alpha how sure utilities are, as `bench.spread` has it.

    `decided` by router; the five moments `own` by router, and of differences in `pairs` as [router, other, moments].
    """
    found: Dict = {}
    for line in content["spread"]:
        at = found.setdefault(line["split"], {}).setdefault(line["alpha"], {"decided": {}, "own": {}, "pairs": []})
        moments = [float(f"{line[name]:.9g}") for name in spread.COLUMNS]  # they cancel: fewer digits would not do
        if isinstance(line["other"], str):
            at["pairs"].append([line["router"], line["other"], moments])
        else:
            at["decided"][line["router"]], at["own"][line["router"]] = line["decided"], moments
    return {split: [{"alpha": alpha, **told} for alpha, told in sorted(by.items())] for split, by in found.items()}
