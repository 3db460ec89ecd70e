"""`python -m bench.run` works with any Python once `make setup` was run: it goes on in the checkout's environment."""

import importlib.util
import os
import sys
from pathlib import Path

_OLDEST = (3, 11)
_CORE = (
    "jinja2", "joblib", "matplotlib", "numpy", "pandas", "platformdirs", "pyarrow", "pydantic", "yaml", "rich",
    "sklearn", "scipy", "seaborn",
)  # fmt: skip


def enter() -> None:
    """Restart a `python -m …` command under `.venv` where this interpreter lacks our packages.

    Does nothing on an ordinary import, and nothing where the packages are there. Exits with status 2 and one line
    where neither this interpreter nor `.venv` has them.
    """
    if sys.argv[:1] != ["-m"]:  # so it reads while the package of a -m command is imported, and only then
        return
    missing = [name for name in _CORE if importlib.util.find_spec(name) is None]
    if not missing and sys.version_info >= _OLDEST:
        return
    home = Path(__file__).resolve().parent.parent / ".venv"
    python = home / "bin" / "python"
    given = getattr(sys, "orig_argv", None)  # the module's name stands nowhere else yet; Python 3.9 has it nowhere
    if given and python.exists() and Path(sys.prefix).resolve() != home:
        os.execv(python, [str(python), *given[1:]])  # noqa: S606  (our own interpreter, the user's own arguments)
    found = f"has no {', '.join(missing)}" if missing else "is older than Python 3.11"
    hint = f"use {python}" if python.exists() and Path(sys.prefix).resolve() != home else "run: make setup"
    sys.stderr.write(f"error: {sys.executable} {found}; {hint}\n")
    sys.exit(2)
