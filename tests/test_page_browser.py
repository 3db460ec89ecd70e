"""The page in headless Chromium: what a reader can do with it, by mouse and by keyboard, without a network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import run as bench_run
from leaderboard.build import build
from tests.pages import EVIL, a_row, built, save, some_results, some_rows

pytestmark = pytest.mark.browser
FIRST = "run1_balance_id"
SCREENSHOTS = Path(__file__).parent.parent / "build" / "screenshots"  # not committed


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with playwright.sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=chromium, args=switches)
        yield opened
        opened.close()


class Page:
    """A page that is open in a browser, with all that it said on the console and asked of anybody."""

    def __init__(self, browser: Any, path: Path, fragment: str = "", **context: Any) -> None:
        self.url, self.said, self.asked = path.as_uri(), list[str](), list[str]()
        self.tab = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context)).new_page()
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(self.url + fragment)

    def panels(self) -> list[str]:
        return [panel.get_attribute("id") for panel in self.tab.query_selector_all(".panel") if panel.is_visible()]

    def table(self) -> Any:
        return self.tab.locator(".panel:not([hidden]) > .scroll table")

    def column(self, key: str) -> dict[str, str]:
        """Return the first line of a column's cells by router."""
        place = (
            self.table()
            .locator("thead th")
            .evaluate_all("(all, key) => all.findIndex(h => h.dataset.key === key)", key)
        )
        rows = self.table().locator("tr[data-router]")
        return dict(
            rows.evaluate_all("(all, i) => all.map(r => [r.dataset.router, r.cells[i].firstChild.textContent])", place)
        )

    def names(self) -> list[str]:
        found: list[str] = self.table().locator("tr[data-router]").evaluate_all("all => all.map(r => r.dataset.router)")
        return found

    def headline(self) -> str:
        return str(self.tab.locator("#answer .headline").inner_text())

    def slide(self, alpha: float) -> None:
        self.tab.locator("#alpha").evaluate("(s, a) => { s.value = a; s.dispatchEvent(new Event('input')) }", alpha)

    def plots(self) -> None:
        """Wait for the plots."""
        self.tab.wait_for_selector("#plot-tasks .main-svg")

    def is_quiet(self) -> bool:
        """Whether nothing was said on the console, and nothing asked of anybody but the file."""
        addresses = {address.partition("#")[0] for address in self.asked if not address.startswith("data:")}
        assert self.said == []
        assert addresses <= {self.url}
        return True


def four_panels(**other: Any) -> dict[str, Any]:
    scenarios = [("balance", 0.5), ("cost_first", 0.8)]
    rows = [
        row
        for name, alpha in scenarios
        for split in ("id", "ood")
        for row in some_rows(
            scenario=name, alpha=alpha, split=split, utility_every_call_low=0.4, utility_every_call_high=0.5
        )
    ]
    rows = [{**row, "utility": row["accuracy"] and row["accuracy"] - row["alpha"] * row["cost"]} for row in rows]
    return some_results(rows=rows, **other)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    built(folder, four_panels(), figures=True)
    return folder / "index.html"


def test_it_opens_on_one_panel_with_its_answer(browser: Any, page_file: Path) -> None:
    page = Page(browser, page_file)
    assert page.panels() == [FIRST]
    assert page.headline().startswith("knn is best on made-up (simulated), in-domain at α = .5")
    assert page.table().locator("svg.bar").count() == 4
    page.plots()
    assert page.tab.locator("#plots figure:visible").count() == 5, "no agents, so no figure of them"
    assert page.is_quiet()


def test_columns_sort_by_mouse_and_keyboard(browser: Any, page_file: Path) -> None:
    page = Page(browser, page_file)
    header = page.table().locator("th[data-key=cost]")
    header.get_by_role("button").press("Enter")
    assert page.names() == ["knn", "best_single", "oracle", "forc", "nothing_known"]
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    assert page.names() == ["forc", "oracle", "knn", "best_single", "nothing_known"]
    assert header.get_attribute("aria-sort") == "descending"
    assert page.table().locator("[aria-sort]").count() == 1
    assert page.is_quiet()


