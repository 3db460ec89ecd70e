"""What moved between two runs on the same suite: every router's utility before and after, with intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from bench.plots import label, panels
from leaderboard.columns import Column, cell, table
from leaderboard.wording import SIMULATED, Row, signed, span

Dict = dict[str, Any]
METHOD = (
    "The interval of a difference is put together from both runs' own intervals as if they were independent (MOVER, "
    "Zou and Donner 2008): too wide where both runs saw the same queries, so that what it calls moved has moved."
)


def comparisons(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Dict]:
    """Return one comparison for every two of `runs` on a suite of the same name, in the order in which they came."""
    found = []
    for (i, before), (j, after) in combinations(enumerate(runs), 2):
        if before["suite"]["name"] != after["suite"]["name"]:
            continue
        tables = [
            _table(f"compare{i + 1}-{j + 1}-{k}", *pair, before) for k, pair in enumerate(_pairs(before, after), 1)
        ]
        found.append(
            {
                "id": f"compare{i + 1}-{j + 1}",
                "title": f"What moved from run {i + 1} ({names[i]}) to run {j + 1} ({names[j]})",
                "differs": _differs(before, after),
                "method": METHOD,
                "tables": tables,
            }
        )
    return found


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[list[Row], list[Row]]]:
    """Return the rows of every alpha and split that both runs have."""
    later = {(part[0]["alpha"], part[0]["split"]): part for part in panels(after["rows"])}
    return [
        (part, later[key]) for part in panels(before["rows"]) if (key := (part[0]["alpha"], part[0]["split"])) in later
    ]


def _differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return in what the runs differ, as far as they say."""
    known = {
        "suite": [run["suite"]["sha256"][:12] for run in (before, after)],
        "pool": [", ".join(model["model"] for model in run["suite"]["pool"]) for run in (before, after)],
        "command": [run["run"]["command"] for run in (before, after)],
        "revision": [run["run"]["git_revision"] or "unknown" for run in (before, after)],
    } | {key: [run["run"]["config"][key] for run in (before, after)] for key in ("accounting", "average")}
    told = [f"{key}: {old} → {new}" for key, (old, new) in known.items() if old != new]
    return "; ".join(told) or "Both runs say the same of suite, pool, command, revision, accounting and average."


def difference(before: Row, after: Row) -> tuple[float, float | None, float | None] | None:
    """Return how far utility moved, and its interval where both rows have one; None where a utility is unknown."""
    a, b = before["utility"], after["utility"]
    if a is None or b is None:
        return None
    ends = [row[f"utility_{end}"] for row in (before, after) for end in ("low", "high")]
    if None in ends:
        return b - a, None, None
    a_low, a_high, b_low, b_high = ends
    return b - a, b - a - math.hypot(b - b_low, a_high - a), b - a + math.hypot(b_high - b, a - a_low)


def _table(identity: str, before: Sequence[Row], after: Sequence[Row], run: Mapping[str, Any]) -> Dict:
    old, new = ({row["router"]: row for row in rows} for rows in (before, after))
    pairs = [_pair(old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new])]
    pairs.sort(key=lambda row: (row["reference"], -abs((row["moved"] or (0.0,))[0]), row["router"]))
    mark = f" {SIMULATED}." if run["suite"]["kind"] == "simulated" else ""
    return table(identity, "comparison", f"{label(before[0])}.{mark}", COLUMNS, pairs)


def _pair(before: Row | None, after: Row | None) -> Row:
    """Return what a line of the comparison reads: the later row, or the only one, with both beside it."""
    moved = None if before is None or after is None else difference(before, after)
    return {**(after or before or {}), "before": before, "after": after, "moved": moved}


def _utility(which: str) -> Callable[[Row], Dict]:
    def told(pair: Row) -> Dict:
        row = pair[which]
        if row is None:
            return cell(None)
        ends = row["utility_low"], row["utility_high"]
        return cell(row["utility"], note=span(*ends), interval=ends)

    return told


def _group(which: str) -> Callable[[Row], Dict]:
    def told(pair: Row) -> Dict:
        group = None if pair[which] is None else pair[which]["rank_group"]
        return cell(group, "–" if group is None else str(group))

    return told


def _moved(pair: Row) -> Dict:
    if pair["moved"] is None:
        return cell(None)
    value, low, high = pair["moved"]
    return cell(value, signed(value), span(low, high, signed), (low, high), drawn=True)


def _delta(key: str) -> Callable[[Row], Dict]:
    def told(pair: Row) -> Dict:
        before, after = ((pair[which] or {}).get(key) for which in ("before", "after"))
        return cell(None) if before is None or after is None else cell(after - before, signed(after - before))

    return told


def _verdict_cell(pair: Row) -> Dict:
    text = _verdict(pair)
    return cell(None if text == "–" else text, text)


COLUMNS = (
    Column("router", "Router", lambda pair: cell(pair["router"]), descending=False, kind="name"),
    Column("before", "Utility before", _utility("before")),
    Column("after", "Utility after", _utility("after")),
    Column("moved", "Moved by", _moved, "after − before, with its interval", kind="number wide"),
    Column("verdict", "Verdict", _verdict_cell, "whether the interval leaves out zero", kind="text"),
    Column("group_before", "Group before", _group("before"), descending=False),
    Column("group_after", "Group after", _group("after"), descending=False),
    Column("accuracy", "Accuracy", _delta("accuracy"), "after − before"),
    Column("cost", "Cost", _delta("cost"), "after − before", descending=False),
)


def _verdict(pair: Row) -> str:
    """Return in words what happened to a router."""
    if pair["before"] is None or pair["after"] is None:
        return "came" if pair["before"] is None else "left"
    if pair["moved"] is None:
        return "–"
    value, low, high = pair["moved"]
    if abs(value) < 1e-9:
        return "the same"
    if low is None or high is None:
        return "not tested"
    return "moved" if low > 0 or high < 0 else "within chance"
