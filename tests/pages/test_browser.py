"""Pages as a reader meets them in a browser: by mouse, by keyboard, on a narrow and a wide window, on paper."""

import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hfac import pages
from support.reported import KINDS, folder, large_sweep
from support.slow import few

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'hfac[test]'")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"there is no browser here: none of {', '.join(NAMES)}")
CONTROLS = "a[href], button, input, select, summary, [tabindex='0']"
NAME_OF = "e => (e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent || '').trim() || \
    document.getElementById(e.getAttribute('aria-labelledby'))?.textContent || ''"

LOUD = ("error", "warning")
ROOM = "Math.max(...[...document.querySelectorAll('.plot')].map(p => p.clientWidth))"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visits:
    """Opens pages, and keeps what they complained about and asked of a network."""

    def __init__(self, browser, factory):
        self.browser, self.factory = browser, factory
        self.complaints, self.asked, self.kept = [], [], {}

    def open(self, kind: str | Path, **options):
        page = self.browser.new_page(viewport={"width": 1_200, "height": 900}, **options)
        page.on("console", lambda said: self.complaints.append(said.text) if said.type in LOUD else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        file = kind if isinstance(kind, Path) else folder(kind, self.factory) / pages.FILE
        page.goto(file.as_uri())
        page.wait_for_function("[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))")
        return page

    def keep(self, kind: str):
        """A page that other tests look at too: none may change what the next one sees."""
        page = self.kept.setdefault(kind, None) or self.open(kind)
        self.kept[kind] = page
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 1_200, "height": 900})
        return page

    def check(self):
        assert self.complaints == []
        assert [url for url in self.asked if not re.match("file:|data:|blob:", url)] == []


@pytest.fixture(scope="module")
def visits(browser, tmp_path_factory) -> Visits:
    return Visits(browser, tmp_path_factory)


@pytest.fixture
def visit(visits) -> Iterator:
    """Opens the page of a kind; at the end nothing may have been complained about, nor asked of a network."""
    opened = []

    def go(kind: str | Path, **options):
        opened.append(visits.open(kind, **options))
        return opened[-1]

    yield go
    for page in opened:
        page.close()
    visits.check()


@pytest.fixture
def seen(visits) -> Iterator:
    """The same with a page that several tests share."""
    yield visits.keep
    visits.check()


def drawn(page, plot: str = ".plot") -> list[str]:
    """Names of the lines in a chart."""
    return page.locator(plot).first.evaluate("p => p.data.filter(t => t.meta === 'line').map(t => t.name)")


def test_hovering_over_a_curve_says_its_values(visit):
    page = visit("sweep")
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    x, y = plot.evaluate(
        """p => { const t = p.data.find(t => t.meta === 'line'), i = t.y.length - 1, box = p.getBoundingClientRect();
        const {xaxis, yaxis} = p._fullLayout;
        return [box.x + xaxis._offset + xaxis.d2p(t.x[i]), box.y + yaxis._offset + yaxis.d2p(t.y[i])]; }"""
    )
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y)
    label = page.locator(".hoverlayer .hovertext")
    label.first.wait_for()
    said = label.first.text_content()
    assert "upper 0.0" in said and "environment samples: 120" in said and re.search(r"\[-?[\d.]+, -?[\d.]+\]", said)


def test_lines_are_turned_off_and_on_by_mouse_and_keyboard(visit):
    page = visit("sweep")
    first = page.locator(".legend button[data-line]").first
    name = first.inner_text()
    assert name in drawn(page)
    first.click()
    assert name not in drawn(page) and first.get_attribute("aria-pressed") == "false"
    assert page.locator("#live").text_content() == f"{name} hidden"
    first.focus()
    page.keyboard.press("Enter")
    assert name in drawn(page) and first.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Space")
    assert name not in drawn(page)
    page.get_by_role("button", name="Show all").first.click()
    assert name in drawn(page)
    page.get_by_role("button", name="Hide all").first.click()
    assert drawn(page) == []


@pytest.mark.parametrize("kind", few(["sweep", "rates", "compare"], "rates"))
def test_axes_change_between_linear_and_logarithmic(visit, kind):
    page = visit(kind)
    made = page.locator("[data-axis=x]").first
    for expected in ("linear", "log"):
        made.click()
        assert page.locator(".plot").first.evaluate("p => p._fullLayout.xaxis.type") == expected
        assert made.get_attribute("aria-pressed") == str(expected == "log").lower()


def test_of_many_lines_some_are_shown_and_all_are_found(visit, tmp_path):
    data, problem = large_sweep(40, 12), SimpleNamespace(name="p", layout=None)
    page = visit(
        pages.write(pages.sweep(data, [({}, problem)], "hfac", pages.origin({"command": "sweep"}, {})), tmp_path)
    )
    assert len(drawn(page)) == 24
    last = page.locator("[data-line='39']")
    assert last.get_attribute("aria-pressed") == "false"
    page.get_by_label("Find lines").fill(last.inner_text())
    assert page.locator("[data-line]:visible").count() == 1
    page.get_by_role("button", name="Show all").click()
    assert len(drawn(page)) == 25 and last.get_attribute("aria-pressed") == "true"
    page.get_by_label("Find lines").fill("")
    assert page.locator("[data-line]:visible").count() == 40


