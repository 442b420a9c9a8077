"""The report's plots: axes, ticks, coordinates of what is drawn, and labels that do not overlap."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from report_cases import benchmark, row, write_rows

from invsolve.bench.report.axes import Axis, around, overlap, padded, place_label, text_box, tick_text
from invsolve.bench.report.plots import RADIUS, calibration_plots, cost_plots, number_families
from invsolve.bench.statistics import read_benchmark


def drawings(html: str) -> list[ElementTree.Element]:
    """The wide and the narrow plot."""
    return list(ElementTree.fromstring(f"<div>{html}</div>").iter("svg"))


def scale(svg: ElementTree.Element, anchor: str, coordinate: str, log: bool) -> tuple[float, float]:
    """The line ``pixel = a + b value`` (or of its logarithm) through an axis' ticks, from their texts and places."""
    ticks = [text for text in svg.iter("text") if text.get("class") == "tick" and text.get("text-anchor") == anchor]
    values = np.array([float(text.text) for text in ticks])
    pixels = np.array([float(text.get(coordinate)) for text in ticks])
    slope, offset = np.polyfit(np.log(values) if log else values, pixels, 1)
    return offset - (4 if coordinate == "y" else 0), slope  # a tick's text hangs 4 pixels below its line


def markers(svg: ElementTree.Element) -> dict[str, tuple[float, float]]:
    """The centre of each marker, by its tip's first word."""
    centres = {}
    for group in svg.iter("g"):
        shape = group.find("path").get("d")
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", shape)]
        radius = RADIUS * {"a": 1, "v": 0.9}.get(re.search("[avl]", shape[shape.index(" ") :])[0], 0)
        assert radius, "these tests use the first two shapes alone"
        top = numbers[1] + (radius if "v" in shape else 0)
        centres[group.find("title").text.split(": ")[0]] = (numbers[0] + radius, top)
    return centres


@pytest.fixture(scope="module")
def plotted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    figures = {"ncvsd": (4, 0.5, 0.15), "ncvsd:16": (16, 2.0, 0.14), "dps": (1000, 300.0, 0.2)}
    rows = [
        row("a", name, image, evaluations=evaluations, seconds=seconds, lpips=lpips + shift)
        for name, (evaluations, seconds, lpips) in figures.items()
        for image, shift in (("1", -0.005), ("2", 0.005))
    ]
    write_rows(folder, rows)
    found = read_benchmark(folder)
    return found.tasks["a"], number_families(found)


def test_an_axis_maps_its_ends_and_its_middle():
    linear, log = Axis(2, 6, 100, 500), Axis(1, 100, 300, 0, log=True)
    assert [linear(value) for value in (2, 4, 6)] == pytest.approx([100, 300, 500])
    assert [log(value) for value in (1, 10, 100)] == pytest.approx([300, 150, 0])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.117, 0.283), (-3, 4), (0, 0.0004), (18.2, 18.9)])
def test_linear_ticks_are_round_and_apart(low, high):
    axis = Axis(low, high, 0, 300)
    values = axis.ticks(30)
    gaps = np.diff(values)
    assert len(values) >= 2
    assert np.ptp(gaps) < 1e-9 * gaps[0]
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert (
        gaps[0] / 10 ** math.floor(math.log10(gaps[0]) + 1e-9) == pytest.approx(1) or gaps[0] * 300 / (high - low) >= 30
    )
    assert gaps[0] * 300 / (high - low) >= 30


@pytest.mark.parametrize(("low", "high"), [(0.8, 1300), (3.1, 8.1), (1e-3, 1e7), (0.25, 0.9)])
def test_logarithmic_ticks_are_round_and_apart(low, high):
    axis = Axis(low, high, 0, 300, log=True)
    values = axis.ticks(38)
    assert values
    assert all(low <= value <= high for value in values)
    assert all(f"{value:.0e}"[0] in "1235" and float(f"{value:.0e}") == value for value in values)
    assert all(axis(b) - axis(a) >= 38 for a, b in itertools.pairwise(values))


def test_tick_texts_have_one_number_of_decimals():
    assert [tick_text([0.15, 0.2, 0.25], value) for value in (0.15, 0.2)] == ["0.15", "0.20"]
    assert [tick_text([1, 10, 1000], value) for value in (1, 1000)] == ["1", "1000"]


def test_a_range_is_padded_even_where_it_is_empty():
    assert padded([1.0, 3.0], 0.1) == pytest.approx((0.8, 3.2))
    low, high = padded([4.0], 0.1, log=True)
    assert low < 4 < high
    assert Axis(low, high, 0, 100, log=True).ticks(38)
    low, high = padded([0.0, 0.0], 0.1)
    assert low < 0 < high


def test_labels_overlap_neither_each_other_nor_markers():
    random = np.random.default_rng(0)
    bounds = (0.0, 0.0, 500.0, 300.0)
    points = [(float(x), float(y)) for x, y in random.uniform((60, 30), (440, 270), (16, 2))]
    points += [(points[0][0] + 1, points[0][1] + 1)]  # two at one place
    marks = [around(point, 6) for point in points]
    boxes = []
    for number, point in enumerate(points):
        box = place_label(f"method-{number}", 12, point, [*marks, *boxes], [], bounds)
        assert box is not None
        boxes.append(box)
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    assert not any(overlap(box, mark) for box in boxes for mark in marks)
    assert all(b[0] >= 0 and b[1] >= 0 and b[2] <= 500 and b[3] <= 300 for b in boxes)
    widest = text_box("method-16", 12, 0, 0)[2]
    assert boxes[-1][2] - boxes[-1][0] == pytest.approx(widest)


