"""`python -m bench.run` works with any Python once `make setup` was run: it goes on in the checkout's environment."""

import importlib.util
import os
import sys
from pathlib import Path

_CORE = ("numpy", "pandas", "pyarrow", "pydantic", "sklearn")


def enter() -> None:
    """Restart a `python -m …` command under `.venv` where this interpreter lacks our packages.

    Does nothing on an ordinary import, and nothing where the packages are there. Exits with status 2 and one line
    where neither this interpreter nor `.venv` has them.
    """
    if sys.argv[:1] != ["-m"]:  # so it reads while the package of a -m command is imported, and only then
        return
    missing = [name for name in _CORE if importlib.util.find_spec(name) is None]
    if not missing:
        return
    home = Path(__file__).resolve().parent.parent / ".venv"
    python = home / "bin" / "python"
    if python.exists() and Path(sys.prefix).resolve() != home:
        os.execv(python, [str(python), *sys.orig_argv[1:]])  # noqa: S606  (our own interpreter, the user's own arguments)
    sys.stderr.write(f"error: {sys.executable} has no {', '.join(missing)}; run: make setup\n")
    sys.exit(2)
