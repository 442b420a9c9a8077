"""Phase retrieval: the operator, the algorithms that start it, and samples of its likelihood."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.fft import fft2, ifft2, rfft2

from operators import Gaussian, PhaseRetrieval
from operators.fienup import coarse, coarse_to_fine, error_reduction, input_output, resampled, retrieved, with_magnitude
from operators.langevin import Langevin


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(batch: int, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(batch, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("shape", "oversampling"), [((3, 8, 8), 2.0), ((1, 5, 6), 3.0), ((2, 9, 7), 1.0)])
def test_magnitudes(shape, oversampling):
    op = PhaseRetrieval(shape, oversampling).double()
    rows, columns = (round(oversampling * n / 8) for n in shape[1:])
    x = random(2, *shape)
    padded = torch.zeros(2, shape[0], shape[1] + 2 * rows, shape[2] + 2 * columns, dtype=torch.float64)
    padded[..., rows : rows + shape[1], columns : columns + shape[2]] = (x + 1) / 2
    assert op.out_shape == padded.shape[1:]
    assert (op(x) - fft2(padded, norm="ortho").abs()).abs().max() < 1e-12
    assert (op(x.flip(2, 3)) - op(x)).abs().max() < 1e-12  # nothing tells them apart


def test_the_padding_at_256_pixels():
    assert PhaseRetrieval((3, 256, 256)).out_shape == (3, 384, 384)  # 64 on each side, as DPS and DAPS


@pytest.mark.parametrize("oversampling", [0.0, -1.0, math.inf, math.nan])
def test_an_oversampling_that_cannot_be(oversampling):
    with pytest.raises(ValueError, match=f"oversampling is {oversampling} but must be positive and finite"):
        PhaseRetrieval((1, 8, 8), oversampling)


def test_the_gradient_is_finite_where_the_magnitude_is_zero():
    op = PhaseRetrieval((1, 4, 4)).double()
    x = torch.full((1, 1, 4, 4), -1.0, dtype=torch.float64, requires_grad=True)  # black: all magnitudes are 0
    (gradient,) = torch.autograd.grad((op(x) - 1).square().sum(), x)
    assert gradient.isfinite().all()


def test_the_curvature_is_bounded():
    """The second derivative of |y - A(x)|² / 2 along random directions, at most a quarter and nearly that at most."""
    op, y = PhaseRetrieval((1, 6, 6)).double(), random(1, 1, 10, 10, seed=2).abs()
    largest = -math.inf
    for seed in range(20):
        x = random(1, 1, 6, 6, seed=seed)
        hessian = torch.autograd.functional.hessian(lambda x: (y - op(x)).square().sum() / 2, x).reshape(36, 36)
        largest = max(largest, torch.linalg.eigvalsh(hessian)[-1].item())
    assert 0.15 < largest <= op.curvature + 1e-9


def test_projections():
    """Each step of error reduction goes to the nearest image with the magnitudes, and then with support and range."""
    op = PhaseRetrieval((2, 8, 7)).double()
    y, g = op(random(1, 2, 8, 7).clamp(-1, 1)), op.padded(random(1, 2, 8, 7, seed=1).abs())
    magnitude, support = op.magnitude(y), op.support(y.device)
    assert support.sum() == 8 * 7
    projected = with_magnitude(g, magnitude)
    assert (fft2(projected, norm="ortho").abs() - y).abs().max() < 1e-12
    for seed in range(5):  # no image with these magnitudes is nearer
        other = with_magnitude(projected + 0.3 * random(*g.shape, seed=seed), magnitude)
        assert (other - g).norm() >= (projected - g).norm()
    result, misfits = g, []
    for _ in range(30):
        result = error_reduction(result, magnitude, support)
        assert (result[..., ~support] == 0).all()
        assert result.min() >= 0
        assert result.max() <= 1
        misfits.append((fft2(result, norm="ortho").abs() - y).norm().item())
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(misfits))  # Fienup 1982, section III


def test_hybrid_input_output_feeds_back_what_is_violated():
    op = PhaseRetrieval((1, 6, 6)).double()
    y, g = op(random(1, 1, 6, 6).clamp(-1, 1)), random(1, 1, 10, 10, seed=1)
    magnitude, support = op.magnitude(y), op.support(y.device)
    output = with_magnitude(g, magnitude)
    allowed = support & (output >= 0) & (output <= 1)
    found = input_output(g, magnitude, support)
    assert torch.equal(found[allowed], output[allowed])
    assert (found - (g - 0.9 * output))[~allowed].abs().max() < 1e-12


def blobs(side: int, seed: int) -> Tensor:
    """A smooth picture in three similar channels, `[1, 3, side, side]` on [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    at = torch.arange(side, dtype=torch.float64)
    total = torch.zeros(side, side, dtype=torch.float64)
    for _ in range(12):
        row, column, width = (torch.rand(3, generator=generator, dtype=torch.float64) * side).tolist()
        width = side / 12 + width / 8
        total += torch.exp(-((at[:, None] - row) ** 2 + (at - column) ** 2) / (2 * width**2))
    total = 1.8 * total / total.max() - 0.9
    return torch.stack([total, 0.9 * total + 0.05, 0.8 * total - 0.1])[None]


def test_a_coarse_grid_shows_the_image_after_a_low_pass():
    op = PhaseRetrieval((1, 32, 32)).double()
    x = blobs(32, 5)[:, :1]
    size, low, support = coarse(op.magnitude(op(x)), op.support(x.device), 2)
    assert size == (24, 24)
    assert support.sum() == 18 * 18  # half of 32 x 32 and a pixel around it
    rows, columns = (
        torch.fft.fftfreq(48).double()[:, None] * 2,
        torch.fft.fftfreq(48).double() * 2,
    )  # of the coarse grid
    smooth = ifft2(fft2(op.padded((x + 1) / 2)) * torch.exp(-(rows**2 + columns**2) / (2 * 0.2**2))).real[..., ::2, ::2]
    assert (rfft2(smooth, norm="ortho").abs() - low).abs().max() < 1e-3 * low.max()
    outside = smooth.masked_fill(support, 0).norm() / smooth.norm()
    assert outside < 0.02


def test_a_finer_grid_has_the_same_waves():
    def wave(rows: int, columns: int) -> Tensor:
        row, column = (torch.arange(n, dtype=torch.float64) / n for n in (rows, columns))
        return torch.cos(2 * math.pi * (3 * row[:, None] + 2 * column))

    assert (resampled(wave(24, 18), (48, 36)) - wave(48, 36)).abs().max() < 1e-12


def test_a_noisy_measurement_is_explained_by_its_estimate():
    """Up to turning, which nothing tells; all channels are turned alike, and each image has its own stream."""
    x = torch.cat([blobs(96, 1), blobs(96, 2)])
    op = PhaseRetrieval((3, 96, 96)).double()
    y = op.measure(x, 0.05, stream(2, 3))
    found = op.estimate(y, stream(2, 4))
    upright, turned = ((found - each).square().mean((1, 2, 3)).sqrt() for each in (x, x.flip(2, 3)))
    assert (torch.minimum(upright, turned) < 0.5 * x.std(dim=(1, 2, 3))).all()
    one = coarse_to_fine(op.magnitude(y[:1]), op.support(y.device), lambda shape: stream(2, 4)(shape)[:1])
    assert (2 * op.cropped(one).clamp(0, 1) - 1 - found[:1]).abs().max() < 1e-9


def test_the_best_cycle_is_kept():
    op = PhaseRetrieval((1, 16, 16)).double()
    y = op(blobs(16, 3)[:, :1])
    magnitude, support = op.magnitude(y), op.support(y.device)
    g = op.padded(random(4, 1, 16, 16).abs())
    few, many = (retrieved(g, magnitude, support, cycles) for cycles in (1, 3))
    assert (many[1] <= few[1]).all()
    misfit = (op(2 * op.cropped(many[0]) - 1) - y).square().mean((2, 3))
    assert (misfit - many[1]).abs().max() < 0.2 * misfit.max()  # of half the frequencies, of all


def test_the_likelihood_of_a_pixel():
    """One pixel, against quadrature: N(u; x, rho²) exp(-(y - |u + 1| / 2)² / 2 sigma²)."""
    op, rho, sigma, chains = PhaseRetrieval((1, 1, 1)).double(), 1.0, 0.4, 4000
    assert op.out_shape == (1, 1, 1)
    y, x = torch.full((chains, 1, 1, 1), 0.6).double(), torch.full((chains, 1, 1, 1), -0.5).double()
    samples = Langevin(y, op, Gaussian(sigma), steps=200).sample(x, rho, stream(chains, 5)).flatten()
    grid = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    density = torch.exp(-((grid + 0.5) ** 2) / 2 - (0.6 - (grid + 1).abs() / 2) ** 2 / (2 * sigma**2))
    cdf = density.cumsum(0) / density.sum()
    distance = (torch.searchsorted(samples.sort().values, grid) / chains - cdf).abs().max()
    assert distance < 1.63 / chains**0.5  # Kolmogorov and Smirnov at 1 %


def test_langevin_starts_near_from_far_off():
    """At once where the measurement says: the residual is that of the noise, from a start that explains nothing."""
    op = PhaseRetrieval((1, 32, 32)).double()
    truth = blobs(32, 4)[:, :1]
    y = op.measure(truth, 0.05, stream(1, 6))
    likelihood = Langevin(y, op, Gaussian(0.05))
    u = likelihood.sample(torch.zeros_like(truth), 10.0, stream(1, 7))
    assert (y - op(torch.zeros_like(truth))).square().mean().sqrt() > 2 * 0.05
    assert (y - op(u)).square().mean().sqrt() < 1.5 * 0.05
    assert likelihood.accepted[0] > 0.2
