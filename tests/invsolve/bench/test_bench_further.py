"""Further measures of a benchmark: FID and those without reference, with stand-ins for networks that are downloaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from bench_cases import Bench, figures, make_bench

from invsolve.bench import runner
from invsolve.cli import main
from invsolve.images.files import read_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bench(tiny_prior, tmp_path_factory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"), tiny_prior, 4)


@pytest.fixture
def pyiqa(monkeypatch) -> None:
    """In its place, a package of one measure, the mean brightness of images in [0, 1]."""

    def create_metric(name: str, device: torch.device):
        if name == "absent":
            raise OSError("no\n connection")
        return lambda x: x.mean((1, 2, 3))

    package = SimpleNamespace(list_models=lambda metric_mode: ["brightness", "absent"], create_metric=create_metric)
    monkeypatch.setitem(sys.modules, "pyiqa", package)


def test_a_measure_without_reference_is_in_the_lines_and_the_tables(bench, pyiqa):
    out = bench("brightness", "--metrics", "brightness", "--methods", "baseline,ncvsd", "--tasks", "sr4x")
    rows = figures(out)
    entries = json.loads((out / "summary.json").read_text())["entries"]
    for method, entry in zip(("baseline", "ncvsd"), entries, strict=True):
        values = [rows["sr4x", method, f"{i:05d}"]["brightness"] for i in range(4)]
        assert entry["brightness"]["mean"] == pytest.approx(np.mean(values))
        picture = read_image(out / "pictures" / "sr4x" / "00000" / f"{method}.png")
        assert values[0] == pytest.approx(float((picture.mean() + 1) / 2), abs=0.003)  # 8 bits
    table = (out / "summary.md").read_text().splitlines()[-4:]
    assert table[0].split(" | ")[5:7] == ["LPIPS", "BRIGHTNESS"]
    assert main(["report", str(out), "--format", "csv"]) == 0
    assert "brightness_half" in (out / "summary.csv").read_text().splitlines()[0]


def test_a_run_with_a_measure_is_not_mixed_with_one_without(bench, pyiqa, capsys):
    bench("mixed", "--tasks", "sr4x", "--methods", "baseline", "--limit", 1)
    more = ("--tasks", "sr4x", "--methods", "baseline", "--limit", 1, "--metrics", "brightness")
    assert main(bench.arguments("mixed", *more)) == 2
    assert 'holds another run: its metrics was [] and now is ["brightness"]' in capsys.readouterr().err


class Moments(torch.nn.Module):
    """Three features of a picture in place of Inception's: the means of its colours."""

    num_features = 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.double().mean((2, 3))


def test_fid_is_the_distance_of_two_gaussians_of_features(bench, monkeypatch):
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^1/2), of the features of the written pictures."""
    fid = pytest.importorskip("torchmetrics.image.fid")
    measure = fid.FrechetInceptionDistance(feature=Moments()).set_dtype(torch.float64)
    monkeypatch.setattr(runner, "load_fid", lambda device: measure)
    out = bench("fid", "--metrics", "fid", "--tasks", "sr4x", "--methods", "baseline,ncvsd", "--pictures", 4)

    def gaussian(name: str) -> tuple[np.ndarray, np.ndarray]:
        files = sorted(out.glob(f"pictures/sr4x/*/{name}.png"))
        assert len(files) == 4
        features = np.stack([(read_image(file).double().mean((1, 2)).numpy() + 1) * 127.5 for file in files])
        return features.mean(0), np.cov(features, rowvar=False)

    (m1, s1), (m2, s2) = gaussian("truth"), gaussian("ncvsd")
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * np.trace(scipy.linalg.sqrtm(s1 @ s2)).real
    entry = json.loads((out / "summary.json").read_text())["entries"][1]
    assert (entry["method"], entry["fid"]) == ("ncvsd", pytest.approx(expected, rel=1e-3))
    assert " | FID | " in (out / "summary.md").read_text()
    assert "fid" not in figures(out)["sr4x", "ncvsd", "00000"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sharpness", "--metrics sharpness: is neither fid nor a measure of pyiqa's without reference"),
        ("absent", "--metrics absent: pyiqa cannot load it (no connection)"),
    ],
)
def test_a_measure_that_cannot_be_had_is_said_in_one_line(name, message, bench, pyiqa, capsys):
    assert main(bench.arguments("refused", "--metrics", name)) == 2
    assert capsys.readouterr().err == f"invsolve: error: {message}\n"
    assert not (bench.folder / "refused").exists()


def test_a_missing_package_is_named(bench, monkeypatch, capsys):
    for name, package, start in (
        ("niqe", "pyiqa", 'needs pyiqa, pip install "invsolve[metrics]"'),
        (
            "fid",
            "torchmetrics.image.fid",
            "needs torchmetrics with torch-fidelity and Inception's weights, pip",
        ),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        assert main(bench.arguments("refused", "--metrics", name)) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"invsolve: error: --metrics {name}: {start}")
        assert error.count("\n") == 1


def test_fid_asks_for_all_pictures(bench, monkeypatch, capsys):
    monkeypatch.setattr(runner, "load_fid", lambda device: object())
    assert main(bench.arguments("refused", "--metrics", "fid", "--pictures", 3)) == 2
    expected = "--metrics fid: is measured on the written pictures: add --pictures 4"
    assert capsys.readouterr().err == f"invsolve: error: {expected}\n"
    assert not Path(bench.folder / "refused").exists()
