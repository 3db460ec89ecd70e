"""Small suites that every test can afford, and the places of data that may be absent."""

from pathlib import Path
from typing import Any

import pytest

from bench import simulate
from tasks import storage
from tasks.suite import Suite

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def simulated() -> Suite:
    """The simulated suite at a twentieth of its size: every signal, about 3,200 queries."""
    return simulate.simulate(scale=0.05)


@pytest.fixture(scope="session")
def simulated_dir(simulated: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("suites") / "small-sim"
    storage.save(simulated, directory)
    return directory


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISROUTER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def peer_data() -> Path:
    """Real outcomes recorded by others; they lie beside the project on its makers' machines only."""
    folder = ROOT.parent / "shared" / "peer_data"
    if not folder.is_dir():
        pytest.skip("the peer data is not beside this checkout")
    return folder