def test_intervals_are_turned_off(visit):
    page = visit("sweep")
    bands = "p => p.data.filter(t => t.meta === 'band').length"
    plot = page.locator(".plot").first
    assert plot.evaluate(bands) > 0
    page.locator("[data-bands]").first.click()
    assert plot.evaluate(bands) == 0


def test_layers_of_the_grid_are_turned_off(visit):
    page = visit("sweep")
    panel, layer = page.locator(".panel .plot").first, page.locator("[data-layer=drift]")
    count = panel.evaluate("p => p.data.length")
    layer.click()
    assert panel.evaluate("p => p.data.length") == count - 1 and layer.get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("kind", few(KINDS, "rates"))
def test_tables_are_sorted_by_their_heads(seen, kind):
    page = seen(kind)
    table = page.locator("table.sortable:has(th.number)").first
    head = table.locator("th.number").first
    column = head.evaluate("h => h.cellIndex")
    values = f"t => [...t.tBodies[0].rows].map(r => Number(r.cells[{column}].dataset.value ?? NaN))"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = [value for value in table.evaluate(values) if value == value]
    assert rising == sorted(rising) and rising
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [value for value in table.evaluate(values) if value == value] == rising[::-1]
    assert table.locator("th[aria-sort=none]").count() == table.locator("thead th").count() - 1


@pytest.mark.parametrize("kind", few(KINDS, "sweep"))
def test_every_control_is_reached_by_tab_and_has_a_name(visit, kind):
    page = visit(kind)
    page.evaluate(f'document.querySelectorAll("{CONTROLS}").forEach((e, i) => e.dataset.index = i)')
    wanted = page.locator(CONTROLS).evaluate_all("es => es.filter(e => e.checkVisibility()).map(e => e.dataset.index)")
    names = page.locator(CONTROLS).evaluate_all(f"es => es.map({NAME_OF})")
    assert all(names) and len(wanted) > 10
    reached = set()
    for _ in range(len(wanted)):
        page.keyboard.press("Tab")
        at, outline = page.evaluate(
            "[document.activeElement.dataset.index, getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(at)
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
    assert set(wanted) == reached


@pytest.mark.parametrize("kind", few(KINDS, "rates"))
def test_outline_of_the_page(seen, kind):
    page = seen(kind)
    assert page.evaluate("document.documentElement.lang") == "en" and page.title()
    for landmark in ("header", "main", "nav", "footer", "h1"):
        assert page.locator(landmark).count() == 1
    levels = page.locator("h1, h2, h3, h4").evaluate_all("es => es.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for plot in page.locator(".plot").all():
        assert plot.get_attribute("role") == "img" and len(plot.get_attribute("aria-label")) > 40
    summary = page.locator("details.data summary").first
    summary.focus()
    page.keyboard.press("Enter")
    page.locator("details.data[open] tbody tr").nth(1).wait_for()
    page.keyboard.press("Enter")
    ids = page.locator("[id]").evaluate_all("es => es.filter(e => !e.closest('svg')).map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", few(KINDS, "rates"))
@pytest.mark.parametrize("width", [400, 1_600])
def test_nothing_is_wider_than_the_window(seen, kind, width):
    page = seen(kind)
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(f"{ROOM} <= innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.querySelectorAll('.plot')].every(p => p.clientWidth <= innerWidth)")


@pytest.mark.parametrize("kind", few(KINDS, "sweep"))
def test_on_paper_there_are_no_controls_and_charts_are_whole(seen, kind):
    page = seen(kind)
    page.emulate_media(media="print")
    for hidden in ("nav", ".controls", ".copy", ".legend .tool", "details.data", "footer"):
        for each in page.locator(hidden).all():
            assert not each.is_visible()
    page.set_viewport_size({"width": 640, "height": 900})
    right = "Math.max(...[...document.querySelectorAll('.plot .main-svg')].map(e => e.getBoundingClientRect().right))"
    page.wait_for_function(f"{right} <= 640")
    assert page.locator(".plot").first.is_visible() and page.locator("table.sortable:visible").count()


def test_dark_colours_are_taken_over(visit):
    page = visit("sweep", color_scheme="dark")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(20, 23, 27)"
    assert page.locator(".plot").first.evaluate("p => p._fullLayout.font.color") == "#e7eaee"


def test_the_page_opens_from_a_folder_of_its_own(visit, tmp_path, tmp_path_factory, browser):
    alone = Path(shutil.copy(folder("sweep", tmp_path_factory) / "report.html", tmp_path))
    page = browser.new_page(offline=True)
    page.goto(alone.as_uri())
    assert page.locator(".plot .main-svg").count() > 0
    page.close()
