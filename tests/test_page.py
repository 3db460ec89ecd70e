"""The page: one snapshot of its view, and what must hold whatever is in the results."""

import base64
import hashlib
import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from leaderboard import build as page
from leaderboard.compare import difference
from leaderboard.schema import read
from leaderboard.sentences import headline
from leaderboard.view import view
from leaderboard.wording import decimal, signed
from tasks.errors import InputError
from tests.pages import EVIL, a_row, as_read, built, save, some_results, some_rows

SNAPSHOT = Path(__file__).parent / "snapshots" / "view.json"


class Outline(HTMLParser):
    """What a browser would make of a page: tags with attributes, and the text of every element of one name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


# --- the view ---------------------------------------------------------------------------------------------------------


def test_view_is_the_snapshot(tmp_path: Path) -> None:
    """To accept a change, delete the snapshot, run once (which fails), and read the difference."""
    figures = {"cost_accuracy_balance_id": "data:image/svg+xml;base64,QQ=="}
    shown = json.dumps(view([as_read(some_results(), tmp_path)], [figures]), indent=1, ensure_ascii=False) + "\n"
    if not SNAPSHOT.exists():
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(shown)
        pytest.fail(f"{SNAPSHOT.name} was missing and is now written: read it")
    assert shown == SNAPSHOT.read_text()


def test_panels_come_by_alpha_and_domain(tmp_path: Path) -> None:
    rows = [row for alpha in (0.8, 0.2) for split in ("ood", "id") for row in some_rows(alpha=alpha, split=split)]
    shown = view([as_read(some_results(rows=rows), tmp_path)], [{}])
    identities = [(panel["facets"]["scenario"], panel["facets"]["split"]) for panel in shown["runs"][0]["panels"]]
    assert identities == [(f"balance, α = {alpha}", split) for alpha in (".2", ".8") for split in ("id", "ood")]
    assert {switch["key"]: [option["value"] for option in switch["options"]] for switch in shown["switches"]} == {
        "accounting": ["paper", "final", "every_call"],
        "split": ["id", "ood"],
        "scenario": ["balance, α = .2", "balance, α = .8"],
    }


UNTESTED = "; whether that is more than chance was not tested."


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [("knn", 0.6, 1), ("best_single", 0.55, 2)],
            f"knn has the highest utility HERE: utility .600, +.050 over the best single model{UNTESTED}",
        ),
        (
            [("best_single", 0.55, 1), ("knn", 0.5, 2)],
            f"best_single has the highest utility HERE: utility .550, and no router beats it{UNTESTED}",
        ),
        (
            [("knn", 0.6, 1), ("forc", 0.6, 1), ("mlp", 0.6, 1), ("best_single", 0.55, 4)],
            "forc, knn and mlp share the highest utility HERE: utility .600, +.050 over the best single model"
            + UNTESTED,
        ),
        ([("knn", 0.6, 1)], f"knn has the highest utility HERE: utility .600{UNTESTED}"),
        ([("oracle", 0.9, None)], "No router is ranked here."),
    ],
)
def test_headline_where_nothing_was_tested(rows: list[tuple[str, float, int | None]], sentence: str) -> None:
    told = headline([a_row(name, utility, 0.0, rank) for name, utility, rank in rows], "pocket")
    assert told == sentence.replace("HERE", "on pocket, in-domain at α = .5")


def versus(difference: float, p_holm: float, router: str = "best_single") -> dict[str, Any]:
    ends = {"low": difference - 0.02, "high": difference + 0.02}
    return {"router": router, "difference": difference, **ends, "p": p_holm, "p_holm": p_holm}


def compared(p_best_single: float, group_of_second: int, p_second: float) -> list[dict[str, Any]]:
    ends = {"utility_low": 0.58, "utility_high": 0.62}
    last = {"versus_best": versus(-0.05, p_best_single, "knn")}
    return [
        a_row("knn", 0.6, 0.0, 1, rank_group=1, versus_best_single=versus(0.05, p_best_single), **ends),
        a_row("forc", 0.59, 0.0, 2, rank_group=group_of_second, versus_best=versus(-0.01, p_second, "knn")),
        a_row("best_single", 0.55, 0.0, 3, rank_group=3, **last),
    ]


def test_headline_says_a_tie_as_a_tie() -> None:
    assert headline(compared(0.001, 1, 0.4), "pocket") == (
        "A tie on pocket, in-domain at α = .5: nobody is significantly better than knn and forc. knn is highest: "
        "utility .600 (95 % interval .580 to .620), significantly more than the best single model (+.050, interval "
        "+.030 to +.070)."
    )


def test_headline_says_how_far_the_best_is_alone() -> None:
    assert headline(compared(0.001, 2, 0.01), "pocket").startswith(
        "knn is best on pocket, in-domain at α = .5, significantly better than every other router: utility .600"
    )
    assert headline(compared(0.2, 2, 0.4), "pocket") == (
        "knn is best on pocket, in-domain at α = .5, alone in the first rank group: utility .600 (95 % interval "
        ".580 to .620), not significantly more than the best single model (+.050, interval +.030 to +.070)."
    )


def test_where_the_money_goes_and_who_leads_when_every_call_is_paid_is_said(tmp_path: Path) -> None:
    rows = [a_row("knn", 0.6, 0.1, 1, rank_group=1), a_row("forc", 0.59, 0.1, 2, rank_group=1, rank_every_call=1)]
    rows[0] |= {"rank_every_call": 2, "cost_every_call": 0.3}
    told = view([as_read(some_results(rows=rows), tmp_path)], [{}])["runs"][0]["panels"][0]["notes"]
    assert told == [
        "Where knn's money goes: answers 75 % by small and 25 % by large; mean cost .100 on easy queries and .150 "
        "on hard queries; calls that do not answer would add .200 to its cost of answering, .100.",
        "There are no intervals here, so small differences may be chance.",
        "When every call is paid, forc leads.",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5432, ".543"), (1.0, "1.000"), (-0.0123, "−.012"), (-0.0001, ".000"), (0.0, ".000"), (None, "–")],
)
def test_decimal(value: float | None, text: str) -> None:
    assert decimal(value) == text
    assert signed(value) == (text if text[0] in "−–" else f"+{text}")


def test_what_does_not_apply_is_a_dash_and_never_zero(tmp_path: Path) -> None:
    table = view([as_read(some_results(), tmp_path)], [{}])["runs"][0]["panels"][0]["table"]
    cells = next(row["cells"] for row in table["rows"] if row["router"] == "nothing_known")
    told = {
        column["label"]: (cell["text"], cell["value"]) for column, cell in zip(table["columns"], cells, strict=True)
    }
    assert told.pop("Rank group") == ("ref.", None)
    assert told.pop("Router") == ("nothing_known", "nothing_known")
    assert set(told.values()) == {("–", None)}


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_policy_allows_what_is_inlined_and_nothing_else(tmp_path: Path) -> None:
    html = built(tmp_path, some_results())
    outline = Outline(html)
    policy = next(a["content"] for tag, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag, count in (("style", 1), ("script", 2)):
        inlined = re.findall(rf"<{tag}(?: id=\"plotly.js-style-global\")?>(.*?)</{tag}>", html, re.DOTALL)
        assert len(inlined) == count
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inlined]
        assert " ".join([f"{tag}-src", *(f"'sha256-{digest}'" for digest in digests)]) + ";" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not any(name.startswith("on") or name == "style" for _, a in outline.tags for name in a)


def test_nothing_is_asked_of_any_server(tmp_path: Path) -> None:
    html = built(tmp_path, some_results(), figures=True)
    for tag, attributes in Outline(html).tags:
        for name in ("src", "href"):
            assert tag == "a" or (attributes.get(name) or "data:").startswith("data:")
    style = re.findall(r"<style.*?</style>", html, re.DOTALL)
    assert "url(" not in style[0]
    assert "@import" not in style[0]


def test_the_page_stays_below_eight_megabytes(tmp_path: Path) -> None:
    noise = base64.b64encode(bytes(2_000_000)).decode()
    run = save(tmp_path / "run", some_results())
    (run / "figures").mkdir()
    for kind in ("cost_accuracy", "easy_hard_cost"):
        (run / "figures" / f"{kind}_balance_id.svg").write_text(f"<svg>{noise}</svg>")
    page.build([run], [tmp_path / "index.html"])
    html = (tmp_path / "index.html").read_text()
    assert len(html.encode()) < 8_000_000
    assert "Left out, as the page would become larger than 8 MB: static figures." in html


def test_a_missing_plotting_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install plotly"):
        page.plotly()


def test_names_are_data(tmp_path: Path) -> None:
    scores = {"accuracy": 0.5, "cost": 0.5, "utility": 0.25}
    evil = {"scenario": EVIL, "split": EVIL, "share": {EVIL: 1.0}, "per_task": {EVIL: scores}}
    rows = [{**row, **evil} for row in some_rows()]
    rows.append(a_row(EVIL, 0.4, 0.4, 4, **evil))
    results = some_results(
        rows=rows, name=EVIL, description=EVIL, cost_rule=EVIL, assumptions=[EVIL], pool=[{"model": EVIL, "cost": 1.0}]
    )
    results["run"].update(id=EVIL, command=EVIL, git_revision=EVIL, versions={EVIL: EVIL}, created=EVIL)
    results["run"]["audit"] = [{"severity": EVIL, "what": EVIL, "count": 1, "examples": [EVIL], "advice": EVIL}]
    results["skipped"] = [{"router": EVIL, "reason": EVIL}]
    outline = Outline(built(tmp_path, results, figures=True))
    assert EVIL in outline.texts["title"][0]
    assert EVIL in [text.strip() for text in outline.texts["li"]]
    assert all((a["src"] or "").startswith("data:image/svg+xml;base64,") for tag, a in outline.tags if tag == "img")
    assert [tag for tag, _ in outline.tags].count("script") == 3
    assert not any("onerror" in attributes for _, attributes in outline.tags)


@pytest.mark.parametrize("kind", ["simulated", "recorded", "imported"])
def test_a_simulated_suite_is_marked_at_the_top_and_in_every_caption(kind: str, tmp_path: Path) -> None:
    html = built(tmp_path, some_results(kind))
    outline, simulated = Outline(html), kind == "simulated"
    captions = re.findall(r"<caption[^>]*>(.*?)</caption>", html)
    assert len(captions) == 6
    assert all(("Simulated outcomes" in caption) == simulated for caption in captions)
    assert any(a.get("class") == "simulated" for _, a in outline.tags) == simulated
    assert ("Everything is assumed." in html) == simulated
    assert f"{kind} suite" in re.sub(r"</?b[^>]*>", "", html.partition("</h2>")[0])


def test_tables_can_be_read_and_sorted_by_everyone(tmp_path: Path) -> None:
    outline = Outline(built(tmp_path, some_results(), figures=True))
    tags = [tag for tag, _ in outline.tags]
    assert ("html", {"lang": "en"}) in outline.tags
    assert tags.count("h1") == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert [a["aria-sort"] for tag, a in outline.tags if tag == "th" and "aria-sort" in a] == ["ascending"]
    assert all(a.get("alt") for tag, a in outline.tags if tag == "img")
    assert tags.count("img") == 2
    identities = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(identities) == len(set(identities))
    assert {a["aria-labelledby"] for _, a in outline.tags if "aria-labelledby" in a} <= set(identities)


def test_several_runs_share_a_page(tmp_path: Path) -> None:
    html = built(tmp_path, some_results(), some_results("recorded", name="other"))
    assert "LLM routers on made-up, other" in html
    assert re.findall(r'class="panel" id="([^"]*)"', html) == ["run1_balance_id", "run2_balance_id"]
    assert re.findall(r'type="radio" name="suite" value="([^"]*)"', html) == ["made-up", "other"]


def test_runs_that_differ_in_nothing_else_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    html = built(tmp_path, some_results(), some_results())
    assert re.findall(r'type="radio" name="run" value="([^"]*)"', html) == ["1: 0123456789ab", "2: 0123456789ab"]
    assert 'name="suite"' not in html


def test_what_moved_between_two_runs_is_said_with_intervals(tmp_path: Path) -> None:
    later = [row for row in some_rows() if row["router"] != "forc"]
    knn = next(row for row in later if row["router"] == "knn")
    knn |= {"utility": 0.7, "utility_low": 0.68, "utility_high": 0.72}
    runs = [as_read(some_results(rows=rows), tmp_path) for rows in (some_rows(), later)]
    [told] = view(runs, [{}, {}])["comparisons"]
    verdicts = {row["router"]: row["cells"][4]["text"] for row in told["tables"][0]["rows"]}
    assert verdicts == {"knn": "moved", "forc": "left", "best_single": "the same", "oracle": "the same"} | {
        "nothing_known": "–"
    }
    assert difference(runs[0]["rows"][3], runs[1]["rows"][2]) == pytest.approx(
        (0.1, 0.1 - math.hypot(0.02, 0.02), 0.1 + math.hypot(0.02, 0.02))
    )
    assert difference({**knn, "utility_low": None}, knn) == (0.0, None, None)


def test_runs_of_other_suites_are_not_compared(tmp_path: Path) -> None:
    runs = [as_read(results, tmp_path) for results in (some_results(), some_results(name="other"))]
    assert view(runs, [{}, {}])["comparisons"] == []


def test_a_run_without_rows_still_says_what_it_was(tmp_path: Path) -> None:
    html = built(tmp_path, some_results(rows=[]), figures=True)
    assert "the suite has no verifications.parquet" in html
    assert "<table" not in html.split("<script", maxsplit=1)[0]


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    assert built(tmp_path / "a", some_results(), figures=True) == built(tmp_path / "b", some_results(), figures=True)


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({**some_results(), "schema": 2}, "schema 2 is unknown; this release reads schema 1"),
        ({"rows": []}, "schema None is unknown"),
        ([], "content: Input should be"),
        ({**some_results(), "rows": [{"router": "knn"}]}, r"rows\.0\.\w+: Field required"),
        (
            some_results(rows=[a_row("knn", 0.5, 0.5, 1, utility="high")]),
            r"rows\.0\.utility: Input should be a valid number",
        ),
        (
            some_results(rows=[a_row("knn", float("nan"), 0.5, 1)]),
            r"rows\.0\.accuracy: Input should be a finite number",
        ),
        (some_results(kind="guessed"), r"suite\.kind"),
    ],
)
def test_bad_results_are_one_clear_line(results: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        page.build([save(tmp_path, results)], [tmp_path / "index.html"])
    assert "\n" not in str(caught.value)
    assert "leaderboard.json" in str(caught.value)
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_what_is_not_json_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "leaderboard.json").write_bytes(content)
    with pytest.raises(InputError, match="is not JSON"):
        read(tmp_path)


def test_a_damaged_frame_is_said(tmp_path: Path) -> None:
    save(tmp_path, some_results())
    (tmp_path / "alphas.csv").write_bytes(b"a,b\n\xff\xfe")
    with pytest.raises(InputError, match=r"alphas\.csv is not a table"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["alphas.csv", "spread.csv"])
def test_a_frame_without_a_column_is_said(name: str, tmp_path: Path) -> None:
    save(tmp_path, some_results())
    (tmp_path / name).write_text("router,split\nknn,id\n")
    with pytest.raises(InputError, match=rf"{name} lacks the column alpha; run bench\.run again"):
        read(tmp_path)


def test_a_directory_that_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run: it holds no leaderboard\.json"):
        page.main([str(tmp_path)])


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = save(tmp_path / "run", some_results())
    assert page.main([str(run), "--out", str(tmp_path / "a.html")]) == 0
    assert capsys.readouterr().out == f"page: {tmp_path / 'a.html'}\n"
    monkeypatch.setattr(page, "checkout_page", lambda: None)
    assert page.main([str(run)]) == 0
    assert (run / "index.html").read_bytes() == (tmp_path / "a.html").read_bytes()


def test_a_checkout_keeps_its_page_beside_the_package() -> None:
    root = Path(page.__file__).parent.parent
    assert page.checkout_page() == (root / "leaderboard" / "index.html" if (root / "pyproject.toml").exists() else None)
