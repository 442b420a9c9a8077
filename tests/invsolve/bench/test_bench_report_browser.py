"""The report in a browser without a window: slider, zoom, pictures, layout at phone and desktop width."""

from __future__ import annotations

import re

import pytest
from browser_fixtures import find, press, resize
from report_cases import METHODS, SIDE, benchmark

from invsolve.bench.report.page import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
PHONE, TABLET, DESKTOP = 360, 768, 1400
LIGHTBOX = "const b = document.querySelector('#lightbox img').getBoundingClientRect(); return [b.left, b.top, b.width]"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    return write_report(benchmark(tmp_path_factory.mktemp("bench"))).as_uri()


@pytest.fixture
def page(browser, address):
    """The report, freshly loaded at desktop width; afterwards, no error may be on the console."""
    resize(browser, DESKTOP)
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def left_share(page) -> float:
    """How much of the stage shows the left picture, from the clip that is in effect."""
    clip = page.execute_script("return getComputedStyle(document.querySelector('.stage .left')).clipPath")
    return 1 - float(re.fullmatch(r"inset\(0(?:px)? ([\d.]+)% 0(?:px)? 0(?:px)?\)", clip)[1]) / 100


def drag(page, kind: str, start: float, end: float) -> None:
    """Press a pointer on the first stage at a share of its width, move it to another, and release it."""
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    stage = find(page, ".stage")
    actions = webdriver.ActionChains(page, duration=0, devices=[PointerInput(kind, kind)])
    first, middle, last = (round((share - 0.5) * stage.size["width"]) for share in (start, (start + end) / 2, end))
    actions.move_to_element_with_offset(stage, first, -stage.size["height"] // 5).click_and_hold()
    actions.move_by_offset(middle - first, 0).move_by_offset(last - middle, 0).release().perform()


def test_every_picture_loads_and_nothing_else_does(page):
    loaded = page.execute_script("return [...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt])")
    assert [alt for good, alt in loaded if not good] == []
    tiles = 2 * 2 * (2 + len(METHODS) + 2)  # tasks, images; truth, measurement, methods, deviation maps
    assert len(loaded) == tiles + 2 * (2 + 2) + 1  # per task two of the slider and two thumbnails; the lightbox
    names = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in names if not name.startswith("data:")] == []


@pytest.mark.parametrize("width", [PHONE, TABLET, DESKTOP])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_layout_fits_the_screen(page, width, scheme):
    resize(page, width, scheme)
    assert page.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) / 3 > 128) == (scheme == "light")
    out = page.execute_script(
        """return [...document.querySelectorAll('h1, h2, h3, h4, p, dd, figure, select, .stage, svg, .legend')]
        .map(e => [e.tagName, e.getBoundingClientRect()]).filter(([_, r]) => r.left < 0 || r.right > innerWidth + .5)"""
    )
    assert out == []


@pytest.mark.parametrize(("width", "scheme", "size"), [(PHONE, "light", 10.5), (DESKTOP, "dark", 12)])
def test_the_text_of_plots_is_legible(page, width, scheme, size):
    resize(page, width, scheme)
    plots = page.execute_script(
        """return [...document.querySelectorAll('svg')].map(s => [s.clientWidth / s.viewBox.baseVal.width,
        [...s.querySelectorAll('text')].map(t => [t.getBoundingClientRect().toJSON(), getComputedStyle(t).fill,
        parseFloat(getComputedStyle(t).fontSize), t.textContent])])"""
    )
    assert len(plots) == 2 * 3  # evaluations, seconds and calibration of two tasks
    for scale, texts in plots:
        assert len(texts) > 5
        for i, (box, colour, font, text) in enumerate(texts):
            assert scale * font >= size
            assert (sum(map(int, re.findall(r"\d+", colour))) / 3 < 128) == (scheme == "light")
            for other, _, _, covered in texts[:i]:
                across = min(box["right"], other["right"]) - max(box["left"], other["left"])
                down = min(box["bottom"], other["bottom"]) - max(box["top"], other["top"])
                assert across <= 0.5 or down <= 2, (text, covered)  # a line's box is higher than its letters