def test_switches_and_the_address_tell_the_same(browser: Any, page_file: Path) -> None:
    page = Page(browser, page_file)
    page.tab.get_by_text("cost first, α = .8", exact=True).click()
    page.tab.get_by_text("out-of-domain", exact=True).click()
    assert page.panels() == ["run1_cost_first_ood"]
    assert page.tab.url.endswith("#accounting=paper&split=ood&alpha=0.8")
    page.tab.reload()
    assert page.panels() == ["run1_cost_first_ood"]
    assert page.tab.get_by_role("radio", name="out-of-domain").is_checked()
    page.tab.goto(f"{page.url}#run1_balance_ood")
    assert page.panels() == ["run1_balance_ood"]
    for nowhere in ("%E0%A4%A", "alpha=7&split=nowhere", "alpha=x", "=&&="):
        page.tab.goto(f"{page.url}#{nowhere}")
        assert page.panels() == [FIRST], "an address of nowhere shows the first panel"
    assert page.is_quiet()


def test_the_slider_ranks_anew_and_says_what_is_exact(browser: Any, page_file: Path) -> None:
    page = Page(browser, page_file)
    page.slide(0.0)
    assert page.headline() == (
        "forc has the highest utility on made-up (simulated), in-domain at α = 0: utility .700, +.200 over the best "
        "single model."
    )
    assert page.column("rank") == {"forc": "1", "knn": "2", "best_single": "3", "oracle": "–", "nothing_known": "–"}
    assert page.column("utility") == {
        "forc": ".700",
        "knn": ".650",
        "best_single": ".500",
        "oracle": ".900",
        "nothing_known": "–",
    }
    assert set(page.column("group").values()) == {"–", "ref."}, "rank groups are not known at an alpha that was not run"
    note = page.tab.locator("#alpha-note").inner_text()
    assert "forc and best_single decide here as at α = .5, the nearest at which that is known." in note
    assert "At α = .5, the nearest: knn is best" in note
    assert page.tab.url.endswith("alpha=0")
    page.slide(0.65)
    assert page.panels() == [FIRST], "the lower of two that are equally near"
    page.slide(0.66)
    assert page.panels() == ["run1_cost_first_id"]
    page.slide(0.5)
    assert page.headline().startswith("knn is best on made-up (simulated)"), "as it was built"
    slider = page.tab.locator("#alpha")
    slider.focus()
    slider.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "α = .51"
    assert page.is_quiet()


def test_between_the_alphas_of_the_run_routers_decide_as_they_did_there(browser: Any, tmp_path: Path) -> None:
    run = save(tmp_path / "run", some_results("recorded"))
    lines = ["router,reference,split,alpha,accuracy,cost,cost_final,cost_every_call"]
    lines += ["forc,False,id,0.5,.7,.4,.4,.4", "forc,False,id,0.3,.8,.2,.2,.6", "best_single,False,id,0.3,.6,.1,.1,.1"]
    (run / "alphas.csv").write_text("\n".join(lines))
    build([run], [tmp_path / "index.html"])
    page = Page(browser, tmp_path / "index.html", "#alpha=0.3")
    assert page.headline().startswith(
        "forc has the highest utility on made-up, in-domain at α = .3: utility .740, +.170"
    )
    assert "All routers decide as at this α, or do not depend on it." in page.tab.locator("#alpha-note").inner_text()
    assert page.column("accuracy") == {
        "forc": ".800",
        "knn": ".650",
        "best_single": ".600",
        "oracle": ".900",
        "nothing_known": "–",
    }
    assert page.column("easy")["forc"] == "–", "known for the decisions at the run's own alpha alone"
    page.tab.get_by_text("every call", exact=True).click()
    assert page.column("utility")["forc"] == ".620"
    page.slide(0.31)
    assert "forc and best_single decide here as at α = .3" in page.tab.locator("#alpha-note").inner_text()
    assert page.is_quiet()


