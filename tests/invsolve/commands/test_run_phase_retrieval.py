"""`invsolve run phase_retrieval`: simulated, for what it measures is no picture."""

from __future__ import annotations

import json

import numpy as np
from cli_pictures import picture
from PIL import Image

from invsolve.cli import main


def command(tiny_prior, source, out, *options) -> int:
    arguments = ["run", "phase_retrieval", "--input", source, "--output", out, "--prior", tiny_prior, "--steps", 1]
    return main([str(argument) for argument in (*arguments, "--device", "cpu", *options)])


def test_a_simulation_shows_the_magnitudes_with_frequency_0_in_the_middle(tiny_prior, tmp_path, monkeypatch):
    monkeypatch.setattr("operators.fienup.INPUT_OUTPUT", 2)
    source = picture(tmp_path / "a.png", 32, 48)
    assert command(tiny_prior, source, tmp_path / "out", "--simulate") == 0
    with Image.open(tmp_path / "out" / "a_measurement.png") as seen:
        assert seen.size == (72, 48)
        shown = np.asarray(seen).astype(int)
    assert shown[24, 36].max() == shown.max() == 255
    assert shown[:4, :4].mean() < 128
    assert Image.open(tmp_path / "out" / "a_restored.png").size == (48, 32)
    assert json.loads((tmp_path / "out" / "a_metrics.json").read_text())["task"] == "phase_retrieval"


def test_a_picture_is_no_measurement(tiny_prior, tmp_path, capsys):
    source = picture(tmp_path / "a.png", 32, 48)
    assert command(tiny_prior, source, tmp_path / "out") != 0
    error = capsys.readouterr().err
    assert "a.png: phase_retrieval does not measure pictures: it can be simulated alone (--simulate)" in error
    assert not (tmp_path / "out" / "a_restored.png").exists()
