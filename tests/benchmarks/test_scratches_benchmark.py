"""``benchmarks/scratches.py``: scratches of 5 %, figures of what is known, and the slow one of its claims."""

from __future__ import annotations

import re

import numpy as np
import pytest
from benchmark_scripts import load_script
from cli_pictures import picture

scratches = load_script("scratches")


def test_scratches_cover_five_percent_thinly():
    missing = scratches.scratches(120, 160, np.random.default_rng(0))
    assert 0.05 <= missing.mean() < 0.08
    assert scratches.distance_transform_edt(missing).max() <= 4


def test_figures_of_a_known_change():
    truth = np.full((64, 80, 3), 100, np.uint8)
    missing = np.zeros((64, 80), bool)
    missing[30:34, 10:14] = True
    restored = truth.copy()
    restored[missing] = 110
    restored[0, 79] = 99

    def distances(x, y):  # of the first channel, in gray levels
        return (x - y).abs()[:, :1] * 127.5

    near, error, changed = scratches.figures(restored, truth, missing, distances)
    assert (error, changed) == (10, 1)
    rows, columns = np.mgrid[:64, :80]
    distance = np.hypot(np.maximum(30 - rows, rows - 33).clip(0), np.maximum(10 - columns, columns - 13).clip(0))
    assert near == pytest.approx(10 * 16 / (distance <= 16).sum())


@pytest.mark.slow
def test_scratches_are_filled_better_than_by_interpolation(lpips_trunk, tmp_path, monkeypatch, capsys):
    for k in range(3):
        picture(tmp_path / f"{k}.png", 160, 160, offset=100 * k)
    monkeypatch.setattr("sys.argv", ["scratches.py", "--data", str(tmp_path), "--images", "3"])
    scratches.main()
    rows = dict(re.findall(r"\| (.+?) \| (0\.\d+) \|.*\| 0 \|", capsys.readouterr().out))
    assert float(rows["invsolve"]) < min(float(value) for name, value in rows.items() if name != "invsolve")
