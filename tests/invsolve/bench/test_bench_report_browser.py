"""The report in a browser without a window: slider, zoom, pictures, layout at phone and desktop width."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_cases import METHODS, SIDE, benchmark

from invsolve.bench.report.page import write_report

PHONE, TABLET, DESKTOP = 360, 768, 1400
TOLERANCE = 0.002  # of a share of the slider: half a pixel of a narrow screen


@pytest.fixture(scope="module")
def browser() -> Iterator:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(driver))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return write_report(benchmark(tmp_path_factory.mktemp("bench")))


@pytest.fixture
def page(browser, report):
    """The report, freshly loaded at desktop width; afterwards, no error may be on the console."""
    resize(browser, DESKTOP)
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def resize(browser, width: int, height: int = 900, scheme: str = "light") -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferences = {
        "prefers-color-scheme": scheme,
        "prefers-reduced-motion": "reduce",
    }  # no smooth scrolling to wait for
    features = [{"name": name, "value": value} for name, value in preferences.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def find(page, selector: str):
    return page.find_element("css selector", selector)


def left_share(page) -> float:
    """How much of the stage shows the left picture, from the clip that is in effect."""
    script = "return getComputedStyle(document.querySelector('.stage .left')).clipPath"
    return (
        1 - float(re.fullmatch(r"inset\(0(?:px)? ([\d.]+)% 0(?:px)? 0(?:px)?\)", page.execute_script(script))[1]) / 100
    )


def press(page, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def drag(page, kind: str, start: float, end: float) -> None:
    """Press a pointer on the first stage at a share of its width, move it to another, and release it."""
    stage = find(page, ".stage")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    box = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", stage)
    y = box["top"] + 0.3 * box["height"]
    places = [{"x": box["left"] + share * box["width"], "y": y} for share in (start, (start + end) / 2, end)]
    if kind == "touch":
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
        for place in places[1:]:
            page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        return
    for what, place in zip(("mousePressed", "mouseMoved", "mouseMoved"), places, strict=True):
        event = {"type": what, "button": "left", "buttons": 1, "clickCount": 1, **place}
        page.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseReleased", "button": "left", **places[-1]})


def test_every_picture_loads_and_nothing_else_does(page):
    script = "return [...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt])"
    loaded = page.execute_script(script)
    assert [alt for good, alt in loaded if not good] == []
    tiles = 2 * 2 * (2 + len(METHODS) + 2)  # tasks, images; truth, measurement, methods, deviation maps
    assert len(loaded) == tiles + 2 * (2 + 2) + 1  # per task two of the slider and two thumbnails; the lightbox
    names = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in names if not name.startswith("data:")] == []


@pytest.mark.parametrize("width", [PHONE, TABLET, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_layout_fits_the_screen(page, width, scheme):
    resize(page, width, scheme=scheme)
    assert page.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert (brightness > 128) == (scheme == "light")
    out = page.execute_script(
        """return [...document.querySelectorAll('h1, h2, h3, h4, p, dd, figure, select, .stage, figcaption, svg')]
        .map(e => [e.tagName + e.className, e.getBoundingClientRect()]).filter(([_, r]) => r.width &&
        (r.left < 0 || r.right > innerWidth + 0.5)).map(([name]) => name)"""
    )
    assert [name for name in out if "swatch" not in str(name)] == []


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_label_of_a_plot_covers_another(page, width):
    resize(page, width)
    plots = page.execute_script(
        """return [...document.querySelectorAll('svg[role=img]')].filter(s => s.getBoundingClientRect().width).map(s =>
        [s.getBoundingClientRect().toJSON(), [...s.querySelectorAll('text')].map(t => [t.textContent,
        t.getBoundingClientRect().toJSON(), parseFloat(getComputedStyle(t).fontSize)])])"""
    )
    assert len(plots) == 2 * 3  # evaluations, seconds and calibration of two tasks
    for frame, texts in plots:
        assert len(texts) > 10
        for i, (name, box, size) in enumerate(texts):
            assert size >= 12
            assert frame["left"] - 1 <= box["left"], name
            assert box["right"] <= frame["right"] + 1, name
            for other, place, _ in texts[:i]:
                apart = min(box["right"], place["right"]) - max(box["left"], place["left"])
                above = min(box["bottom"], place["bottom"]) - max(box["top"], place["top"])
                assert apart <= 0.5 or above <= 2, (name, other)  # a line's box is higher than its letters


@pytest.mark.parametrize(("kind", "width"), [("mouse", DESKTOP), ("touch", PHONE)])
def test_the_slider_follows_the_pointer(page, kind, width):
    resize(page, width)
    assert left_share(page) == 0.5
    drag(page, kind, 0.5, 0.2)
    assert left_share(page) == pytest.approx(0.2, abs=TOLERANCE)
    drag(page, kind, 0.2, 0.9)
    assert left_share(page) == pytest.approx(0.9, abs=TOLERANCE)
    script = """const s = document.querySelector('.stage').getBoundingClientRect();
    const h = document.querySelector('.handle').getBoundingClientRect();
    return (h.left + h.width / 2 - s.left) / s.width"""
    assert page.execute_script(script) == pytest.approx(left_share(page), abs=0.005)


def test_the_slider_obeys_the_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelector('.stage input').focus({focusVisible: true})")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert left_share(page) == pytest.approx(0.53)
    press(page, Keys.ARROW_LEFT)
    assert left_share(page) == pytest.approx(0.52)
    press(page, Keys.HOME)
    assert left_share(page) == 0
    press(page, Keys.END)
    assert left_share(page) == 1
    spoken = find(page, ".stage input").get_attribute("aria-valuetext")
    assert spoken == "100 % measurement, the rest ncvsd"


def test_the_slider_shows_what_is_chosen(page):
    from selenium.webdriver.support.select import Select

    def shown(side: str) -> str:
        return find(page, f".stage img.{side}").get_attribute("alt")

    assert shown("left") == "Measurement: picture 00000, sr4x"
    assert shown("right") == "ncvsd: picture 00000, sr4x"
    sizes = page.execute_script(
        "return [...document.querySelectorAll('.stage img')].slice(0, 2).map(i => [i.clientWidth, i.naturalWidth])"
    )
    assert sizes == [[512, SIDE], [512, SIDE // 4]]  # the smaller measurement at the truth's size
    rendering = "return getComputedStyle(document.querySelector('.stage img.left')).imageRendering"
    assert page.execute_script(rendering) == "pixelated"
    Select(find(page, "select.left")).select_by_value("truth")
    Select(find(page, "select.right")).select_by_value("dps")
    page.find_elements("css selector", ".thumbs button")[1].click()
    assert (shown("left"), shown("right")) == ("True picture: picture 00001, sr4x", "dps: picture 00001, sr4x")
    assert page.execute_script(rendering) == "auto"
    visible = [grid.get_attribute("data-picture") for grid in page.find_elements("css selector", ".grid[data-picture]")]
    hidden = page.execute_script("return [...document.querySelectorAll('.grid[data-picture]')].map(g => g.hidden)")
    assert list(zip(visible, hidden, strict=True))[:2] == [("00000", True), ("00001", False)]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_picture_opens_zooms_and_closes(page, width):
    from selenium.webdriver.common.keys import Keys

    resize(page, width)

    def state() -> dict:
        return page.execute_script(
            """const d = document.getElementById('lightbox'), i = d.querySelector('img');
            return {open: d.open, fits: d.scrollWidth <= innerWidth, alt: i.alt,
            box: i.getBoundingClientRect().toJSON(), view: d.querySelector('.view').getBoundingClientRect().toJSON()}"""
        )

    assert not state()["open"]
    tile = find(page, ".grid figure:nth-child(4) .zoom")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", tile)
    tile.click()
    before = state()
    assert before["open"]
    assert before["fits"]
    assert before["alt"] == "ncvsd: picture 00000, sr4x"
    assert before["box"]["width"] == pytest.approx(min(before["view"]["width"], before["view"]["height"]), abs=1)
    find(page, "[data-do=in]").click()
    press(page, "+")
    after = state()
    assert after["box"]["width"] == pytest.approx(2.25 * before["box"]["width"], rel=1e-3)
    press(page, Keys.ARROW_RIGHT)
    assert state()["alt"] == "ncvsd:16: picture 00000, sr4x"
    assert state()["box"] == after["box"]  # the next method at the same place
    press(page, "0")
    assert state()["box"] == before["box"]
    press(page, Keys.ESCAPE)
    assert not state()["open"]


def test_the_wheel_zooms_about_the_pointer_and_dragging_moves(page):
    from selenium.webdriver import ActionChains

    find(page, ".grid .zoom").click()
    box = "const b = document.querySelector('#lightbox img').getBoundingClientRect(); return [b.left, b.top, b.width]"
    left, top, width = page.execute_script(box)
    x, y = left + 0.25 * width, top + 0.75 * width
    page.execute_script(
        """document.querySelector('.view').dispatchEvent(new WheelEvent('wheel',
        {deltaY: -300, clientX: arguments[0], clientY: arguments[1], cancelable: true}))""",
        x,
        y,
    )
    zoomed = page.execute_script(box)
    assert zoomed[2] == pytest.approx(width * 2.71828, rel=1e-3)
    assert (x - zoomed[0]) / zoomed[2] == pytest.approx(0.25, abs=1e-3)  # the same point of the picture
    assert (y - zoomed[1]) / zoomed[2] == pytest.approx(0.75, abs=1e-3)
    ActionChains(page).drag_and_drop_by_offset(find(page, ".view"), 40, -30).perform()
    moved = page.execute_script(box)
    assert moved == pytest.approx([zoomed[0] + 40, zoomed[1] - 30, zoomed[2]], abs=0.01)
    find(page, "[data-do=close]").click()


def test_two_fingers_zoom_the_picture(page):
    resize(page, PHONE)
    tile = find(page, ".grid .zoom")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", tile)
    tile.click()
    box = "const b = document.querySelector('#lightbox img').getBoundingClientRect(); return [b.left, b.top, b.width]"
    left, top, width = page.execute_script(box)
    middle, y = left + width / 2, top + width / 2

    def touch(what: str, *offsets: float) -> None:
        points = [{"x": middle + offset, "y": y, "id": number} for number, offset in enumerate(offsets)]
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": what, "touchPoints": points})

    touch("touchStart", -30, 30)
    for spread in (45, 60, 75, 90):
        touch("touchMove", -spread, spread)
    touch("touchEnd")
    zoomed = page.execute_script(box)
    assert zoomed[2] == pytest.approx(3 * width, rel=0.02)
    assert (middle - zoomed[0]) / zoomed[2] == pytest.approx(0.5, abs=0.02)
    find(page, "[data-do=close]").click()


def test_a_heading_sorts_its_table(page):
    def column() -> list[float]:
        return page.execute_script(
            """return [...document.querySelector('#task-0 table.sortable').tBodies[0].rows]
            .map(r => parseFloat(r.cells[5].dataset.value))"""
        )

    unsorted = column()
    head = find(page, "#task-0 table.sortable th:nth-child(6) button")
    head.click()
    assert column() == sorted(unsorted) != unsorted
    head.click()
    assert column() == sorted(unsorted, reverse=True)
    assert find(page, "#task-0 table.sortable th:nth-child(6)").get_attribute("aria-sort") == "descending"
