"""The report's plots: where markers, intervals and lines are by the ticks of the axes, and what the legends name."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from report_cases import benchmark, row, write_rows

from invsolve.bench.report.page import write_report
from invsolve.bench.report.plots import calibration_plot, cost_plot, family_looks
from invsolve.bench.statistics import read_benchmark

SVG = "{http://www.w3.org/2000/svg}"


class Drawing:
    """An SVG in the units of its axes, which are found from their ticks."""

    def __init__(self, plot, log: bool):
        self.root, self.log = ElementTree.fromstring(plot.svg), log
        texts = [text for text in self.root.iter(f"{SVG}text") if re.fullmatch(r"[\d.]+", text.text)]
        across = [text for text in texts if "middle" in text.get("style")]
        upward = [text for text in texts if "end" in text.get("style")]
        values = np.array([float(text.text) for text in across])
        self._x = np.polyfit([float(text.get("x")) for text in across], np.log(values) if log else values, 1)
        heights = [points[0][1] for points, style in self._lines() if "var(--faint)" in style]
        self._y = np.polyfit(heights, [float(text.text) for text in upward], 1)

    def _lines(self) -> list[tuple[list[list[float]], str]]:
        paths = [path for path in self.root.iter(f"{SVG}path") if path.get("clip-path")]
        return [(np.reshape(re.findall(r"-?[\d.]+", p.get("d")), (-1, 2)).astype(float), p.get("style")) for p in paths]

    def place(self, x: float, y: float) -> tuple[float, float]:
        value = np.polyval(self._x, x)
        return math.exp(value) if self.log else value, np.polyval(self._y, y)

    def lines(self, colour: str) -> list[list[tuple[float, float]]]:
        return [[self.place(*point) for point in points] for points, style in self._lines() if f"--{colour})" in style]

    def markers(self) -> dict[str, tuple[float, float]]:
        """By what a pointer over each tells."""
        groups = [group for group in self.root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
        uses = [(group.find(f"{SVG}title").text, next(group.iter(f"{SVG}use"))) for group in groups]
        return {title: self.place(float(use.get("x")), float(use.get("y"))) for title, use in uses}


def plotted(folder: Path, figures: dict[str, tuple[int, float, float]]):
    """The entries of a task of two pictures, whose LPIPS are 0.005 below and above the given, and the looks."""
    rows = [
        row("a", name, image, evaluations=evaluations, seconds=seconds, lpips=lpips + shift)
        for name, (evaluations, seconds, lpips) in figures.items()
        for image, shift in (("1", -0.005), ("2", 0.005))
    ]
    write_rows(folder, rows)
    found = read_benchmark(folder)
    return found.tasks["a"], family_looks(found)


@pytest.mark.parametrize("cost", ["evaluations", "seconds"])
def test_markers_and_intervals_are_where_the_ticks_say(tmp_path, cost):
    figures = {"ncvsd": (4, 0.5, 0.15), "ncvsd:16": (16, 2.0, 0.14), "dps": (1000, 300.0, 0.2)}
    entries, looks = plotted(tmp_path, figures)
    plot = cost_plot(entries, looks, cost, "cost", "here")
    drawing = Drawing(plot, log=True)
    markers = {title.split(": ")[0]: place for title, place in drawing.markers().items()}
    wanted = {entry.method: (getattr(entry, cost), entry.scores["lpips"].value) for entry in entries}
    assert set(markers) == set(wanted)
    for name, place in wanted.items():
        assert markers[name] == pytest.approx(place, rel=1e-3)
    curve, *bars = sorted(drawing.lines("m0"), key=lambda line: line[0][0] == line[1][0])  # of ncvsd
    assert np.allclose(curve, [wanted["ncvsd"], wanted["ncvsd:16"]], rtol=1e-3)
    half = entries[0].scores["lpips"].half
    for name, bar in zip(("ncvsd", "ncvsd:16"), bars, strict=True):
        x, y = wanted[name]
        assert np.allclose(sorted(bar), [(x, y - half), (x, y + half)], rtol=1e-3)
    assert [(look.name, look.colour, look.marker) for look in plot.legend] == [("ncvsd", "m0", 0), ("dps", "m1", 1)]
    assert f"ncvsd: LPIPS 0.150 ± {half:.3f}, 4 evaluations, 0.5 s" in drawing.markers()


@pytest.mark.parametrize(("lpips", "name"), [(0.22, "baseline (0.220)"), (0.5, "baseline (0.500, above the plot)")])
def test_a_method_without_evaluations_is_a_line_or_a_note(tmp_path, lpips, name):
    entries, looks = plotted(tmp_path, {"ncvsd": (4, 1.0, 0.2), "ncvsd:8": (8, 2.0, 0.2), "baseline": (0, 0.1, lpips)})
    plot = cost_plot(entries, looks, "evaluations", "cost", "here")
    assert [(look.name, look.colour) for look in plot.legend] == [("ncvsd", "m0"), (name, "mx")]
    heights = [y for line in Drawing(plot, log=True).lines("mx") for _, y in line]
    assert heights == pytest.approx([lpips] * 2 if "above" not in name else [], rel=1e-3)


def test_without_lpips_there_is_no_plot(tmp_path):
    write_rows(tmp_path, [row("a", "ncvsd", "1", lpips=None)])
    found = read_benchmark(tmp_path)
    assert cost_plot(found.tasks["a"], family_looks(found), "seconds", "cost", "here") is None


def test_the_calibration_plot_has_the_diagonal(tmp_path):
    found = read_benchmark(benchmark(tmp_path))
    plot = calibration_plot(found.tasks["sr4x"], family_looks(found), "here")
    drawing = Drawing(plot, log=False)
    ((start, end),) = drawing.lines("mx")
    assert [*start, end[1]] == pytest.approx([0, 0, end[0]], abs=1e-3)
    places = [place for title, place in drawing.markers().items() if title.startswith("ncvsd: ")]
    assert np.allclose(places, [(0.01 * k, 0.012 * k + 0.002) for k in range(1, 21)], atol=1e-4)
    assert [look.name for look in plot.legend] == ["calibrated", "ncvsd", "dps"]


def test_a_report_is_the_same_whatever_matplotlib_is_set_to_and_its_ids_are_unique(tmp_path):
    folder = benchmark(tmp_path)
    text = write_report(folder).read_text()
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        settings = dict(matplotlib.rcParams)
        assert write_report(folder).read_text() == text
        assert dict(matplotlib.rcParams) == settings
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 6
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {(i, "") for i in ids} | {("", i) for i in ids}
    assert "<metadata" not in text
