"""`python -m leaderboard.export RUN…`: any table of the page as CSV, LaTeX (booktabs) or Markdown."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboard.schema import read
from leaderboard.view import view
from tasks import cli
from tasks.errors import InputError, one_of
from tasks.files import write_whole

Dict = dict[str, Any]
FORMATS = ("csv", "latex", "markdown")
DEFAULT = "leaderboard"
_TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "α": r"$\alpha$",
    "·": r"$\cdot$",
    "µ": r"\textmu{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "≥": r"$\geq$",
    "→": r"$\to$",
}


def tables(shown: Mapping[str, Any]) -> list[Dict]:
    """Return every table of a view with `place`: what tells it from the others of its name."""
    found: list[Dict] = []
    for run in shown["runs"]:
        for panel in run["panels"]:
            place = {"run": run["run"]["id"], "suite": run["suite"]["name"], "outcomes": run["suite"]["kind"]}
            place |= {name: panel["facets"][name] for name in ("split", "scenario")} | {"alpha": panel["alpha"]}
            mine = [panel["table"], *(detail["table"] for detail in panel["details"])]
            found += [{**table, "place": place} for table in mine]
    for one in shown["comparisons"]:
        found += [
            {**table, "place": {"comparison": one["title"], "panel": table["caption"]}} for table in one["tables"]
        ]
    return found


def to_csv(chosen: Sequence[Dict]) -> str:
    """Return tables one below the other, values in full and empty where they do not apply, with where they belong.

    Beside a value stand the ends of its interval and what is written small below it, where there is any.
    """
    records: list[dict[tuple[str, str], Any]] = []
    for table in chosen:
        for row in table["rows"]:
            record = {("place", key): value for key, value in table["place"].items()}
            for column, cell in zip(table["columns"], row["cells"], strict=True):
                low, high = cell["interval"] or (None, None)
                parts = {"": cell["value"], "_low": low, "_high": high, "_note": cell["note"] or None}
                record |= {(column["key"], end): value for end, value in parts.items()}
            records.append(record)
    columns = [key for key in dict.fromkeys(key for record in records for key in record) if _told(records, key)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([key[1] if key[0] == "place" else "".join(key) for key in columns])
    writer.writerows([record.get(key) for key in columns] for record in records)
    return out.getvalue()


def _told(records: Sequence[Mapping[tuple[str, str], Any]], key: tuple[str, str]) -> bool:
    """Return whether a column is to be written: always that of a value, else where there is anything in it."""
    return key[0] == "place" or not key[1] or any(record.get(key) is not None for record in records)


def to_markdown(chosen: Sequence[Dict]) -> str:
    """Return each table under its caption."""
    return "\n\n".join(_markdown(table) for table in chosen) + "\n"


def _markdown(table: Dict) -> str:
    lines = [[_pipe(column["label"]) for column in table["columns"]]]
    lines.append(["---" if column["kind"] == "name" else "---:" for column in table["columns"]])
    for row in table["rows"]:
        cells = [_pipe(text) for text in _texts(row)]
        lines.append([f"*{cell}*" if row["reference"] else cell for cell in cells])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_pipe(_caption(table))}\n\n{body}"


def _pipe(text: str) -> str:
    """Return text that Markdown takes as it is."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", " ".join(text.split()))


def to_latex(chosen: Sequence[Dict]) -> str:
    """Return each table as a `table` with booktabs' rules; reference rows stand in italics below a rule."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(_latex(table) for table in chosen)


def _latex(table: Dict) -> str:
    align = "".join("l" if column["kind"] == "name" else "r" for column in table["columns"])
    lines = [" & ".join(_tex(column["label"]) for column in table["columns"]) + r" \\", r"\midrule"]
    before = False
    for row in table["rows"]:
        if row["reference"] and not before and len(lines) > 2:
            lines.append(r"\midrule")
        before = row["reference"]
        cells = [_tex(text) for text in _texts(row)]
        lines.append(" & ".join(rf"\textit{{{cell}}}" if before else cell for cell in cells) + r" \\")
    rows = "\n".join(lines)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{_tex(_caption(table))}}}\n\\begin{{tabular}}{{{align}}}\n"
        f"\\toprule\n{rows}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in " ".join(text.split()))


def _texts(row: Dict) -> Iterable[str]:
    for cell in row["cells"]:
        yield f"{cell['text']} ({cell['note']})" if cell["note"] else cell["text"]


def _caption(table: Dict) -> str:
    place = table["place"]
    return f"{place['suite']}: {table['caption']}" if "suite" in place else f"{place['comparison']}: {table['caption']}"


WRITERS = {"csv": to_csv, "latex": to_latex, "markdown": to_markdown}


def main(argv: Sequence[str] | None = None) -> int:
    """Write tables of runs to a file or to the terminal."""
    parser = cli.Parser("leaderboard.export", "Export any table of the page of one run or several.")
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="directory that bench.run wrote")
    add("--format", default="csv", metavar="|".join(FORMATS), help="default csv: values in full")
    add("--table", default=DEFAULT, metavar="NAME", help="leaderboard (default), utility_by_task, shares and others")
    add("--split", default=None, metavar="id|ood", help="this split alone (default: all of the run)")
    add("--alpha", default=None, type=float, metavar="A", help="this alpha alone (default: all of the run)")
    add("--out", default=None, type=Path, metavar="FILE", help="default: the terminal")
    args = parser.parse_args(argv)
    one_of("format", args.format, FORMATS)
    text = WRITERS[args.format](_chosen(args.runs, args.table, args.split, args.alpha))
    if args.out is None:
        cli.console().file.write(text)
    else:
        write_whole(args.out, text)
        cli.console().print(f"table: {args.out}", soft_wrap=True)
    return 0


def _chosen(runs: Sequence[Path], name: str, split: str | None, alpha: float | None) -> list[Dict]:
    """Return the tables that were asked for; raises `InputError` where there is none."""
    found = tables(view([read(run) for run in runs], [{} for _ in runs]))
    if not found:
        raise InputError("the runs hold no rows, so that there is no table to export")
    one_of("table", name, list(dict.fromkeys(table["name"] for table in found)))
    named = [table for table in found if table["name"] == name]
    chosen = [
        table
        for table in named
        if split in (None, table["place"].get("split")) and alpha in (None, table["place"].get("alpha"))
    ]
    if not chosen:
        there = sorted({f"{table['place'].get('split')} at {table['place'].get('alpha')}" for table in named})
        raise InputError(f"no table {name} has split {split} and alpha {alpha}; there are: {', '.join(there)}")
    return chosen


if __name__ == "__main__":
    cli.run(main)
