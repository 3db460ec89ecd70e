"""The reimplemented routers in the simulated paper: against the best model, the true posterior, the published."""

from pathlib import Path
from typing import Any

import pytest

from bench import reproduce, simulate
from bench.reproduce import BARS, BOUNDS, REIMPLEMENTED, Run, headroom, measure, predictions
from tasks.scenarios import SCENARIOS

REPORT = Path(__file__).parent.parent / "REPRODUCTION.md"
AIMING = ("frugalgpt", "forc", "graphrouter", "knn")  # RouteLLM is blind to alpha, AutoMix pays for every verification


@pytest.fixture(scope="module")
def run() -> Run:
    pytest.importorskip("pomdp_py", reason="AutoMix is modelled with pomdp-py: pip install '.[automix]'")
    pytest.importorskip("torch_geometric", reason="GraphRouter is a graph network: pip install '.[graph]'")
    full = simulate.simulate()
    return measure(full, full, ("id",), lambda _: None)


def utility(run: Run, router: str, scenario: str) -> float:
    found = run.utility(router, scenario)
    assert found is not None
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("router", AIMING)
def test_what_aims_at_utility_is_not_below_the_best_single_model(run: Run, router: str, scenario: str) -> None:
    assert utility(run, router, scenario) >= utility(run, "best_single", scenario) - 0.015


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("router", [name for name, bound in BOUNDS.items() if bound.startswith("bayes_query")])
def test_nobody_passes_who_knows_the_posterior(run: Run, router: str, scenario: str) -> None:
    assert utility(run, router, scenario) <= utility(run, BOUNDS[router], scenario) + 0.002


@pytest.mark.parametrize(("router", "tolerance"), [("forc", 0.01), ("graphrouter", 0.02), ("knn", 0.02)])
def test_probabilities_are_close_to_the_true_posterior(run: Run, router: str, tolerance: float) -> None:
    (found,) = [line for line in predictions(run) if line["router"] == router]
    log_loss, auc = (ours - true for ours, true in zip(found["ours"], found["true"], strict=True))
    assert -0.001 <= log_loss <= tolerance
    assert -tolerance <= auc <= 0.001


def test_forc_realises_most_of_what_its_signal_offers_where_performance_comes_first(run: Run) -> None:
    assert headroom(run, "forc")[0] >= 0.6


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_cascade_comes_near_its_bound(run: Run, scenario: str) -> None:
    assert utility(run, "frugalgpt", scenario) == pytest.approx(utility(run, "bayes_cascade", scenario), abs=0.02)
    assert utility(run, "frugalgpt", scenario) > utility(run, "best_single", scenario) + 0.02


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("router", REIMPLEMENTED)
def test_close_to_the_published_row_or_above_it(run: Run, router: str, scenario: str) -> None:
    published = run.rows[router, "id", scenario].published_utility
    assert published is not None
    more = utility(run, router, scenario) - published
    if router in ("routellm", "automix"):
        assert abs(more) <= 0.06
    elif router != "graphrouter":  # whose published rows are those of the best single model, and so are ours
        assert more > 0.0


def test_the_report_holds_what_is_measured(run: Run) -> None:
    """Where a number of the report is not that of a new run, `make paper` writes it anew."""
    told = cells(REPORT.read_text(encoding="utf-8").split("\n## ")[1])
    for router in (*REIMPLEMENTED, *BARS):
        for scenario in SCENARIOS:
            # networks that were trained on another machine differ in their last digits, which a choice may turn on
            tolerance = 0.01 if router == "graphrouter" else 0.001
            assert float(told[router, scenario][3]) == pytest.approx(utility(run, router, scenario), abs=tolerance)


def cells(section: str) -> dict[tuple[str, str], list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    return {(line[0], line[1]): line for line in lines}


def test_the_report_is_written_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """On a world of a fiftieth of the size, without the router that takes long to train."""
    monkeypatch.setattr(reproduce, "REIMPLEMENTED", tuple(name for name in REIMPLEMENTED if name != "graphrouter"))
    assert reproduce.main(["--out", str(tmp_path / "report.md"), "--scale", "0.02"]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**simulated**" in text
    assert "0.02 of the published sizes" in text
    assert "Left out: routellm, automix." in text
    assert text.count("\n## ") == 4
    assert "report.md" in capsys.readouterr().out
