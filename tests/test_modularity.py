"""What a removed and an added model change, against runs made by hand."""

import pandas as pd
import pytest

from bench.evaluate import evaluate
from bench.metrics import rows
from bench.modularity import modularity
from routers.registry import built_in
from tasks.errors import InputError
from tasks.suite import Suite
from tests.toys import toy_config, toy_suite

ROUTERS = ("best_single", "forc", "routellm", "disrouter_rl", "oracle")


@pytest.fixture(scope="module")
def frame(simulated: Suite) -> pd.DataFrame:
    return modularity(simulated.subset(simulated.pool.names[:3]), [built_in()[name] for name in ROUTERS])


def utility(router: str, suite: Suite, fitted_on: Suite) -> float:
    config = toy_config(suite, bootstrap=0)
    (row,) = rows(evaluate(suite, fitted_on, [(built_in()[router], built_in()[router].build())], config), suite, config)
    return row.utility


def of(frame: pd.DataFrame, **key: object) -> pd.DataFrame:
    for name, value in key.items():
        frame = frame[frame[name] == value]
    return frame


@pytest.mark.parametrize("router", ["best_single", "forc", "disrouter_rl"])
def test_figures_are_those_of_runs_with_and_without_refit(frame: pd.DataFrame, simulated: Suite, router: str) -> None:
    full = simulated.subset(simulated.pool.names[:3])
    gone = full.pool.names[1]
    smaller = full.subset([full.pool.names[0], full.pool.names[2]])
    whole, kept, refit = (
        utility(router, suite, fitted_on) for suite, fitted_on in ((full, full), (smaller, full), (smaller, smaller))
    )
    mine = of(frame, router=router, model=gone, split="id")
    for change, again, before, after in (
        ("removed", True, whole, refit),
        ("removed", False, whole, kept),
        ("added", True, refit, whole),
    ):
        line = of(mine, change=change, refit=again).iloc[0]
        assert (line["before"], line["after"]) == pytest.approx((before, after))
        assert line["difference"] == pytest.approx(after - before)


def test_what_learns_nothing_takes_in_a_model_without_a_refit(frame: pd.DataFrame) -> None:
    added = of(frame, router="disrouter_rl", change="added")
    fitted, kept = (of(added, refit=again)["after"].tolist() for again in (True, False))
    assert len(fitted) == 6  # three models, two splits
    assert fitted == kept


def test_who_cannot_change_its_pool_is_left_out_and_says_so(frame: pd.DataFrame) -> None:
    reasons = frame[frame["left_out"].notna()].set_index("router")["left_out"].to_dict()
    stranger = "a model that it was not fitted on cannot be added without a refit"
    assert reasons == {
        "best_single": stranger,
        "forc": stranger,
        "routellm": "its pool cannot change without a refit",
    }
    assert set(of(frame, router="routellm")["refit"].dropna()) == {True}
    assert set(of(of(frame, router="forc"), change="added")["refit"]) == {True}
    assert "oracle" not in set(frame["router"])


def test_two_models_are_too_few() -> None:
    with pytest.raises(InputError, match="a pool of 2 has no smaller one"):
        modularity(toy_suite([[0, 1]]), [])
