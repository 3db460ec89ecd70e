"""`python -m leaderboard.build RUN…`: results of runs → one self-contained page that opens without a network."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, ValidationError

from leaderboard.view import view
from tasks import cli
from tasks.errors import InputError
from tasks.files import write_whole

SCHEMA = 1


class _Record(BaseModel):
    """What the page reads of `leaderboard.json`: every key stands there, and null where it does not apply."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class _Scores(_Record):
    accuracy: float | None
    cost: float | None
    utility: float | None


class _Versus(_Record):
    difference: float
    low: float | None
    high: float | None
    p_holm: float


class _Row(_Scores):
    router: str
    reference: bool
    scenario: str | None
    alpha: float
    alpha_used: float | None
    split: str
    n_queries: int
    n_seeds: int
    utility_low: float | None
    utility_high: float | None
    rank: int | None
    rank_every_call: int | None
    rank_group: int | str | None
    rank_group_every_call: int | None
    versus_best_single: _Versus | None
    versus_best: _Versus | None
    utility_seed_sd: float | None
    utility_every_call_low: float | None
    utility_every_call_high: float | None
    metrics: dict[str, float | None]
    percent_of_oracle: float | None
    utility_every_call: float | None
    easy_cost: float | None
    hard_cost: float | None
    unsolvable_cost: float | None
    solved_by_all_cost: float | None
    share: dict[str, float] | None
    per_task: dict[str, _Scores] | None
    published_utility: float | None


class _Live(_Record):
    engine: str
    dtype: str


class _Config(_Record):
    accounting: Literal["paper", "final", "every_call", "every_call_and_verify"]
    average: Literal["macro", "micro"]
    live: _Live | None = None


class _Run(_Record):
    id: str
    command: str
    created: str
    git_revision: str | None
    versions: dict[str, str]
    config: _Config


class _Model(_Record):
    model: str
    cost: float


class _Task(_Record):
    name: str
    domain: str


class _Suite(_Record):
    name: str
    kind: Literal["recorded", "imported", "simulated"]
    sha256: str
    description: str
    n_queries: dict[str, int]
    pool: list[_Model]
    cost_rule: str
    assumptions: list[str]
    tasks: list[_Task]


class _Skipped(_Record):
    router: str
    reason: str


class _Split(_Record):
    lacking: str | None


class _Statistics(_Record):
    level: float
    resamples: int
    interval: str
    test: str
    correction: str
    rank_group: str
    splits: dict[Literal["id", "ood"], _Split]


class _Results(_Record):
    run: _Run
    suite: _Suite
    skipped: list[_Skipped]
    statistics: _Statistics | None
    rows: list[_Row]


def build(runs: Sequence[Path], targets: Sequence[Path]) -> None:
    """Write one page on the run directories `runs` to every file of `targets`.

    Raises `InputError` where a run has no `leaderboard.json` that this release reads, or a target cannot be written.
    """
    page = render(view([read(run) for run in runs], [read_figures(run) for run in runs]))
    for target in targets:
        write_whole(target, page)


def read(run: Path) -> dict[str, Any]:
    """Return what the page reads of a run directory's `leaderboard.json`; raises `InputError` where that cannot be."""
    path = run / "leaderboard.json"
    if not path.is_file():
        raise InputError(f"{run} is not a run: it holds no leaderboard.json (bench.run writes one)")
    try:
        content = json.loads(path.read_bytes())
        if isinstance(content, dict) and content.get("schema") != SCHEMA:
            raise InputError(f"{path}: schema {content.get('schema')} is unknown; this release reads schema {SCHEMA}")
        return _Results.model_validate(content).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def read_figures(run: Path) -> dict[str, str]:
    """Return the SVG figures of a run directory as data URIs, by file name without suffix."""
    return {
        path.stem: f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
        for path in sorted((run / "figures").glob("*.svg"))
    }


def render(content: Mapping[str, Any]) -> str:
    """Return the HTML page of a view: its style and script are inlined, and its policy allows these two alone."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (
        (Path(__file__).parent / "templates" / f"page.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template("page.html")
    return template.render(content, policy=policy, style=Markup(style), script=Markup(script))  # noqa: S704  # our files


def _source(text: str) -> str:
    """Return the expression that lets a content security policy accept an inlined `text`, and nothing else."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def checkout_page() -> Path | None:
    """Return where a checkout keeps its page; None where the package is installed."""
    root = Path(__file__).parent.parent
    return root / "leaderboard" / "index.html" if (root / "pyproject.toml").is_file() else None


def main(argv: Sequence[str] | None = None) -> int:
    """Build the page and say where it is."""
    parser = cli.Parser("leaderboard.build", "Build the page of one run or several: one file, no network needed.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="directory that bench.run wrote")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: leaderboard/index.html of the checkout, else RUN/index.html"
    )
    arguments = parser.parse_args(argv)
    out = arguments.out or checkout_page() or arguments.runs[0] / "index.html"
    build(arguments.runs, [out])
    cli.console().print(f"page: {out}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    cli.run(main)
