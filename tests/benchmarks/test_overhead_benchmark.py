"""``benchmarks/overhead.py``: its figures on tiny images and a tiny prior, and the file that records them."""

from __future__ import annotations

import json

import pytest
from benchmark_scripts import load_script

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_it_prints_is_recorded(tiny_prior, tmp_path, monkeypatch, capsys):
    out = tmp_path / "overhead.json"
    arguments = ["--size", 32, "--batch", 2, "--repeat", 1, "--threads", 1, "--tasks", "sr4x", "denoise"]
    arguments += ["--prior", tiny_prior, "--out", out]
    monkeypatch.setattr("sys.argv", ["overhead.py", *map(str, arguments)])
    load_script("overhead").main()
    found, printed = json.loads(out.read_text()), capsys.readouterr().out
    assert {name: found[name] for name in ("size", "batch", "threads")} == {"size": 32, "batch": 2, "threads": 1}
    assert list(found["solve"]) == ["bare", "micro_batches", "sr4x", "denoise"]
    (wall, processor), *_ = found["solve"]["bare"].values()
    for task in ("sr4x", "denoise"):
        times = found["solve"][task]["seconds"]
        ratios = f"{times[0] / wall:.2f} ({times[1] / processor:.2f})"  # of one round
        assert f"| {task} | {times[0]:.3g} ({times[1]:.3g}) | {ratios} |" in printed
    exact, langevin = (found["likelihood"][way] for way in ("exact sample", "100 Langevin steps"))
    assert f"| {exact['spread']:.3f} |\n" in printed
    assert abs(exact["spread"] - 1) < 0.18  # 5 standard errors of 2 x 3 x 8 x 8 normals: 5 / sqrt(2 * 384) = 0.18
    assert exact["seconds"][0] < langevin["seconds"][0]
