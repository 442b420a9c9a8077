"""``benchmarks/spread.py``: a row for each prior and folder, of figures that do not depend on the other rows."""

from __future__ import annotations

import sys

import numpy as np
import torch
from benchmark_scripts import load_script
from PIL import Image

from invsolve.data.training_set import HeldOut
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import resolve


def test_its_table(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC).save(tmp_path / name / f"{i}.png")
    how = ["--data", str(tmp_path / "a"), str(tmp_path / "b"), "--priors", "default", "sampler"]
    how += ["--images", "2", "--size", "32", "--samples", "3"]
    monkeypatch.setattr(sys, "argv", ["spread.py", *how])
    load_script("spread").main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[:2] for row in rows[1:]] == [[prior, name] for name in "ab" for prior in ("default", "sampler")]
    assert rows[1][2:] == rows[2][2:] == rows[3][2:]  # default samples by sampler's network, and the pictures are alike
    spread, relative, outside = ([float(value) for value in cell.split()] for cell in rows[1][2:])
    assert all(0.3 < value < 2 for value in spread + relative)
    assert all(0 <= value <= 1 for value in outside)


def test_the_teachers_error_is_that_of_its_posterior_mean():
    """Of flat pictures, which it knows best, far below the noise."""
    found = load_script("spread").teachers_errors(
        load_denoiser(resolve("teacher"))[0], HeldOut(torch.zeros(1, 3, 32, 32))
    )
    assert all(0 < error < 0.3 * level for error, level in zip(found, (0.1, 0.3, 1.0, 3.0), strict=True))
