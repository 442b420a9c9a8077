"""``benchmarks/prior_gpu.py``: what it packs, and that it trains with few packages and brings whole weights back."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import FOLDER, load_script
from PIL import Image

from invsolve.data.sources import Source
from invsolve.priors.file import load_denoiser

# What the machine may lack: an import of one fails.
BLOCKED = """
import importlib.abc, runpy, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"lpips", "torchvision", "huggingface_hub", "matplotlib", "jinja2", "tensorboard"}:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Blocker())
script, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture
def job():
    return load_script("prior_gpu")


def write_jpegs(folder: Path, count: int, suffix: str = ".jpg") -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}{suffix}", quality=90)
    return folder


def packed(parts: Path, domain: str) -> dict[str, bytes]:
    found = {}
    for path in parts.glob(f"{domain}-*.zip"):
        with zipfile.ZipFile(path) as archive:
            found |= {name: archive.read(name) for name in archive.namelist()}
    return found


def test_packing_leaves_the_last_pictures_out_and_files_as_they_are(job, tmp_path, monkeypatch):
    """In files no larger than is allowed; what is lossless becomes JPEG."""
    monkeypatch.setattr(job, "PART", 6000)
    faces, photos, more = (
        write_jpegs(tmp_path / name, 9, s) for name, s in (("f", ".jpg"), ("p", ".jpg"), ("m", ".png"))
    )
    given = ["--faces", f"{faces}:2", "--photos", str(photos), f"{more}:4"]
    job.main(["pack", *given, "--out", str(tmp_path / "parts")])
    found = packed(tmp_path / "parts", "faces")
    assert found == {f"0-{i:02d}.jpg": (faces / f"{i:02d}.jpg").read_bytes() for i in range(7)}
    found = packed(tmp_path / "parts", "photos")
    assert sorted(found) == sorted([*(f"0-{i:02d}.jpg" for i in range(9)), *(f"1-{i:02d}.jpg" for i in range(5))])
    assert Image.open(io.BytesIO(found["1-03.jpg"])).format == "JPEG"
    files = list((tmp_path / "parts").glob("*.zip"))
    assert len(files) > 4
    assert all(path.stat().st_size <= 6000 for path in files)
    assert load_denoiser(tmp_path / "parts" / "default.safetensors")[1]["kind"] == "generative denoiser"
    shares = [entry.rpartition(":") for entry in job.weighted(tmp_path / "parts")]
    assert sum(float(weight) for path, _, weight in shares if "faces" in path) == pytest.approx(1, abs=1e-5)
    for path, _, weight in shares:
        domain = Path(path).name.partition("-")[0]
        assert float(weight) == pytest.approx(
            len(Source(Path(path)).names) / len(packed(tmp_path / "parts", domain)), abs=1e-6
        )


def test_too_many_pictures_are_thinned_evenly(job, tmp_path):
    faces, photos = write_jpegs(tmp_path / "f", 4), write_jpegs(tmp_path / "p", 12)
    half = sum(path.stat().st_size for path in tmp_path.rglob("*.jpg")) / 2e6
    given = ["--faces", str(faces), "--photos", str(photos), "--megabytes", str(half * 1.001)]
    job.main(["pack", *given, "--out", str(tmp_path / "parts")])
    assert sorted(packed(tmp_path / "parts", "faces")) == ["0-01.jpg", "0-03.jpg"]
    assert sorted(packed(tmp_path / "parts", "photos")) == [f"0-{i:02d}.jpg" for i in range(1, 12, 2)]


@pytest.mark.slow
def test_it_trains_without_the_packages_that_may_be_missing(job, generator, pictures, tmp_path):
    """And without an installed invsolve; the pieces that it leaves make a prior's file."""
    job.main(["pack", "--faces", str(pictures), "--photos", str(pictures), "--out", str(tmp_path / "parts")])
    words = ["train", "sampler", "--parts", "parts", "--weights", generator, "--work", "work", "--out", "out"]
    words += ["--minutes", "1", "--device", "cpu", "--tiny"]
    how = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(FOLDER.parent), "OMP_NUM_THREADS": "1"}}
    command = [sys.executable, "-c", BLOCKED, FOLDER / "prior_gpu.py", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False, **how)
    assert done.returncode == 0, done.stderr
    pieces = sorted((tmp_path / "out").glob("sampler.safetensors.*"))
    (joined := tmp_path / "joined.safetensors").write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    assert load_denoiser(joined)[1]["record"]["continues"] == load_denoiser(generator)[1]["record"]
    lines = json.loads((tmp_path / "out" / "sampler.json").read_text())
    assert [line["step"] for line in lines if "score" in line] == [3, 6]


@pytest.mark.slow
def test_the_rehearsal(job, shared, tmp_path, capsys):
    folders = [shared / "data" / name for name in ("ffhq256/train", "photos")]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip("the pictures do not lie beside the repository")
    job.main(["rehearse", "--faces", str(folders[0]), "--photos", str(folders[1]), "--out", str(tmp_path)])
    *_, last = capsys.readouterr().out.strip().splitlines()
    assert float(last.split()[-2]) > 24
    assert all(piece.stat().st_size <= 16 * 2**20 for piece in (tmp_path / "out").iterdir())
    for stage, figure in (("sampler", "spread_0.3"), ("default", "distance_0.5")):
        figures = json.loads((tmp_path / "out" / f"{stage}.json").read_text())[-1]["validation"]
        assert {figure, f"photos-0/{figure}"} <= figures.keys()
