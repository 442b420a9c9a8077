"""Metrics against their definitions, written out here a second time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from invsolve.images import metrics
from invsolve.images.files import read_image


def noisy_pairs(side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    truth = torch.stack(
        [read_image("skimage:astronaut"), read_image("skimage:coffee")[:, :400, :512].repeat(1, 2, 1)[:, :512]]
    )
    truth = truth[:, :, 100 : 100 + side, 150 : 150 + side].contiguous()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    return truth + 0.1 * noise, truth


def test_psnr_is_that_of_clipped_images():
    x, truth = noisy_pairs()
    wanted = [
        10 * math.log10(4 / (a.double().clamp(-1, 1) - b.double()).square().mean())
        for a, b in zip(x, truth, strict=True)
    ]
    assert metrics.psnr(x, truth) == pytest.approx(wanted, abs=1e-9)
    assert metrics.psnr(truth, truth) == [None, None]


def test_ssim_is_that_of_wang_et_al():
    x, truth = noisy_pairs()
    taps = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64) / 1.5) ** 2)
    window = torch.outer(taps / taps.sum(), taps / taps.sum())[None, None]

    def blur(values: torch.Tensor) -> torch.Tensor:
        return conv2d(values[:, None], window)

    wanted = []
    for a, b in zip(x.double().clamp(-1, 1), truth.double(), strict=True):
        mean_a, mean_b = blur(a), blur(b)
        var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
        c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
        index = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        wanted.append(index.mean().item())
    assert metrics.ssim(x, truth) == pytest.approx(wanted, abs=1e-6)
    assert metrics.ssim(x[..., :10], truth[..., :10]) == [None, None]


def literal_lpips(a: torch.Tensor, b: torch.Tensor, trunk: dict, linear: dict) -> float:
    """LPIPS from the paper: unit-normalised AlexNet features, squared differences, weighted, averaged, summed."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1)
    layers = [(0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False)]
    total, features = 0.0, [(a[None] - shift) / scale, (b[None] - shift) / scale]
    for level, (number, stride, padding, pool) in enumerate(layers):
        weight, bias = trunk[f"features.{number}.weight"], trunk[f"features.{number}.bias"]
        features = [max_pool2d(f, 3, 2) if pool else f for f in features]
        features = [conv2d(f, weight, bias, stride, padding).relu() for f in features]
        one, two = (f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in features)
        total += ((one - two).square() * linear[f"lin{level}.model.1.weight"]).sum(1).mean().item()
    return total


def test_lpips_is_that_of_the_paper(lpips_trunk):
    from safetensors.torch import load_file

    x, truth = noisy_pairs()
    found = metrics.load_lpips(lpips_trunk)(x, truth)
    import lpips

    linear = torch.load(Path(lpips.__file__).parent / "weights/v0.1/alex.pth", "cpu", weights_only=True)
    trunk = load_file(lpips_trunk)
    wanted = [literal_lpips(a.clamp(-1, 1), b, trunk, linear) for a, b in zip(x, truth, strict=True)]
    assert found == pytest.approx(wanted, rel=1e-4)
    assert min(found) > 0.01


def test_lpips_trunk_from_a_state_dict_and_from_the_environment(lpips_trunk, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    x, truth = noisy_pairs()
    wanted = metrics.load_lpips(lpips_trunk)(x, truth)
    torch.save(load_file(lpips_trunk), tmp_path / "alexnet.pth")
    monkeypatch.setenv(metrics.TRUNK_VARIABLE, str(tmp_path / "alexnet.pth"))
    assert metrics.load_lpips()(x, truth) == wanted
    assert metrics.load_lpips(lpips_trunk)(x[..., :20, :20], truth[..., :20, :20]) == [None, None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.pth", None, "no such file"),
        ("a.safetensors", b"nothing of the sort", "cannot be read"),
        ("a.pth", b"nothing of the sort", "cannot be read"),
        ("foreign.pth", {"layer.weight": torch.zeros(3)}, "not AlexNet"),
        ("narrow.pth", {"features.0.weight": torch.zeros(64, 3, 7, 7)}, "not AlexNet"),
        ("list.pth", [1, 2], "expected a state dict"),
        ("object.pth", {"features.0.weight": Path("a")}, "not tensors alone"),
    ],
)
def test_a_wrong_trunk_is_refused(tmp_path, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match=rf"LPIPS trunk .*{name}: .*{message}"):
        metrics.load_lpips(tmp_path / name)


@pytest.mark.parametrize("variable", [None, ""], ids=["unset", "empty"])
def test_without_trunk_or_network_lpips_is_unavailable(variable, monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.delenv(metrics.TRUNK_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(metrics.TRUNK_VARIABLE, variable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.OpenerDirector.open", no_network)
    with pytest.raises(metrics.LpipsUnavailableError, match=r"Name or service not known.*--lpips-trunk"):
        metrics.load_lpips()