@pytest.mark.parametrize(("kind", "width"), [("mouse", DESKTOP), ("touch", PHONE)])
def test_the_slider_follows_the_pointer(page, kind, width):
    resize(page, width)
    assert left_share(page) == 0.5
    for start, end in ((0.5, 0.2), (0.2, 0.9)):
        drag(page, kind, start, end)
        assert left_share(page) == pytest.approx(end, abs=0.002)  # half a pixel of a narrow screen
    script = """const [s, h] = ['.stage', '.handle'].map(e => document.querySelector(e).getBoundingClientRect());
    return (h.left + h.width / 2 - s.left) / s.width"""
    assert page.execute_script(script) == pytest.approx(left_share(page), abs=0.005)


def test_the_slider_obeys_the_keyboard(page):
    page.execute_script("document.querySelector('.stage input').focus({focusVisible: true})")
    right, left = webdriver.Keys.ARROW_RIGHT, webdriver.Keys.ARROW_LEFT
    for keys, share in (
        ((right, right, right), 0.53),
        ((left,), 0.52),
        ((webdriver.Keys.HOME,), 0),
        ((webdriver.Keys.END,), 1),
    ):
        press(page, *keys)
        assert left_share(page) == pytest.approx(share)
    spoken = find(page, ".stage input").get_attribute("aria-valuetext")
    assert spoken == "100 % measurement, the rest ncvsd"