def test_at_an_alpha_that_was_not_run_the_page_is_as_sure_as_a_run_there(browser: Any, tmp_path: Path) -> None:
    """Real outcomes: intervals, ties and the difference to the best single model are those of a run at that alpha."""
    given = ["--routers", "forc,knn,automix", "--split", "ood"]
    assert bench_run.main([*given, "--scenario", "all", "--out", str(tmp_path / "run")]) == 0
    assert bench_run.main([*given, "--alpha", "0.35", "--out", str(tmp_path / "there")]) == 0
    there = {row["router"]: row for row in json.loads((tmp_path / "there" / "leaderboard.json").read_text())["rows"]}
    page = Page(browser, tmp_path / "run" / "index.html", "#alpha=0.35")
    groups = {name: group for name, group in page.column("group").items() if not there[name]["reference"]}
    assert groups == {name: str(there[name]["rank_group"]) for name in groups}
    assert len(set(groups.values())) > 1
    found = page.tab.evaluate("evaluate(shown, 0.35, 'own').map(r => [r.name, r.interval, r.overInterval, r.overP])")
    for name, interval, over, p in found:
        row = there[name]
        limits = np.array([row["utility_low"], row["utility_high"]])
        np.testing.assert_allclose(np.array(interval), limits, atol=0.1 * np.ptp(limits))
        versus = row["versus_best_single"]
        if versus is not None:
            width = versus["high"] - versus["low"]
            np.testing.assert_allclose(over, [versus["low"], versus["high"]], atol=0.1 * width)
            assert p == pytest.approx(versus["p_holm"], rel=0.1, abs=0.002)
    leader = min(groups, key=lambda name: there[name]["rank"])
    assert leader in page.headline()
    assert "more than the best single model" in page.headline()
    page.plots()
    boxes = page.tab.locator("#plot-frontier .annotation-text").evaluate_all(
        "all => all.map(a => a.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
    )
    assert len(boxes) > 6
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3], "names overlap"
    page.slide(0.36)
    assert set(page.column("group").values()) - {"–", ""}, "between two steps decisions are the nearest step's"
    assert page.is_quiet()


def test_another_accounting_ranks_by_what_it_charges(browser: Any, tmp_path: Path) -> None:
    rows = [
        a_row("knn", 0.7, 0.1, 1, cost_every_call=0.9, rank_group=1, rank_group_every_call=2),
        a_row("best_single", 0.6, 0.1, 2, rank_group=2, rank_group_every_call=1),
    ]
    built(tmp_path, some_results("recorded", rows))
    page = Page(browser, tmp_path / "index.html")
    page.tab.get_by_text("every call", exact=True).click()
    assert page.column("rank") == {"best_single": "1", "knn": "2"}
    assert page.column("group") == {"best_single": "1", "knn": "2"}
    assert page.column("utility") == {"best_single": ".550", "knn": ".250"}
    assert set(page.column("easy").values()) == {"–"}, "known under the run's accounting alone"
    assert "Cost of every call" in page.table().locator("caption").inner_text()
    page.tab.get_by_text("authors’", exact=True).click()
    assert page.column("utility") == {"knn": ".650", "best_single": ".550"}
    assert page.is_quiet()


