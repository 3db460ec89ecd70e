"""The page: one snapshot of its view, and what must hold whatever is in the results."""

import base64
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench import plots
from leaderboard import build as page
from leaderboard.view import decimal, headline, signed, view
from tasks.errors import InputError

SNAPSHOT = Path(__file__).parent / "snapshots" / "view.json"
EVIL = "<img src=x onerror=alert(1)>\"'&</script>"


def a_row(router: str, accuracy: float | None, cost: float | None, rank: int | None, **other: Any) -> dict[str, Any]:
    """A complete row; numbers are made up."""
    utility = None if accuracy is None or cost is None else accuracy - 0.5 * cost
    scores = {"accuracy": accuracy, "cost": cost, "utility": utility}
    nulls = (
        "utility_low utility_high rank_group percent_of_oracle cost_usd latency_s overhead_us unsolvable_cost "
        "solved_by_all_cost published_accuracy published_cost published_utility fit_seconds route_seconds "
        "versus_best_single versus_best rank_group_every_call utility_seed_sd "
        "utility_every_call_low utility_every_call_high"
    )
    return {
        **dict.fromkeys(nulls.split()),
        **scores,
        "router": router,
        "reference": rank is None,
        "scenario": "balance",
        "alpha": 0.5,
        "alpha_used": 0.5,
        "split": "id",
        "pool": ["small", "large"],
        "n_queries": 1404,
        "n_seeds": 1,
        "per_seed": [],
        "rank": rank,
        "rank_every_call": rank,
        "accounting": "final",
        "cost_final": cost,
        "cost_every_call": cost,
        "utility_every_call": utility,
        "easy_cost": cost,
        "hard_cost": None if cost is None else cost + 0.05,
        "share": {"small": 0.75, "large": 0.25},
        "per_task": {"arithmetic": scores, "history": scores},
        "metrics": {"regret": 0.1, "auroc": None},
        **other,
    }


def some_rows(**other: Any) -> list[dict[str, Any]]:
    versus = {"router": "best_single", "difference": 0.15, "low": 0.12, "high": 0.18, "p": 0.0001, "p_holm": 0.0002}
    return [
        a_row("oracle", 0.9, 0.2, None, percent_of_oracle=100.0, **other),
        a_row("nothing_known", None, None, None, n_queries=0, share=None, per_task=None, **other),
        a_row("forc", 0.7, 0.4, 2, percent_of_oracle=62.5, published_utility=0.51, n_seeds=3, **other),
        a_row(
            "knn",
            0.65,
            0.1,
            1,
            utility_low=0.58,
            utility_high=0.62,
            rank_group=1,
            rank_every_call=2,
            versus_best_single=versus,
            **other,
        ),
        a_row("best_single", 0.5, 0.1, 3, rank_every_call=1, **{"alpha_used": 0.2, **other}),
    ]


def some_results(kind: str = "simulated", rows: list[dict[str, Any]] | None = None, **suite: Any) -> dict[str, Any]:
    """A complete leaderboard.json."""
    config = {"scenarios": ["balance"], "splits": ["id"], "accounting": "paper", "average": "macro", "seeds": 1}
    return {
        "schema": 1,
        "run": {
            "id": "0123456789ab",
            "command": "python -m bench.run --suite made-up",
            "created": "2025-01-31T12:00:00+00:00",
            "git_revision": None,
            "versions": {"numpy": "2.0", "disrouter-bench": "0"},
            "config": config,
        },
        "suite": {
            "name": "made-up",
            "kind": kind,
            "sha256": "f" * 64,
            "description": "Numbers that nobody measured.",
            "n_queries": {"id": 1404, "ood": 0},
            "pool": [{"model": "small", "cost": 0.1}, {"model": "large", "cost": 1.0}],
            "cost_rule": "made up",
            "assumptions": ["Everything is assumed."],
            "tasks": [{"name": "arithmetic", "domain": "id"}, {"name": "history", "domain": "id"}],
            **suite,
        },
        "skipped": [{"router": "automix", "reason": "the suite has no verifications.parquet"}],
        "statistics": {
            "resamples": 2000,
            "level": 0.95,
            "interval": "drawn",
            "test": "compared",
            "correction": "corrected",
            "rank_group": "counted",
            "splits": {
                "id": {"n_tasks": 2, "n_clusters": 1404, "lacking": None},
                "ood": {"n_tasks": 1, "n_clusters": 1, "lacking": "an interval cannot be had: there is one query"},
            },
        },
        "rows": some_rows() if rows is None else rows,
    }


def save(directory: Path, results: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "leaderboard.json").write_text(json.dumps(results))
    return directory


def built(tmp_path: Path, *runs: dict[str, Any], figures: bool = False) -> str:
    paths = [save(tmp_path / f"run{i}", run) for i, run in enumerate(runs)]
    for path, run in zip(paths, runs, strict=True):
        if figures:
            plots.draw(run["rows"], run["suite"], path / "figures")
    page.build(paths, [tmp_path / "index.html"])
    return (tmp_path / "index.html").read_text()


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