def test_the_slider_shows_what_is_chosen(page):
    from selenium.webdriver.support.select import Select

    def shown() -> list[str]:
        return [find(page, f".stage img.{side}").get_attribute("alt") for side in ("left", "right")]

    rendering = "return getComputedStyle(document.querySelector('.stage img.left')).imageRendering"
    sizes = "return [...document.querySelectorAll('.stage img')].slice(0, 2).map(i => [i.clientWidth, i.naturalWidth])"
    assert shown() == ["Measurement: picture 00000, sr4x", "ncvsd: picture 00000, sr4x"]
    assert page.execute_script(sizes) == [[512, SIDE], [512, SIDE // 4]]  # the measurement at the truth's size
    assert page.execute_script(rendering) == "pixelated"
    Select(find(page, "select.left")).select_by_value("truth")
    Select(find(page, "select.right")).select_by_value("dps")
    find(page, ".thumbs button:nth-child(2)").click()
    assert shown() == ["True picture: picture 00001, sr4x", "dps: picture 00001, sr4x"]
    assert page.execute_script(rendering) == "auto"
    hidden = page.execute_script("return [...document.querySelectorAll('#task-0 .grid')].map(g => g.hidden)")
    assert hidden == [True, False]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_picture_opens_zooms_and_closes(page, width):
    def state() -> list:
        return page.execute_script(
            """const d = document.getElementById('lightbox'), i = d.querySelector('img'), v = d.querySelector('.view');
            return [d.open, i.alt, i.getBoundingClientRect().toJSON(), Math.min(v.clientWidth, v.clientHeight)]"""
        )

    resize(page, width)
    assert not state()[0]
    find(page, ".grid figure:nth-child(4) .zoom").click()
    is_open, name, whole, room = state()
    assert (is_open, name) == (True, "ncvsd: picture 00000, sr4x")
    assert page.execute_script("return document.getElementById('lightbox').scrollWidth <= innerWidth")
    assert whole["width"] == pytest.approx(room, abs=1)
    page.find_element("css selector", "[data-do=in]").click()
    press(page, "+")
    zoomed = state()[2]
    assert zoomed["width"] == pytest.approx(2.25 * whole["width"], rel=1e-3)
    press(page, webdriver.Keys.ARROW_RIGHT)
    assert state()[1:3] == ["ncvsd:16: picture 00000, sr4x", zoomed]  # the next method at the same place
    press(page, "0")
    assert state()[2] == whole
    press(page, webdriver.Keys.ESCAPE)
    assert not state()[0]


def test_the_wheel_zooms_about_the_pointer_and_dragging_moves(page):
    find(page, ".grid .zoom").click()
    left, top, width = page.execute_script(LIGHTBOX)
    x, y = left + 0.25 * width, top + 0.75 * width
    wheel = "new WheelEvent('wheel', {deltaY: -300, clientX: arguments[0], clientY: arguments[1], cancelable: true})"
    page.execute_script(f"document.querySelector('.view').dispatchEvent({wheel})", x, y)
    left, top, zoomed = page.execute_script(LIGHTBOX)
    assert zoomed == pytest.approx(width * 2.71828, rel=1e-3)
    assert ((x - left) / zoomed, (y - top) / zoomed) == pytest.approx((0.25, 0.75), abs=1e-3)  # the same point of it
    webdriver.ActionChains(page).drag_and_drop_by_offset(page.find_element("css selector", ".view"), 40, -30).perform()
    assert page.execute_script(LIGHTBOX) == pytest.approx([left + 40, top - 30, zoomed], abs=0.01)


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_all_methods_are_seen_side_by_side_at_the_same_place(page, width):
    """Each in its pane; what zooms and moves one of them does so with all."""
    panes = """return [...document.querySelectorAll('#lightbox .pane')].map(p => {
        const [b, i] = [p, p.querySelector('img')].map(e => e.getBoundingClientRect());
        return [i.left - b.left, i.top - b.top, i.width, b.left, b.top, b.width, b.height, p.querySelector('img').alt,
                p.querySelector('.label').textContent]})"""
    resize(page, width)
    find(page, ".grid .zoom").click()
    assert len(page.execute_script(panes)) == 1
    press(page, "s")
    found = page.execute_script(panes)
    names = ["True picture", "Measurement", *METHODS, *(f"Standard deviation of {name}" for name in ("ncvsd", "dps"))]
    assert [alt for *_, alt, _ in found] == [f"{name}: picture 00000, sr4x" for name in names]
    assert found[3][-1] == "ncvsd: LPIPS 0.150, 25.0 dB"
    first, room = found[0][:3], found[0][5:7]
    assert [pane[:3] for pane in found] == [pytest.approx(first, abs=0.01)] * len(found)
    assert first[2] == pytest.approx(min(room), abs=1)  # whole
    assert page.execute_script("return document.getElementById('lightbox').scrollWidth <= innerWidth")
    x, y = found[4][3] + first[0] + 0.25 * first[2], found[4][4] + first[1] + 0.75 * first[2]
    wheel = "new WheelEvent('wheel', {deltaY: -300, clientX: arguments[0], clientY: arguments[1], cancelable: true})"
    page.execute_script(f"document.querySelector('.view').dispatchEvent({wheel})", x, y)
    zoomed = page.execute_script(panes)
    left, top, size = zoomed[4][:3]
    assert size == pytest.approx(2.71828 * first[2], rel=1e-3)
    assert ((x - found[4][3] - left) / size, (y - found[4][4] - top) / size) == pytest.approx((0.25, 0.75), abs=2e-3)
    assert [pane[:3] for pane in zoomed] == [pytest.approx([left, top, size], abs=0.01)] * len(found)
    press(page, "1")
    assert page.execute_script(panes)[2][2] == pytest.approx(SIDE / page.execute_script("return devicePixelRatio"))
    press(page, webdriver.Keys.ARROW_RIGHT)  # to the next picture
    found = page.execute_script(panes)
    assert [alt for *_, alt, _ in found] == [f"{name}: picture 00001, sr4x" for name in names]
    assert find(page, "#lightbox .caption").text == "00001"
    find(page, "[data-do=together]").click()
    assert len(page.execute_script(panes)) == 1


def test_two_fingers_zoom_the_picture(page):
    resize(page, PHONE)
    find(page, ".grid .zoom").click()
    left, top, width = page.execute_script(LIGHTBOX)
    middle, y = left + width / 2, top + width / 2
    for kind, *spread in (("touchStart", 30), *(("touchMove", x) for x in (45, 60, 75, 90)), ("touchEnd",)):
        points = [{"x": middle + side * x, "y": y, "id": side} for x in spread for side in (-1, 1)]
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    left, _, zoomed = page.execute_script(LIGHTBOX)
    assert zoomed == pytest.approx(3 * width, rel=0.02)
    assert (middle - left) / zoomed == pytest.approx(0.5, abs=0.02)


def test_a_heading_sorts_its_table(page):
    rows = "return [...document.querySelector('#task-0 .sortable').tBodies[0].rows]"
    before = page.execute_script(f"{rows}.map(r => parseFloat(r.cells[5].dataset.value))")
    for descending in (False, True):
        find(page, "#task-0 .sortable th:nth-child(6) button").click()
        after = page.execute_script(f"{rows}.map(r => parseFloat(r.cells[5].dataset.value))")
        assert after == sorted(before, reverse=descending) != before
    assert find(page, "#task-0 .sortable th:nth-child(6)").get_attribute("aria-sort") == "descending"
