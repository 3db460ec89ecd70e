"""Tables for papers: what is exported is what the page shows, in full, and names are data."""

import io
from pathlib import Path

import pandas as pd
import pytest

from leaderboard import export
from tasks.errors import InputError
from tests.pages import EVIL, a_row, save, some_results, some_rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [*some_rows(), *some_rows(split="ood"), a_row("a_b & 100%$#{}~^\\", 0.4, 0.4, 4)]
    return save(tmp_path / "run", some_results(rows=rows))


def exported(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert export.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_csv_holds_values_in_full_and_nothing_where_nothing_applies(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(io.StringIO(exported(capsys, run)))
    assert set(frame["split"]) == {"id", "ood"}
    assert set(frame["outcomes"]) == {"simulated"}
    knn = frame[(frame["router"] == "knn") & (frame["split"] == "id")].iloc[0]
    assert knn[["group", "rank", "accuracy", "cost"]].tolist() == [1, 1, 0.65, 0.1]
    assert knn[["utility_low", "utility_high", "over_low", "over_high"]].tolist() == [0.58, 0.62, 0.12, 0.18]
    assert frame[frame["router"] == "nothing_known"]["utility"].isna().all()


def test_latex_is_a_booktabs_table_with_names_as_text(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = exported(capsys, run, "--format", "latex", "--split", "id")
    assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 1
    assert r"a\_b \& 100\%\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in text
    body = text.split(r"\midrule")
    assert len(body) == 3, "reference rows stand below a rule of their own"
    assert r"\textit{oracle}" in body[2]
    assert "Simulated outcomes" in text
    assert "α" not in text


def test_markdown_shows_every_table_and_no_markup_of_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = save(tmp_path / "run", some_results(rows=[a_row(f"{EVIL}|*", 0.5, 0.5, 1)]))
    text = exported(capsys, run, "--format", "markdown", "--table", "shares")
    assert r"\<img src=x" in text
    assert r"\|\*" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| Router | small | large |"
    assert lines[1] == "| --- | ---: | ---: |"


def test_the_comparison_of_two_runs_can_be_exported(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "moved.csv"
    assert export.main([str(run), str(run), "--table", "comparison", "--out", str(out)]) == 0
    frame = pd.read_csv(out)
    assert set(frame["verdict"].dropna()) == {"the same"}
    assert frame["comparison"].str.contains("What moved").all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "xlsx"], "unknown format 'xlsx'"),
        (["--table", "shres"], "did you mean shares|shares"),
        (["--alpha", "0.9"], r"no table leaderboard has split None and alpha 0\.9; there are: id at 0\.5, ood at 0\.5"),
    ],
)
def test_what_cannot_be_exported_is_one_line(run: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        export.main([str(run), *arguments])
    assert "\n" not in str(caught.value)


def test_a_run_without_rows_has_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        export.main([str(save(tmp_path, some_results(rows=[])))])
