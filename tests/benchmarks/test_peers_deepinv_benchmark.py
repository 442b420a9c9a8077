"""``benchmarks/peers_deepinv.py``: with a denoiser in closed form, our peers and deepinv's restore about as well."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from bench_cases import write_denoiser, write_pictures
from benchmark_scripts import load_script

from invsolve.priors.denoiser import as_levels
from invsolve.runtime.optional import import_optional

try:
    deepinv = import_optional("deepinv")
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = 32


class Wiener(torch.nn.Module):
    """The posterior mean under a Gaussian prior, stationary on the torus, with the spectrum of photographs."""

    def __init__(self):
        super().__init__()
        frequency = torch.hypot(torch.fft.fftfreq(SIZE)[:, None], torch.fft.rfftfreq(SIZE))
        power = (3e-4 + frequency**2) ** -1.5
        self.register_buffer("power", power * 0.25 / power.mean())

    def forward(self, u: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        gain = self.power / (self.power + as_levels(sigma, u)[:, None, None, None] ** 2)
        return torch.fft.irfft2(gain * torch.fft.rfft2(u), s=u.shape[-2:])


@pytest.fixture
def script(monkeypatch):
    script = load_script("peers_deepinv")
    monkeypatch.setattr(script, "load_lpips", lambda *_: lambda a, b: (a - b).abs().mean((1, 2, 3)).tolist())
    monkeypatch.setattr(script, "load_prior", lambda *_, **__: SimpleNamespace(denoiser=Wiener()))
    return script


def test_both_restore_about_as_well(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "TASKS", {"ddrm": ("denoise",), "diffpir": ("denoise",), "dps": ("denoise",)})
    prior = write_denoiser(tmp_path / "denoiser.safetensors")  # for the levels that it knows alone
    arguments = ["--data", write_pictures(tmp_path / "pictures", 1), "--images", 1, "--crop", SIZE, "--prior", prior]
    arguments += ["--dps-steps", 60, "--out", tmp_path / "table.md"]
    monkeypatch.setattr("sys.argv", ["peers_deepinv.py", *map(str, arguments)])
    script.main()
    table = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text() == table
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["ddrm", "denoise"], ["diffpir", "denoise"], ["dps", "denoise"]]
    for peer, _, *both in rows:
        ours, theirs = (float(figures.split(" / ")[0]) for figures in both)
        assert ours > 24, peer  # decibels; the prior's mean, gray, has about 5
        assert abs(ours - theirs) < 5, peer


def test_a_crop_that_does_not_fit_is_refused(script, tmp_path, monkeypatch, capsys):
    prior = write_denoiser(tmp_path / "denoiser.safetensors")
    arguments = ["--data", write_pictures(tmp_path / "pictures", 1), "--prior", prior]
    monkeypatch.setattr("sys.argv", ["peers_deepinv.py", *map(str, arguments), "--crop", "64"])
    with pytest.raises(SystemExit):
        script.main()
    assert "error: a crop of 64 pixels does not fit into pictures of 32x32 pixels\n" in capsys.readouterr().err


@pytest.mark.parametrize("sigma", [0.5, 5.0, 22.2, 150.0])
def test_the_time_of_a_level(sigma, script):
    """Against deepinv's own schedule, on which a picture of these pixels is in [-1, 1]."""
    diffusion = deepinv.sampling.VariancePreservingDiffusion()
    assert math.isclose(float(diffusion.sigma_t(torch.tensor(script.time_of(sigma)).double())), sigma, rel_tol=1e-5)
    assert script.time_of(1000.0) == 1.0