def test_view_is_the_snapshot() -> None:
    """To accept a change, delete the snapshot, run once (which fails), and read the difference."""
    figures = {"cost_accuracy_balance_id": "data:image/svg+xml;base64,QQ=="}
    shown = json.dumps(view([some_results()], [figures]), indent=1, ensure_ascii=False) + "\n"
    if not SNAPSHOT.exists():
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(shown)
        pytest.fail(f"{SNAPSHOT.name} was missing and is now written: read it")
    assert shown == SNAPSHOT.read_text()


def test_panels_come_by_alpha_and_domain() -> None:
    rows = [row for alpha in (0.8, 0.2) for split in ("ood", "id") for row in some_rows(alpha=alpha, split=split)]
    shown = view([some_results(rows=rows)], [{}])
    identities = [(panel["scenario"], panel["split"]) for panel in shown["runs"][0]["panels"]]
    assert identities == [(f"balance, α = {alpha}", split) for alpha in (".2", ".8") for split in ("id", "ood")]
    assert [[option["value"] for option in switch["options"]] for switch in shown["switches"]] == [
        ["balance, α = .2", "balance, α = .8"],
        ["id", "ood"],
    ]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [("knn", 0.6, 1), ("best_single", 0.55, 2)],
            "knn leads at α = .5 in-domain: utility .600, +.050 over best_single.",
        ),
        (
            [("best_single", 0.55, 1), ("knn", 0.5, 2)],
            "best_single leads at α = .5 in-domain: utility .550, and no router beats it.",
        ),
        (
            [("knn", 0.6, 1), ("forc", 0.6, 1), ("mlp", 0.6, 1), ("best_single", 0.55, 4)],
            "forc, knn and mlp tie for the lead at α = .5 in-domain: utility .600, +.050 over best_single.",
        ),
        (
            [("knn", 0.6, 1), ("best_single", 0.6, 1)],
            "best_single and knn tie for the lead at α = .5 in-domain: utility .600.",
        ),
        (
            [("knn", 0.6001, 1), ("best_single", 0.6, 2)],
            "knn leads at α = .5 in-domain: utility .600, less than .001 over best_single.",
        ),
        ([("knn", 0.6, 1)], "knn leads at α = .5 in-domain: utility .600."),
        ([("oracle", 0.9, None)], "No router is ranked here."),
    ],
)
def test_headline(rows: list[tuple[str, float, int | None]], sentence: str) -> None:
    assert headline([a_row(name, utility, 0.0, rank) for name, utility, rank in rows]) == sentence


def test_headline_gives_the_interval_where_there_is_one() -> None:
    row = a_row("knn", 0.6, 0.0, 1, utility_low=0.58, utility_high=0.62)
    assert headline([row]) == "knn leads at α = .5 in-domain: utility .600 (interval .580 to .620)."


def test_a_rank_group_and_its_missing_intervals_are_said() -> None:
    rows = [a_row("knn", 0.6, 0.0, 1, rank_group=1), a_row("forc", 0.59, 0.0, 2, rank_group=1, rank_every_call=1)]
    rows[0]["rank_every_call"] = 2
    notes = view([some_results(rows=rows)], [{}])["runs"][0]["panels"][0]["notes"]
    assert notes == [
        "There are no intervals here, so small differences may be chance.",
        "forc stands in the same rank group as the lead.",
        "When every call is paid, forc leads.",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5432, ".543"), (1.0, "1.000"), (-0.0123, "−.012"), (-0.0001, ".000"), (0.0, ".000"), (None, "–")],
)
def test_decimal(value: float | None, text: str) -> None:
    assert decimal(value) == text
    assert signed(value) == (text if text[0] in "−–" else f"+{text}")


