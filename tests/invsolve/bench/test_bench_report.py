"""The report's page: its figures, what is marked best, escaping, pictures, and directories that are not finished."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from PIL import Image
from report_cases import METHODS, SIDE, TASKS, benchmark, picture, row, write_rows

from invsolve.bench.report.page import write_report
from invsolve.bench.report.pictures import BIG, load_picture
from invsolve.bench.statistics import behind, best, chance, mean_interval, pool_calibration, read_benchmark
from invsolve.cli import main

VOID = {"meta", "img", "input", "wbr"}


class Page(HTMLParser):
    """The tags with their attributes, and the text directly in each; an error where tags do not nest."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self._texts: list[tuple[str, list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self._texts.append((tag, []))
            self._open.append(self._texts[-1])

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][1].append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text_of(self, tag: str) -> list[str]:
        return ["".join(pieces) for name, pieces in self._texts if name == tag]

    def cells(self, of_class: str = "") -> list[float]:
        """The values of the tables' cells, or of those of a class."""
        cells = [cell for cell in self.all("td") if "data-value" in cell]
        return [float(c["data-value"]) for c in cells if not of_class or of_class in c.get("class", "").split()]


def test_an_interval_needs_two_values_and_a_mean_one():
    assert (mean_interval([3.0]).value, mean_interval([3.0]).half, mean_interval([])) == (3, None, None)


def test_calibration_is_pooled_over_images_as_root_mean_squares():
    pooled = pool_calibration([[[0.3, 0.1], [0.5, 0.7]], [[0.4, 0.2], [0.5, 0.1]]])
    assert np.allclose(pooled, [[math.sqrt(0.125), math.sqrt(0.025)], [0.5, 0.5]], rtol=1e-12)


def test_results_are_grouped_in_the_order_of_the_run(tmp_path):
    rows = [row(t, m, i, lpips=v) for t, m, i, v in [("b", "y", "1", 0.4), ("a", "y", "1", 0.1), ("b", "x", "1", 0.3)]]
    write_rows(tmp_path, [*rows, row("b", "y", "2", lpips=0.6), row("b", "x", "1", lpips=0.2)])
    (tmp_path / "run.json").write_text(json.dumps({"tasks": ["a", "b", "c"], "options": {"methods": ["x", "y"]}}))
    found = read_benchmark(tmp_path)
    assert (list(found.tasks), found.methods) == (["a", "b"], ("x", "y"))
    values = {entry.method: entry.scores["lpips"].value for entry in found.tasks["b"]}
    assert values == {"x": 0.2, "y": pytest.approx(0.5)}  # of x the second line counts


