"""What a run says on the terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import significance
from bench.config import RunConfig
from bench.frontier import single_models, winners_by_alpha
from bench.metrics import Row
from bench.statistics import LEVEL
from tasks.suite import Suite

INTERVAL = f"{100 * LEVEL:g} % interval"
COLUMNS = (
    "utility",
    INTERVAL,
    "over best single",
    "accuracy",
    "cost",
    "every call",
    "its rank",
    "% of oracle",
    "easy cost",
    "hard cost",
)


def leaderboard(
    out: Console, suite: Suite, config: RunConfig, found: Sequence[Row], skipped: Sequence[dict[str, str]]
) -> None:
    """Print a table for every scenario and split, or for every split of a sweep over alpha; and who was left out."""
    kind = suite.manifest.kind
    charged = (
        "cost as each router's authors charge it" if config.accounting == "paper" else f"cost: {config.accounting}"
    )
    asked = f", live by {config.live.engine}; reference rows as recorded" if config.live else ""
    for chosen in [None] if config.sweep else config.scenarios:
        for split in config.splits:
            title = Text(suite.manifest.name)
            title.append(f" ({kind} outcomes{asked})", "bold red" if kind == "simulated" else "")
            mine = [row for row in found if row.split == split]
            if chosen is None:
                title.append(f" · who wins at which α · {split} · {charged}")
                _winners(out, title, mine)
            else:
                title.append(f" · {chosen.name or 'alpha'} α = {chosen.alpha:g} · {split} · {charged}")
                _table(out, title, [row for row in mine if row.alpha == chosen.alpha])
    for split, told in (significance.about(suite, config) or {"splits": {}})["splits"].items():
        if told["lacking"] is not None:
            out.print(f"{split}: {told['lacking']}", soft_wrap=True)
    for one in skipped:
        out.print(f"left out: {one['router']}: {one['reason']}", soft_wrap=True)


def _table(out: Console, title: Text, found: Sequence[Row]) -> None:
    table = Table(title=title, title_justify="left")
    for name in ("rank", "group"):
        table.add_column(name, justify="right")
    table.add_column("router", no_wrap=True)
    published = any(row.published_utility is not None for row in found)
    for name in (*COLUMNS, *(["published"] if published else [])):
        table.add_column(name, justify="right", no_wrap=name == INTERVAL)
    for row in found:
        tail = [row.easy_cost, row.hard_cost, *([row.published_utility] if published else [])]
        table.add_row(
            _whole(row.rank),
            _whole(row.rank_group),
            row.router,
            _figure(row.utility),
            _interval(row.utility_low, row.utility_high),
            _difference(row.versus_best_single),
            *(_figure(v) for v in (row.accuracy, row.cost, row.utility_every_call)),
            _whole(row.rank_every_call),
            _figure(row.percent_of_oracle, 1),
            *(_figure(v) for v in tail),
            style="dim" if row.reference else None,
        )
    out.print(table)


def _winners(out: Console, title: Text, found: Sequence[Row]) -> None:
    """Print who leads from which alpha on, and where the best single model changes."""
    rows = [asdict(row) for row in found]
    winners, changes = winners_by_alpha([row for row in rows if not row["reference"]])
    table = Table("router", "wins from α", "to α", "changes at α", title=title, title_justify="left")
    for winner, change in zip(winners, [*changes, None], strict=True):
        span = (f"{winner[name]:g}" for name in ("alpha_from", "alpha_to"))
        table.add_row(winner["router"], *span, "" if change is None else f"{change['alpha']:.3f}")
    for model in reversed(single_models(rows)):
        span = (_figure(model[name]) for name in ("alpha_from", "alpha_to"))
        table.add_row(f"best single model: {model['model']}", *span, style="dim")
    out.print(table)


def comparison(out: Console, compared: dict[str, Any], path: Path) -> None:
    """Say how often the live decisions are the replayed ones; every query on which they differ stands in the file."""
    table = Table("router", "scenario", "split", "live = replayed", "%", title="live and replayed decisions")
    for one in compared["agreement"]:
        share = f"{100.0 * one['same'] / one['n']:.1f}"
        table.add_row(one["router"], one["scenario"] or "–", one["split"], f"{one['same']} of {one['n']}", share)
    out.print(table)
    out.print(f"{len(compared['differences'])} decisions differ, listed in {path}", soft_wrap=True)


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.3f}, {high:.3f}"


def _difference(versus: dict[str, Any] | None) -> str:
    """Return the difference, with a star where it is significant."""
    return "" if versus is None else f"{versus['difference']:+.3f}{'*' if versus['p_holm'] < 1.0 - LEVEL else ' '}"
