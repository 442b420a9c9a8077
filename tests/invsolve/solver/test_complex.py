"""`solve` and `posterior` of complex measurements, such as those of magnetic resonance imaging."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from invsolve import GaussianPrior, Settings, posterior, solve
from invsolve.images.files import central_crop, read_image
from invsolve.priors.gray import GrayPrior
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.wiener import mean_colour, wiener_estimate
from operators import MultiCoilFourier, random_mask

SHAPE = (1, 4, 4)
SIZE = math.prod(SHAPE)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coils(count: int, height: int, width: int) -> Tensor:
    """Smooth complex sensitivities from around the image, whose squares sum to 1."""
    row, column = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    angles = [2 * math.pi * k / count for k in range(count)]
    distances = [(row - math.sin(a)) ** 2 + (column - math.cos(a)) ** 2 for a in angles]
    phases = [a + row + 0 * column for a in angles]
    maps = torch.stack([torch.polar(torch.exp(-d / 2), p) for d, p in zip(distances, phases, strict=True)])
    return maps / maps.abs().square().sum(0).sqrt()


OPERATORS = {
    "one coil": lambda: MultiCoilFourier(SHAPE, random_mask((4, 4), 0.5, seed=1)).double(),
    "coils": lambda: MultiCoilFourier(SHAPE, random_mask((4, 4), 0.6, seed=1), coils(3, 4, 4)).double(),
}


def dense(op: MultiCoilFourier) -> Tensor:
    basis = torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SHAPE)
    return torch.view_as_real(op(basis)).flatten(1).T


@pytest.mark.parametrize("name", OPERATORS)
def test_posterior_mean_and_std_against_the_closed_form(name):
    k, sigma_y, op = 800, 0.4, OPERATORS[name]()
    root = random(SIZE, SIZE, seed=2) / SIZE**0.5
    prior = GaussianPrior(0.3 * random(*SHAPE, seed=3), root @ root.T + 0.05 * torch.eye(SIZE).double())
    y = op.measure(0.5 * random(1, *SHAPE, seed=4), sigma_y, NoiseStreams(0, [0], dtype=torch.float64))
    found = posterior(y, op, k, 30, sigma_y, prior, settings=Settings(sigma_max=1.0, sigma_min=0.1), batch=k)
    a, c = dense(op), prior.axes @ prior.variances.diag() @ prior.axes.T
    gain = c @ a.T @ torch.linalg.inv(a @ c @ a.T + sigma_y**2 * torch.eye(len(a)).double())
    m = prior.mean.flatten()
    mean, std = m + gain @ (torch.view_as_real(y).flatten() - a @ m), (c - gain @ a @ c).diag().sqrt()
    assert found.samples.dtype == torch.float64
    # Monte Carlo errors of 5 standard deviations, beside a tenth for the finite schedule.
    assert ((found.mean.flatten() - mean).abs() / std).max() < 0.1 + 5 / k**0.5
    assert (found.std.flatten() / std - 1).abs().max() < 0.1 + 5 / (2 * k) ** 0.5


@pytest.mark.parametrize("name", OPERATORS)
def test_the_mean_colour_and_the_wiener_estimate(name):
    """Of a complex measurement these are what they are of its real and imaginary parts."""
    op, sigma_y = OPERATORS[name](), 0.3
    y = op.observed(torch.view_as_complex(random(2, *op.out_shape, 2, seed=5)))
    a, flat = dense(op), torch.view_as_real(y).flatten(1)
    ones = a.sum(1)
    expected = flat @ ones / (ones @ ones)
    assert (mean_colour(y, op)[:, 0, 0, 0] - expected).abs().max() < 1e-6
    spectrum = torch.full((8,), 0.25, dtype=torch.float64)  # white: the covariance is a multiple of the identity
    found = wiener_estimate(y, op, sigma_y, spectrum, tol=1e-12)
    gradient = (found.flatten(1) @ a.T - flat) @ a / sigma_y**2
    away = found.flatten(1) - expected[:, None]
    scale = -(gradient * away).sum(1) / away.square().sum(1)  # the precision of a pixel, where the estimate is exact
    assert (gradient + scale[:, None] * away).abs().max() < 1e-6 * gradient.abs().max()
    assert (scale > 0).all()


@pytest.mark.slow
def test_a_gray_picture_by_default_settings():
    """A quarter of the frequencies, all of the lowest: far better than zeros in place of the others."""
    x = central_crop(read_image("skimage:astronaut", 1)[None], 128)
    lines = (torch.rand(128, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    lines[:6] = lines[-6:] = 1
    op = MultiCoilFourier((1, 128, 128), lines.expand(128, 128), coils(4, 128, 128))
    y = op.measure(x, 0.05, NoiseStreams(0, [(0, -1)]))
    restored, found = solve(y, op, 4, 0.05, GrayPrior(load_prior("default")), return_diagnostics=True)
    zeros = op.adjoint(y)
    assert (restored - x).square().mean() < 0.5 * (zeros - x).square().mean()
    assert 0.7 < found.residual.item() < 1.5