def test_a_label_avoids_lines_where_it_can_and_gives_up_where_all_is_full():
    lines = [(x, 45.0, x + 10.0, 55.0) for x in range(0, 200, 10)]
    box = place_label("name", 12, (100, 50), [], lines, (0, 0, 200, 100))
    assert not any(overlap(box, line) for line in lines)
    assert place_label("name", 12, (100, 50), [(0, 0, 200, 100)], [], (0, 0, 200, 100)) is None


@pytest.mark.parametrize("cost", ["evaluations", "seconds"])
def test_markers_lie_where_the_ticks_say(plotted, cost):
    entries, numbers = plotted
    for svg in drawings(cost_plots(entries, numbers, cost, "cost")):
        left, across = scale(svg, "middle", "x", log=True)
        top, down = scale(svg, "end", "y", log=False)
        found = markers(svg)
        assert set(found) == {"ncvsd", "ncvsd:16", "dps"}
        for entry in entries:
            x, y = found[entry.method]
            assert x == pytest.approx(left + across * math.log(getattr(entry, cost)), abs=0.2)
            assert y == pytest.approx(top + down * entry.scores["lpips"].value, abs=0.2)
        bars = [re.findall(r"[\d.]+", p.get("d")) for p in svg.iter("path") if "interval" in p.get("class")]
        halves = sorted(abs(float(bottom) - float(end)) / 2 / abs(down) for _, bottom, end in bars)
        assert halves == pytest.approx([entry.scores["lpips"].half for entry in entries], abs=0.2 / abs(down))
        (curve,) = [p.get("d") for p in svg.iter("path") if "curve" in p.get("class")]  # ncvsd's two points
        ends = [float(number) for number in re.findall(r"[\d.]+", curve)]
        assert ends == pytest.approx([*found["ncvsd"], *found["ncvsd:16"]], abs=0.11)


def test_methods_of_one_family_have_one_colour_and_label(plotted):
    entries, numbers = plotted
    assert numbers == {"ncvsd": 0, "dps": 1}
    svg = drawings(cost_plots(entries, numbers, "seconds", "cost"))[0]
    labels = {text.text: text.get("class") for text in svg.iter("text") if "label" in text.get("class")}
    assert labels == {"ncvsd": "label c0", "dps": "label c1"}


@pytest.mark.parametrize(("lpips", "drawn"), [(0.22, True), (0.5, False)])
def test_a_method_without_evaluations_is_a_line_or_a_note(tmp_path, lpips, drawn):
    rows = [row("a", "ncvsd", "1", lpips=0.2), row("a", "baseline", "1", evaluations=0, lpips=lpips)]
    write_rows(tmp_path, rows)
    found = read_benchmark(tmp_path)
    numbers = number_families(found)
    assert numbers == {"ncvsd": 0, "baseline": -1}
    svg = drawings(cost_plots(found.tasks["a"], numbers, "evaluations", "cost"))[0]
    lines = [path.get("d") for path in svg.iter("path") if path.get("class") == "reference"]
    titles = [text.text for text in svg.iter("text") if text.get("class") == "title"]
    assert len(lines) == drawn
    assert f"LPIPS, lower is better{'' if drawn else ' (baseline 0.500 lies above)'}" in titles
    if drawn:
        top, down = scale(svg, "end", "y", log=False)
        assert float(re.search(r"M[\d.]+ ([\d.]+)", lines[0])[1]) == pytest.approx(top + down * lpips, abs=0.2)


def test_without_lpips_there_is_no_plot(tmp_path):
    write_rows(tmp_path, [row("a", "ncvsd", "1", lpips=None)])
    found = read_benchmark(tmp_path)
    assert cost_plots(found.tasks["a"], number_families(found), "seconds", "cost") == ""


def test_the_calibration_plot_has_equal_axes_and_the_diagonal(tmp_path):
    found = read_benchmark(benchmark(tmp_path))
    entries, numbers = found.tasks["sr4x"], number_families(found)
    for svg in drawings(calibration_plots(entries, numbers)):
        left, across = scale(svg, "middle", "x", log=False)
        top, down = scale(svg, "end", "y", log=False)
        (path,) = [path.get("d") for path in svg.iter("path") if path.get("class") == "reference"]
        x0, y0, x1, y1 = (float(number) for number in re.findall(r"[\d.]+", path))
        assert (x0 - left) / across == pytest.approx((y0 - top) / down, abs=1e-3)
        assert (x1 - left) / across == pytest.approx((y1 - top) / down, abs=1e-3)
        curves = [path.get("d") for path in svg.iter("path") if "curve" in path.get("class")]
        assert len(curves) == 2
        numbers_of = [float(number) for number in re.findall(r"[\d.]+", curves[0])]
        predicted = (np.array(numbers_of[::2]) - left) / across
        error = (np.array(numbers_of[1::2]) - top) / down
        assert np.abs(predicted - 0.01 * np.arange(1, 21)).max() < 1e-3
        assert np.abs(error - (0.012 * np.arange(1, 21) + 0.002)).max() < 1e-3
