"""`python -m leaderboard.build RUN…`: results of runs → one self-contained page that opens without a network."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.plots import COST_ACCURACY
from leaderboard.schema import read, read_figures
from leaderboard.view import view
from tasks import cli
from tasks.errors import InputError
from tasks.files import write_whole

MOST_BYTES = 8_000_000
TEMPLATES = Path(__file__).parent / "templates"
# In the order in which they need each other.
SCRIPTS = ("numbers.js", "details.js", "plots.js", "page.js")


def build(runs: Sequence[Path], targets: Sequence[Path]) -> None:
    """Write one page on the run directories `runs` to every file of `targets`.

    Where it would become too large, what is needed least is left out, and the page says so: static figures, which its
    script draws anew, then the tables by task and model, which a row's details hold. Only a sweep of very many alphas
    is larger all the same. Raises `InputError` where a run has no `leaderboard.json` that this release reads, or a
    target cannot be written.
    """
    content, figures = [read(run) for run in runs], [read_figures(run) for run in runs]
    for kept, behind in (("", True), (COST_ACCURACY, True), (None, True), (None, False)):
        chosen = [_starting(images, kept) for images in figures]
        page = render(view(content, chosen, whole=kept == "", behind=behind))
        if len(page.encode()) < MOST_BYTES:
            break
    for target in targets:
        write_whole(target, page)


def _starting(images: Mapping[str, str], kept: str | None) -> dict[str, str]:
    """Return the images whose name starts with `kept`; none for None."""
    return {} if kept is None else {name: data for name, data in images.items() if name.startswith(kept)}


def render(content: Mapping[str, Any]) -> str:
    """Return the HTML page of a view: styles and scripts are inlined, and its policy allows these alone."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # in the order of the view
    style = (TEMPLATES / "page.css").read_text("utf-8")
    scripts = [plotly(), "\n".join((TEMPLATES / name).read_text("utf-8") for name in SCRIPTS)]
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; "
        f"script-src {' '.join(map(_source, scripts))}; base-uri 'none'; form-action 'none'"
    )
    inlined = {"style": Markup(style), "scripts": [Markup(script) for script in scripts]}  # noqa: S704  # trusted files
    # Sheets that the library would add, for maps; it does not where something of that name is there.
    unwanted = re.findall(r'getElementById\("([0-9a-f]{64})"\)', scripts[0])
    return environment.get_template("page.html").render(content, policy=policy, unwanted=unwanted, **inlined)


def plotly() -> str:
    """Return the plotting library's script as the installed package carries it; `InputError` where there is none."""
    spec = find_spec("plotly")  # which finds the package without importing it
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / "package_data" / "plotly.min.js" if folders else None
    if path is None or not path.is_file():
        raise InputError("the page's plots need the package plotly: pip install plotly")
    script = path.read_text("utf-8")
    # The script would end where the page's parser sees its end tag, even inside a string.
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE)


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
