"""Find a suite by name or directory; suites that are generated are made on first use and kept in the user's cache."""

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import platformdirs

from bench import simulate, world
from bench.sources import PICKLE_NAMES
from tasks import scenarios, storage, tables, types
from tasks.errors import InputError, one_of
from tasks.suite import Suite

DEFAULT = "pocket"


def names() -> list[str]:
    """Return the suites that can be opened by name: those that ship, then those that are generated."""
    return [*sorted(path.parent.name for path in storage.SHIPPED.glob("*/suite.json")), simulate.NAME]


def open_suite(name: str) -> Suite:
    """Load the suite called `name`, or the one in the directory `name`; raises `InputError` where there is none."""
    path = Path(name)
    if len(path.name) > 255:
        raise InputError("a suite is a name or a directory, but no name is as long as the one given")
    if name not in names() and path.is_file():
        reason = (
            "a pickle runs whatever code is in it when it is loaded, so none is ever read"
            if path.suffix in PICKLE_NAMES
            else "a suite is a directory"
        )
        raise InputError(
            f"{name} is a file, but {reason}; turn its outcomes into CSV or Parquet in an environment that you "
            "trust, then: python -m bench.ingest long FILE --out DIR"
        )
    if name not in names() and (path.is_dir() or os.sep in name):
        return storage.load(path)
    one_of("suite", name, names())
    return storage.load(generated() if name == simulate.NAME else storage.located(name))


def generated() -> Path:
    """Return the directory of the simulated suite, made on first use.

    Its name holds a hash of the generator, the published tables and the numerical libraries: another generator never
    finds a stale suite.
    """
    digest = hashlib.sha256(" ".join(f"{p}={version(p)}" for p in ("numpy", "scipy", "pyarrow")).encode())
    modules = [Path(str(module.__file__)) for module in (world, simulate, storage, tables, types, scenarios)]
    for source in [*modules, *sorted((modules[0].parent / "published").glob("*.csv"))]:
        digest.update(source.read_bytes())
    directory = cache() / f"{simulate.NAME}-{digest.hexdigest()[:12]}"
    if not (directory / "suite.json").exists():
        try:
            storage.save(simulate.simulate(), directory)
        except InputError as error:
            raise InputError(f"the generated suite cannot be kept: {error}, by setting $DISROUTER_CACHE") from None
    return directory


def cache() -> Path:
    """Return where generated suites are kept: `$DISROUTER_CACHE`, else the user's cache directory."""
    return Path(os.environ.get("DISROUTER_CACHE") or platformdirs.user_cache_dir("disrouter-bench")) / "suites"