def test_an_unfinished_directory_is_read(tmp_path):
    """Files of several processes, one with half a line at its end."""
    write_rows(tmp_path, [row("a", "x", "1")], "results.rank0.jsonl")
    write_rows(tmp_path, [row("a", "x", "2"), row("a", "y", "1", lpips=None)], "results.rank1.jsonl")
    with open(tmp_path / "results.rank1.jsonl", "a") as file:
        file.write('{"task": "a", "meth')
    page = Page(write_report(tmp_path))
    assert "2 pictures, 1 task, 2 methods. Unfinished: 3 of 4 results." in page.text_of("p")
    assert "1 of 2 pictures" in page.text_of("span")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task": "a"', "expected an object with task, method and image"),
        ('{"task": "a", "image": "1"}', "expected an object with task, method and image"),
        ("3", "expected an object with task, method and image"),
        (row("a", "x", "2", lpips="0.1"), "lpips is '0.1' but must be a number or null"),
        (row("a", "x", "2", evaluations=[4]), "evaluations is [4] but must be a number or null"),
        (row("a", "x", "2", index=True), "index is True but must be a number or null"),
        (row("a", "x", "2", calibration=[[0.1]]), "calibration must be a list of pairs of numbers"),
        (row("a", "x", "2", calibration=[[0.1, None]]), "calibration must be a list of pairs of numbers"),
        (row("a", "x", "2", calibration=1), "calibration must be a list of pairs of numbers"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    text = line if isinstance(line, str) else json.dumps(line)
    (tmp_path / "results.jsonl").write_text(json.dumps(row("a", "x", "1")) + f"\n{text}\n")
    with pytest.raises(ValueError, match=rf"results\.jsonl, line 2: {re.escape(message)}"):
        write_report(tmp_path)


def test_the_best_has_every_picture_and_keeps_to_the_budget(tmp_path):
    figures = {"many": (1000, 0.10, 27.0), "few": (20, 0.12, 26.0), "fewer": (4, 0.14, 25.0)}
    rows = [
        row("a", name, image, evaluations=evaluations, lpips=lpips, psnr=psnr)
        for name, (evaluations, lpips, psnr) in figures.items()
        for image in "12"
    ]
    write_rows(tmp_path, [*rows, row("a", "partial", "1", lpips=0.01, psnr=40.0)])
    entries = read_benchmark(tmp_path).tasks["a"]
    assert [best(entries, metric) for metric in ("lpips", "psnr")] == ["many", "many"]
    assert [best(entries, "lpips", budget) for budget in (20, 19, 3)] == ["few", None, None]


def test_differences_are_paired_over_the_pictures(tmp_path):
    """Scores that vary by far more than they differ; the intervals are those of scipy's paired t-test."""
    generator = np.random.default_rng(0)
    hard = generator.uniform(0.1, 0.9, 12)
    scores = {"first": hard, "level": hard + generator.normal(0.004, 0.01, 12), "last": hard + 0.02 + hard * 0.001}
    rows = [row("a", m, str(i), evaluations=4, lpips=v) for m, found in scores.items() for i, v in enumerate(found)]
    rows += [row("a", "many", "3", evaluations=100, lpips=0.001), row("a", "none", "0", lpips=None)]
    write_rows(tmp_path, rows)
    entries = read_benchmark(tmp_path).tasks["a"]
    found = behind(entries, "lpips", 20)
    assert list(found) == ["level", "last"]
    for name, mean in found.items():
        low, high = scipy.stats.ttest_rel(scores[name], hard).confidence_interval(0.95)
        assert (mean.value - mean.half, mean.value + mean.half) == (pytest.approx(low), pytest.approx(high))
    assert [chance(mean) for mean in found.values()] == [True, False]
    assert found["last"].half < 0.01 < mean_interval(scores["last"]).half
    many = behind(entries, "lpips")["many"]
    assert (many, chance(many)) == (mean_interval([0.001 - hard[3]]), False)
    assert behind(entries, "lpips", 3) == {}
    level = Page(write_report(tmp_path)).cells("level")  # in the overview and its task's table
    assert level.count(pytest.approx(scores["level"].mean())) == 2
    assert pytest.approx(scores["last"].mean()) not in level


def test_the_page_shows_every_figure(tmp_path):
    page = Page(write_report(benchmark(tmp_path)))
    for t in range(len(TASKS)):
        for evaluations, seconds, lpips in METHODS.values():
            mean = lpips + 0.005 + 0.001 * t
            for value in (evaluations, seconds, mean):
                assert pytest.approx(value, abs=1e-12) in page.cells()
            assert f"{mean:.3f}" in page.text_of("span")
    half = scipy.stats.t.ppf(0.975, 1) * 0.01 / math.sqrt(2) / math.sqrt(2)
    assert page.text_of("span").count(f"±{half:.3f}") == len(TASKS) * len(METHODS)
    lowest = [0.145, 0.145, 0.146, 0.146]  # ncvsd:16, in the overview and its task's table
    assert sorted(value for value in page.cells("best") if value < 0.5) == pytest.approx(lowest)


def test_the_page_loads_nothing_and_shows_every_picture(tmp_path):
    page = Page(write_report(benchmark(tmp_path)))
    links = ("src", "href", "srcset", "xlink:href")
    addresses = [value for _, attributes in page.tags for key, value in attributes.items() if key in links]
    assert {address.split(":")[0] for address in addresses if not address.startswith("#")} == {"data"}
    images = [attributes for attributes in page.all("img") if attributes["alt"]]
    per_image = 2 + len(METHODS) + 2  # truth, measurement, methods, two deviation maps
    assert len(images) == len(TASKS) * 2 * per_image
    assert {(attributes["width"], attributes["height"]) for attributes in images} == {(str(SIDE), str(SIDE))}
    coarse = [attributes["alt"] for attributes in images if attributes.get("class") == "coarse"]
    assert coarse == [f"Measurement: picture {name}, sr4x" for name in ("00000", "00001")]


def test_a_tile_tells_the_figures_of_its_image(tmp_path):
    images = ("face.v2", "face.v3")
    page = Page(write_report(benchmark(tmp_path, ["denoise"], {"dps": (1000, 600.0, 0.16)}, images)))
    assert [text for text in page.text_of("span") if " dB" in text] == ["LPIPS 0.160, 25.0 dB", "LPIPS 0.170, 25.0 dB"]


def test_every_name_is_escaped(tmp_path):
    task, method, image, data = "<i>task&amp;", "<b>\"m'$\\frac", "<u>0", "</pre><script>alert(1)</script>"
    folder = benchmark(tmp_path, [task], {method: (4, 1.0, 0.2), "ncvsd": (4, 1.0, 0.2)}, [image])
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"data": data}))
    page = Page(write_report(folder))
    assert not {name for name, _ in page.tags} & {"i", "b", "u"}
    assert len(page.all("script")) == 1
    assert task in page.text_of("h2")
    assert method in page.text_of("span")
    assert method in page.text_of("li")  # the legend of a plot
    assert f"{method}: LPIPS 0.200, 4 evaluations, 1 s" in page.text_of("title")  # what a pointer over its marker tells
    assert f"{method}: picture {image}, {task}" in {attributes.get("alt") for attributes in page.all("img")}
    assert {attributes.get("data-picture") for attributes in page.all("div")} >= {image}
    assert data in page.text_of("dd")


