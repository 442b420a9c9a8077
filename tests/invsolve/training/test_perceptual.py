"""The perceptual distance: its equation, its gradient, and what it makes of blur and noise."""

from __future__ import annotations

import pytest
import torch
from skimage import data

from invsolve.data.crops import to_unit
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import resolve
from invsolve.training.perceptual import perceptual_distance
from operators import GaussianBlur

LEVEL = 0.02
CPU = torch.device("cpu")


def normals(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(UNet(UNetConfig(widths=(8, 16), blocks=(1, 1), haar=1))).requires_grad_(False)


def literal(denoiser: Denoiser, x: torch.Tensor, y: torch.Tensor, noise: torch.Tensor) -> float:
    """The distance of one image written out, with the features caught at the blocks of the encoder."""
    caught: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _, __, out: caught.append(out)) for block in denoiser.network.encoder.blocks
    ]
    for image in (x, y):
        denoiser((image + LEVEL * noise)[None], LEVEL)
    for hook in hooks:
        hook.remove()
    half, total = len(caught) // 2, 0.0
    for a, b in zip(caught[:half], caught[half:], strict=True):
        channels, height, width = a.shape[1:]
        for i in range(height):
            for j in range(width):
                p, q = a[0, :, i, j], b[0, :, i, j]
                p, q = (v * channels**0.5 / (v.norm() ** 2 + channels * 1e-6) ** 0.5 for v in (p, q))
                total += ((p - q).norm() ** 2 / (channels * height * width)).item()
    return total / half


def test_it_is_the_written_out_difference_of_unit_features(denoiser):
    x, y, noise = normals(2, 3, 16, 16), normals(2, 3, 16, 16, seed=1), normals(2, 3, 16, 16, seed=2)
    found = perceptual_distance(denoiser, x, y, LEVEL, noise)
    assert found.shape == (2,)
    for i in range(2):
        assert found[i].item() == pytest.approx(literal(denoiser, x[i], y[i], noise[i]), rel=1e-4)
    assert perceptual_distance(denoiser, x, x, LEVEL, noise).max() == 0


def test_its_gradient_is_that_of_finite_differences(denoiser):
    denoiser = denoiser.double()
    x, y, noise, direction = (normals(1, 3, 16, 16, seed=seed).double() for seed in range(4))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(perceptual_distance(denoiser, x, y, LEVEL, noise).sum(), x)
    with torch.no_grad():
        ends = [perceptual_distance(denoiser, x + h * direction, y, LEVEL, noise).item() for h in (1e-5, -1e-5)]
    assert (gradient * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_the_teacher_minds_blur_more_than_as_much_noise():
    """Of two pictures equally far from the truth by squared error, people and LPIPS prefer the sharp, grainy one."""
    teacher = load_denoiser(resolve("teacher"))[0]
    truth = to_unit(torch.from_numpy(data.astronaut()[40:168, 160:288].copy()), CPU).permute(2, 0, 1)[None]
    blurred = GaussianBlur((3, 128, 128), size=13, std=2.0, boundary="reflect")(truth)
    noise = normals(1, 3, 128, 128)
    grainy = truth + (blurred - truth).square().mean().sqrt() * normals(1, 3, 128, 128, seed=1)
    far, near = (perceptual_distance(teacher, x, truth, LEVEL, noise).item() for x in (blurred, grainy))
    errors = [(x - truth).square().mean().item() for x in (blurred, grainy)]
    assert errors[1] == pytest.approx(errors[0], rel=0.05)
    assert far > near