def test_what_does_not_apply_is_a_dash_and_never_zero() -> None:
    table = view([some_results()], [{}])["runs"][0]["panels"][0]["table"]
    cells = next(row["cells"] for row in table["rows"] if row["cells"][1]["text"] == "nothing_known")
    told = {
        column["label"]: (cell["text"], cell["value"]) for column, cell in zip(table["columns"], cells, strict=True)
    }
    assert told.pop("Rank") == ("ref.", None)
    assert told.pop("Router") == ("nothing_known", "nothing_known")
    assert told.pop("Queries") == ("0", 0)
    assert set(told.values()) == {("–", None)}


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_policy_allows_the_inlined_style_and_script_and_nothing_else(tmp_path: Path) -> None:
    html = built(tmp_path, some_results())
    outline = Outline(html)
    policy = next(a["content"] for tag, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag in ("style", "script"):
        inlined = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(inlined) == 1
        digest = base64.b64encode(hashlib.sha256(inlined[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not any(name.startswith("on") or name == "style" for _, a in outline.tags for name in a)


def test_nothing_is_asked_of_any_server(tmp_path: Path) -> None:
    html = built(tmp_path, some_results(), figures=True)
    for _, attributes in Outline(html).tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert "url(" not in html
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r'"data:[^"]*"', "", html))


def test_names_are_data(tmp_path: Path) -> None:
    scores = {"accuracy": 0.5, "cost": 0.5, "utility": 0.25}
    evil = {"scenario": EVIL, "split": EVIL, "share": {EVIL: 1.0}, "per_task": {EVIL: scores}}
    rows = [{**row, **evil} for row in some_rows()]
    rows.append(a_row(EVIL, 0.4, 0.4, 4, **evil))
    results = some_results(
        rows=rows, name=EVIL, description=EVIL, cost_rule=EVIL, assumptions=[EVIL], pool=[{"model": EVIL, "cost": 1.0}]
    )
    results["run"].update(id=EVIL, command=EVIL, git_revision=EVIL, versions={EVIL: EVIL}, created=EVIL)
    results["skipped"] = [{"router": EVIL, "reason": EVIL}]
    outline = Outline(built(tmp_path, results, figures=True))
    assert EVIL in outline.texts["title"][0]
    assert EVIL in [text.strip() for text in outline.texts["li"]]
    assert all((a["src"] or "").startswith("data:image/svg+xml;base64,") for tag, a in outline.tags if tag == "img")
    assert [tag for tag, _ in outline.tags].count("script") == 1
    assert not any("onerror" in attributes for _, attributes in outline.tags)


@pytest.mark.parametrize("kind", ["simulated", "recorded", "imported"])
def test_a_simulated_suite_is_marked_at_the_top_and_in_every_caption(kind: str, tmp_path: Path) -> None:
    html = built(tmp_path, some_results(kind))
    outline, simulated = Outline(html), kind == "simulated"
    captions = re.findall(r"<caption[^>]*>(.*?)</caption>", html)
    assert len(captions) == 8
    assert all(("Simulated outcomes" in caption) == simulated for caption in captions)
    assert any(a.get("class") == "simulated" for _, a in outline.tags) == simulated
    assert ("Everything is assumed." in html) == simulated
    assert f"{kind} suite" in html


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
    assert re.findall(r'type="radio" name="run" value="([^"]*)"', html) == ["run1", "run2"]


def test_a_run_without_rows_still_says_what_it_was(tmp_path: Path) -> None:
    html = built(tmp_path, some_results(rows=[]), figures=True)
    assert "the suite has no verifications.parquet" in html
    assert "<table" not in html


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
        page.read(tmp_path)


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


# --- the browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=chromium, args=switches)
        yield opened
        opened.close()


def four_panels() -> dict[str, Any]:
    scenarios = [("balance", 0.5), ("cost_first", 0.8)]
    return some_results(
        rows=[
            row
            for name, alpha in scenarios
            for split in ("id", "ood")
            for row in some_rows(scenario=name, alpha=alpha, split=split)
        ]
    )


@pytest.mark.browser
def test_in_a_browser(browser: Any, tmp_path: Path) -> None:
    built(tmp_path, four_panels(), figures=True)
    url = (tmp_path / "index.html").as_uri()
    said: list[str] = []
    asked: list[str] = []
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(url)

    def shown() -> list[str]:
        return [panel.get_attribute("id") for panel in tab.query_selector_all(".panel") if panel.is_visible()]

    def names() -> list[str]:
        return tab.locator(".panel:not([hidden]) > .scroll tbody th > span:first-child").all_inner_texts()

    assert shown() == ["run1_balance_id"]
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "only tables scroll sideways"
    assert tab.evaluate("[...document.images].every(i => i.naturalWidth > 0)")

    header = tab.locator(".panel:not([hidden]) > .scroll th", has=tab.get_by_role("button", name="Cost", exact=True))
    header.get_by_role("button").press("Enter")
    assert names() == ["knn", "best_single", "oracle", "forc", "nothing_known"]
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    assert names() == ["forc", "oracle", "knn", "best_single", "nothing_known"]
    assert header.get_attribute("aria-sort") == "descending"
    assert tab.locator(".panel:not([hidden]) > .scroll [aria-sort]").count() == 1

    tab.get_by_text("cost first, α = .8", exact=True).click()
    tab.get_by_text("out-of-domain", exact=True).click()
    assert shown() == ["run1_cost_first_ood"]
    assert tab.url == f"{url}#run1_cost_first_ood"
    tab.reload()
    assert shown() == ["run1_cost_first_ood"]
    assert tab.get_by_role("radio", name="out-of-domain").is_checked()
    tab.goto(f"{url}#run1_balance_ood")
    assert shown() == ["run1_balance_ood"]
    tab.goto(f"{url}#%E0%A4%A")
    assert shown() == ["run1_balance_id"], "a fragment of nowhere shows the first panel"

    assert said == []
    assert {address for address in asked if not address.startswith("data:")} <= {url}


@pytest.mark.browser
def test_without_javascript_every_table_is_there(browser: Any, tmp_path: Path) -> None:
    built(tmp_path, four_panels())
    tab = browser.new_context(java_script_enabled=False).new_page()
    tab.goto((tmp_path / "index.html").as_uri())
    assert sum(panel.is_visible() for panel in tab.query_selector_all(".panel > .scroll table")) == 4
    assert not tab.query_selector(".switches").is_visible()
