"""The scripts that tune settings evaluate the network in the precision they say, on any device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from benchmark_scripts import load_script

from invsolve.checkpoint import load_prior


def run(script, monkeypatch, *arguments: str | Path) -> list[str | None]:
    """The precisions in which the script asks for a prior; LPIPS is replaced by the mean absolute error."""
    asked = []

    def spy(name, device, inference=None):
        asked.append(inference and inference.precision)
        return load_prior(name, device, inference)

    monkeypatch.setattr(script, "load_prior", spy)
    monkeypatch.setattr(script, "load_lpips", lambda *_: lambda a, b: (a - b).abs().mean((1, 2, 3)).tolist())
    monkeypatch.setattr("sys.argv", ["script", "--device", "cpu", *map(str, arguments)])
    script.main()
    return asked


def test_peers_are_tuned_in_the_precision_asked_for(teacher, pictures, tmp_path, monkeypatch):
    script = load_script("tune_peers")
    monkeypatch.setattr(script, "GRIDS", [("ddrm", 3, {"sigma_max": 20.0}, {"eta": (0.85,)})])
    common = ("--data", pictures, "--prior", teacher, "--crop", 16, "--tasks", "sr4x")
    figures = {}
    for precision, option in (("fp32", ()), ("bf16", ("--bf16",))):
        out = tmp_path / precision
        assert run(script, monkeypatch, *common, *option, "--out", out) == [precision]
        figures[precision] = json.loads(out.read_text())["psnr"]
    assert 0 < abs(figures["bf16"] - figures["fp32"]) < 0.1  # decibels


def test_tasks_are_tuned_in_float32_unless_asked_otherwise(tiny_prior, pictures, monkeypatch, capsys):
    script = load_script("tune_tasks")
    common = ("--data", pictures, "--prior", tiny_prior, "--images", 2, "--tasks", "denoise", "--minutes", 0)
    assert run(script, monkeypatch, *common) == ["fp32"]
    assert run(script, monkeypatch, *common, "--precision", "bf16") == ["bf16"]
    losses = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines() if " with " in line]
    assert torch.tensor(losses).isfinite().all()
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("crop", [22, -8])
def test_a_crop_that_does_not_fit_is_refused(crop, pictures, tiny_prior, monkeypatch, capsys):
    common = ("--data", pictures, "--prior", tiny_prior, "--tasks", "denoise", "--minutes", 0)
    with pytest.raises(SystemExit):
        run(load_script("tune_tasks"), monkeypatch, *common, f"--crop={crop}")
    assert f"error: --crop {crop} does not fit into the pictures of 20x24 pixels\n" in capsys.readouterr().err