def test_a_row_opens_its_details(browser: Any, page_file: Path) -> None:
    page = Page(browser, page_file)
    page.table().get_by_role("button", name="knn").press("Enter")
    assert page.table().get_by_role("button", name="knn").get_attribute("aria-expanded") == "true"
    inside = page.table().locator("tr.detail").inner_text()
    for words in (
        "the query",
        "for the answering model alone",
        "same decisions at every α",
        "neighbours = [5, 10]",
        "history",
    ):
        assert words in inside
    page.table().locator("th[data-key=cost] button").click()
    order = page.table().locator("tbody tr").evaluate_all("all => all.map(r => r.dataset.router ?? 'details')")
    assert order[order.index("knn") + 1] == "details", "they follow their row"
    page.table().locator("tr[data-router=forc] td").nth(3).click()
    assert page.table().locator("tr.detail").count() == 2
    link = page.table().get_by_role("link", name="Šakota et al. 2024")
    assert link.get_attribute("href") == "https://arxiv.org/abs/2308.06077"
    page.tab.reload()
    assert page.table().locator("tr.detail").count() == 2, "the address keeps them"
    page.table().get_by_role("button", name="knn").click()
    assert page.table().locator("tr.detail").count() == 1
    assert page.is_quiet()


def test_names_are_data_in_the_browser(browser: Any, tmp_path: Path) -> None:
    scores = {"accuracy": 0.5, "cost": 0.5, "utility": 0.25}
    evil = {"share": {EVIL: 1.0}, "per_task": {EVIL: scores}, "pool": [EVIL]}
    built(tmp_path, some_results(rows=[a_row(EVIL, 0.5, 0.5, 1, **evil), *some_rows()], name=EVIL), figures=True)
    results = (tmp_path / "run0" / "run.json").read_text()
    assert EVIL not in results
    page = Page(browser, tmp_path / "index.html")
    page.plots()
    page.table().locator("tr[data-router]").first.locator("button").click()
    page.slide(0.9)
    page.plots()
    assert EVIL in page.names()
    assert EVIL in page.tab.locator("h1").inner_text()
    assert page.tab.locator("img[src=x], [onerror]").count() == 0
    assert page.is_quiet()


def test_without_javascript_every_table_is_there(browser: Any, page_file: Path) -> None:
    tab = Page(browser, page_file, java_script_enabled=False).tab
    assert tab.locator(".panel > .scroll table:visible").count() == 4
    assert tab.locator(".figures img:visible").count() == 8
    assert tab.locator(".panel .headline:visible").count() == 4
    assert not tab.query_selector(".switches").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_everyone_can_read_it(browser: Any, page_file: Path, scheme: str, width: int) -> None:
    """axe finds nothing serious, nothing but tables scrolls sideways, and a screenshot of each view is kept."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = Page(browser, page_file, "#open=knn", color_scheme=scheme, viewport={"width": width, "height": 900})
    page.plots()
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page.tab).response["violations"]
    told = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], told
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.tab.screenshot(path=SCREENSHOTS / f"page-{scheme}-{width}.png", full_page=True)
    assert page.is_quiet()


def test_every_view_leaves_a_screenshot(browser: Any, page_file: Path, tmp_path: Path) -> None:
    """Every scenario and split, another α, another accounting, a row's details, two runs, and without scripts."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page, seen = Page(browser, page_file), set[bytes]()

    def shoot(name: str, view: Page) -> None:
        view.tab.screenshot(path=SCREENSHOTS / f"view-{name}.png", full_page=True)
        seen.add((SCREENSHOTS / f"view-{name}.png").read_bytes())

    views = {f"{alpha}-{split}": f"#alpha={alpha}&split={split}" for alpha in (0.5, 0.8) for split in ("id", "ood")}
    views |= {"any-alpha": "#alpha=0.35", "every-call": "#accounting=every_call", "details": "#open=knn"}
    for name, fragment in views.items():
        page.tab.goto("about:blank")
        page.tab.goto(page.url + fragment)
        page.plots()
        shoot(name, page)
    runs = [save(tmp_path / name, four_panels()) for name in ("a", "b")]
    build(runs, [tmp_path / "two.html"])
    shoot("two-runs", Page(browser, tmp_path / "two.html"))
    shoot("without-scripts", Page(browser, page_file, java_script_enabled=False))
    assert len(seen) == len(views) + 2, "each view looks another way"