def test_small_pictures_are_kept_and_big_ones_reencoded(tmp_path):
    small, big = tmp_path / "small.png", tmp_path / "big.png"
    picture(small, 0)
    picture(big, 1, 512)
    assert small.stat().st_size < BIG < big.stat().st_size
    uri = load_picture(small).uri
    assert base64.b64decode(uri.removeprefix("data:image/png;base64,")) == small.read_bytes()
    shown = load_picture(big)
    data = base64.b64decode(shown.uri.removeprefix("data:image/webp;base64,"))
    assert (shown.width, shown.height) == (512, 512)
    assert len(data) < big.stat().st_size
    pixels = [np.asarray(Image.open(source).convert("RGB"), float) for source in (big, io.BytesIO(data))]
    assert 10 * math.log10(255**2 / np.mean((pixels[0] - pixels[1]) ** 2)) > 38


def test_a_broken_picture_is_named_and_the_old_report_stays(tmp_path):
    folder = benchmark(tmp_path, TASKS[:1])
    before = write_report(folder).read_bytes()
    (folder / "pictures" / "sr4x" / "00001" / "ncvsd.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"00001/ncvsd\.png is not a picture"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_the_command_writes_the_report(tmp_path, capsys):
    write_rows(tmp_path, [row("a", "x", "1")])
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").read_text().startswith('<!doctype html>\n<html lang="en">')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", " is not the record of a benchmark: expected an object, found []"),
        (b'{"tasks": ', " is not the record of a benchmark: Expecting value: line 1 column 11 (char 10)"),
        (b'"\xff"', " is not the record of a benchmark: 'utf-8' codec can't decode byte 0xff in position 1: "),
        (b'{"tasks": 7}', ": its tasks are 7 but must be a list of names"),
        (b'{"options": {"methods": [["x"]]}}', ": its methods are [['x']] but must be a list of names"),
        (b'{"images": [3]}', ": its images are [3] but must be an object with an integer count"),
        (b'{"images": {"count": "3"}}', ": its images are {'count': '3'} but must be an object with an integer count"),
        (None, " has no lines in a results.jsonl: expected the --out of invsolve bench"),
    ],
)
def test_the_command_refuses_a_broken_directory_by_name(tmp_path, content, message, capsys):
    path = tmp_path
    if content is not None:
        path = tmp_path / "run.json"
        path.write_bytes(content)
        write_rows(tmp_path, [row("a", "x", "1")])
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"invsolve: error: {path}{message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
