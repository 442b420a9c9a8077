"""DPS, Pi-GDM, DiffPIR and RED-diff against their papers' variance-preserving formulas, written out again."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from peer_cases import (
    OPERATORS,
    SHAPE,
    SIZE,
    covariance_of,
    dense,
    gaussian,
    kernel,
    operator,
    posterior,
    random,
    stream,
    variance_preserving,
)

from invsolve.peers.diffpir import DiffPIRSettings, data_step, diffpir
from invsolve.peers.dps import DPSSettings, dps
from invsolve.peers.levels import ddpm_levels
from invsolve.peers.pigdm import PiGDMSettings, guided, pigdm
from invsolve.peers.reddiff import REDdiffSettings, gradient, reddiff
from invsolve.priors.gaussian import GaussianPrior
from invsolve.solver.wiener import mean_colour
from operators import CircularConvolution, Identity, Mask, random_mask

BATCH, SIGMA_Y, STEPS = 2, 0.1, 12
EYE = torch.eye(SIZE, dtype=torch.float64)


def remaining(sigma: float) -> float:
    """abar of a level."""
    return 1 / (1 + sigma**2)


def first(op, y, sigma, noise, inverse=True):
    """The variance-preserving state of ``start.py``; in the papers it is N(0, I)."""
    centre = mean_colour(y, op)
    if inverse:
        centre = op.prox(centre, y, SIGMA_Y**2)
    return (centre + sigma * noise(SHAPE)) * remaining(sigma) ** 0.5


def clean(epsilon, x_t, abar):
    """x0 as the papers have it, from the noise estimate."""
    return (x_t - (1 - abar) ** 0.5 * epsilon(x_t, abar)) / abar**0.5


@pytest.mark.parametrize("name", OPERATORS)
def test_dps_is_algorithm_1(name):
    op, prior = operator(name), gaussian()
    epsilon, y = variance_preserving(prior), random(BATCH, *op.out_shape, seed=3)
    settings = DPSSettings(steps=STEPS, scale=0.7 * 256 / 4)  # for 256x256 pixels, of which there are 4x4
    found = dps(y, op, prior, SIGMA_Y, stream(BATCH, 5), settings)

    noise, levels = stream(BATCH, 5), ddpm_levels(STEPS)
    x = first(op, y, levels[0], noise, inverse=False)
    for sigma, following in pairwise([*levels, 0.0]):
        abar, abar_next = remaining(sigma), remaining(following)
        alpha, beta = abar / abar_next, 1 - abar / abar_next
        x = x.detach().requires_grad_()
        x0 = clean(epsilon, x, abar)
        (step,) = torch.autograd.grad((y - op(x0)).flatten(1).norm(dim=1).sum(), x)
        mean = (alpha**0.5 * (1 - abar_next) * x + abar_next**0.5 * beta * x0) / (1 - abar)
        spread = ((1 - abar_next) / (1 - abar) * beta) ** 0.5
        x = mean + (spread * noise(SHAPE) if following else 0) - 0.7 * step
    assert (found - x.detach()).abs().max() < 1e-8


@pytest.mark.parametrize("name", ["identity", "mask", "blur"])
def test_the_step_of_dps_means_the_same_at_any_size(name):
    """Four copies of an image side by side, as of a prior of independent 4x4 blocks, are restored as one is.

    The residual's norm is twice that of one, and so every one of them would be changed half as much.
    """
    blocks = lambda x: x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, *SHAPE)  # noqa: E731
    tile = lambda x: x.tile(1, 1, 2, 2)  # noqa: E731
    small, prior = operator(name), gaussian()
    large = {
        "identity": lambda: Identity((3, 8, 8)),
        "mask": lambda: Mask((3, 8, 8), random_mask(SHAPE[1:], 0.5, seed=0).tile(2, 2)),
        "blur": lambda: CircularConvolution((3, 8, 8), kernel()),
    }[name]().double()
    settings, y = DPSSettings(steps=STEPS, scale=50.0), small(random(1, *SHAPE, seed=9))

    def tiled_prior(u, sigma):
        return prior(blocks(u), sigma).reshape(1, 2, 2, *SHAPE).permute(0, 3, 1, 4, 2, 5).reshape(1, 3, 8, 8)

    noise, again = stream(1, 5), stream(1, 5)
    found = dps(tile(y), large, tiled_prior, SIGMA_Y, lambda shape: tile(noise(SHAPE)), settings)
    expected = dps(y, small, prior, SIGMA_Y, again, settings)
    assert (found - tile(expected)).abs().max() < 1e-8


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("sigma_y", [SIGMA_Y, 0.0])
def test_pigdm_guides_to_the_exact_posterior_mean_of_a_white_prior(name, sigma_y):
    """With x ~ N(m, I) the assumed p(x0 | u) is the true one, so ``D + sigma² grad log p(y | u) = E[x0 | u, y]``."""
    op, prior, sigma = operator(name), GaussianPrior(random(*SHAPE, seed=6), EYE), 0.8
    a, u, y = dense(op), random(BATCH, *SHAPE, seed=7), random(BATCH, *op.out_shape, seed=8)
    y = op(random(BATCH, *SHAPE, seed=8)) if name == "mask" else y
    x0, guidance = guided(u, sigma, y, op, prior, sigma_y)
    found = x0 + (1 + sigma**2) * guidance  # sigma² / r² = 1 + sigma²
    variance = sigma**2 / (1 + sigma**2)
    gain = a.T * variance @ torch.linalg.pinv(variance * a @ a.T + sigma_y**2 * torch.eye(len(a)).double())
    mean = prior(u, sigma).flatten(1)
    expected = mean + (y.flatten(1) - mean @ a.T) @ gain.T
    assert (found.flatten(1) - expected).abs().max() < 1e-9


@pytest.mark.parametrize("name", OPERATORS)
def test_pigdm_is_algorithm_1(name):
    op, prior = operator(name), gaussian()
    a, epsilon = dense(op), variance_preserving(prior)
    y = op(random(BATCH, *SHAPE, seed=9))
    found = pigdm(y, op, prior, SIGMA_Y, stream(BATCH, 5), PiGDMSettings(steps=STEPS, eta=0.6, weight=0.9))

    noise, levels = stream(BATCH, 5), ddpm_levels(STEPS)
    x = first(op, y, levels[0], noise)
    for sigma, following in pairwise([*levels, 0.0]):
        abar, abar_next = remaining(sigma), remaining(following)
        variance = sigma**2 / (1 + sigma**2)
        x = x.detach().requires_grad_()
        x0 = clean(epsilon, x, abar)
        residual = (y - op(x0)).flatten(1).detach()
        inverse = torch.linalg.inv(a @ a.T + SIGMA_Y**2 / variance * torch.eye(len(a)).double())
        (g,) = torch.autograd.grad((residual @ inverse.T @ a * x0.flatten(1)).sum(), x)
        c1 = 0.6 * ((1 - abar / abar_next) * (1 - abar_next) / (1 - abar)) ** 0.5
        c2 = (1 - abar_next - c1**2) ** 0.5
        x = abar_next**0.5 * x0 + c2 * epsilon(x, abar) + 0.9 * (abar * abar_next) ** 0.5 * g
        x = x + (c1 * noise(SHAPE) if following else 0)
    assert (found - x.detach()).abs().max() < 1e-8


@pytest.mark.parametrize("name", OPERATORS)
def test_diffpir_solves_its_data_subproblem(name):
    op = operator(name)
    x0, y, sigma, penalty = random(BATCH, *SHAPE, seed=3), random(BATCH, *op.out_shape, seed=4), 0.7, 2.5
    rho = penalty * SIGMA_Y**2 / sigma**2
    x = data_step(x0, sigma, y, op, SIGMA_Y, penalty).requires_grad_()
    (slope,) = torch.autograd.grad((op(x) - y).square().sum() + rho * (x - x0).square().sum(), x)
    missing = slope if name != "mask" else op(slope)  # values of y where nothing is measured do not count
    assert missing.abs().max() < 1e-10


def test_diffpir_is_algorithm_1():
    op, prior = operator("blur"), gaussian()
    a, epsilon = dense(op), variance_preserving(prior)
    y = random(BATCH, *op.out_shape, seed=9)
    settings = DiffPIRSettings(steps=STEPS, penalty=2.0, zeta=0.3)
    found = diffpir(y, op, prior, SIGMA_Y, stream(BATCH, 5), settings)

    noise, levels = stream(BATCH, 5), ddpm_levels(STEPS, quadratic=True)
    x = first(op, y, levels[0], noise)
    for sigma, following in pairwise(levels):
        abar, abar_next = remaining(sigma), remaining(following)
        rho = 2.0 * SIGMA_Y**2 * abar / (1 - abar)
        target = y.flatten(1) @ a + rho * clean(epsilon, x, abar).flatten(1)
        x0 = torch.linalg.solve(a.T @ a + rho * EYE, target.T).T.reshape(x.shape)
        estimate = (x - abar**0.5 * x0) / (1 - abar) ** 0.5
        x = abar_next**0.5 * x0 + (1 - abar_next) ** 0.5 * (0.7**0.5 * estimate + 0.3**0.5 * noise(SHAPE))
    assert (found - clean(epsilon, x, remaining(levels[-1]))).abs().max() < 1e-8


@pytest.mark.parametrize("name", OPERATORS)
def test_reddiff_gradient_is_that_of_the_published_loss(name):
    op, prior, sigma, weight = operator(name), gaussian(), 0.8, 0.4
    epsilon, abar = variance_preserving(prior), remaining(sigma)
    y, n = random(1, *op.out_shape, seed=3), random(1, *SHAPE, seed=4)
    mu = random(1, *SHAPE, seed=5).requires_grad_()
    x_t = abar**0.5 * mu + (1 - abar) ** 0.5 * n
    inverse_snr = ((1 - abar) / abar) ** 0.5
    noise_term = ((epsilon(x_t, abar) - n).detach() * mu).mean()
    (expected,) = torch.autograd.grad((y - op(mu)).square().mean() / 2 + weight * inverse_snr * noise_term, mu)
    assert (gradient(mu.detach(), sigma, y, op, prior, n, weight, SIGMA_Y) - expected).abs().max() < 1e-12


def test_reddiff_is_adam_along_it():
    op, prior = operator("resize"), gaussian()
    y, settings = random(1, *op.out_shape, seed=3), REDdiffSettings(steps=STEPS, weight=0.3, rate=0.05)
    found = reddiff(y, op, prior, SIGMA_Y, stream(1, 5), settings)
    noise = stream(1, 5)
    mu = op.prox(torch.zeros(1, *SHAPE, dtype=torch.float64), y, SIGMA_Y**2).requires_grad_()
    adam = torch.optim.Adam([mu], lr=0.05, betas=(0.9, 0.99))
    for sigma in ddpm_levels(STEPS):
        mu.grad = gradient(mu.detach(), sigma, y, op, prior, noise(SHAPE), 0.3, SIGMA_Y)
        adam.step()
    assert (found - mu.detach()).abs().max() < 1e-10


def test_reddiff_ends_at_the_maximum_of_the_posterior():
    """At a low level ``mu - D(mu; sigma)`` is about ``sigma² C^-1 (mu - m)``, the gradient of the log-prior.

    So with the weight ``sigma_y² / sigma²``, times the ratio of the two means' sizes, the mode is nearly stationary.
    """
    op, prior, sigma = operator("resize"), gaussian(), 0.01
    a, y = dense(op), operator("resize")(random(1, *SHAPE, seed=6))
    weight = SIGMA_Y**2 / sigma**2 * SIZE / len(a)
    mode, _ = posterior(prior, a, y.flatten(), SIGMA_Y**2 * torch.eye(len(a)).double())
    mode, n = mode.reshape(1, *SHAPE), torch.zeros(1, *SHAPE).double()
    slope = gradient(mode, sigma, y, op, prior, n, weight, SIGMA_Y)
    away = gradient(mode + 0.1, sigma, y, op, prior, n, weight, SIGMA_Y)
    assert sigma**2 / torch.linalg.eigvalsh(covariance_of(prior))[0] < 0.01
    assert slope.norm() < 0.01 * away.norm()
