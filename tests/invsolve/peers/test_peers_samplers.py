"""DAPS and PnP-DM, which sample the likelihood and the prior: their laws under a Gaussian prior."""

from __future__ import annotations

import pytest
import torch
from peer_cases import SHAPE, SIZE, covariance_of, dense, gaussian, operator, posterior, random, stream

from invsolve.peers.daps import DAPSSettings, daps, flow, langevin
from invsolve.peers.pnpdm import PnPDMSettings, couplings, pnpdm, reverse_diffusion, reverse_levels
from invsolve.priors.schedule import karras

CHAINS, SIGMA_Y = 4000, 0.3
EYE = torch.eye(SIZE, dtype=torch.float64)
NAMES = ("mask", "blur", "resize")


def assert_law(samples, mean, covariance):
    """Every mean and covariance within 5 Monte Carlo standard errors."""
    n, variance = len(samples), covariance.diag()
    assert ((samples.mean(dim=0) - mean).abs() / (variance / n).sqrt()).max() < 5
    standard_error = ((variance[:, None] * variance + covariance.square()) / n).sqrt()
    assert ((samples.T.cov() - covariance).abs() / standard_error).max() < 5


def distance(samples, mean, covariance):
    """Of the mean in posterior deviations, and of the covariance relative to it, both root mean squares."""
    shift = torch.linalg.solve_triangular(
        torch.linalg.cholesky(covariance), (samples.mean(0) - mean)[:, None], upper=False
    )
    spread = (samples.T.cov() - covariance).norm() / covariance.norm()
    return shift.square().mean().sqrt().item(), spread.item()


def test_the_flow_follows_the_exact_ode():
    """Of a Gaussian: each principal coordinate of u - m is scaled by ``sqrt((l + sigma'²) / (l + sigma²))``."""
    prior, u, sigma = gaussian(), random(3, *SHAPE, seed=3), 2.0
    gain = ((prior.variances + 0.01**2) / (prior.variances + sigma**2)).sqrt()
    exact = prior.mean.flatten() + ((u - prior.mean).flatten(1) @ prior.axes * gain) @ prior.axes.T
    errors = [(flow(u, sigma, prior, steps).flatten(1) - exact).abs().max() for steps in (50, 400)]
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 6  # first order


@pytest.mark.parametrize("name", NAMES)
def test_langevin_steps_follow_their_exact_law(name):
    """Linear recursions: ``x <- (I - r H) x + r b + sqrt(2 r) n``, with mean and covariance known at every step."""
    op, sigma, tau, rate, steps = operator(name), 0.5, 0.3, 0.01, 20
    a, x0 = dense(op), random(1, *SHAPE, seed=4)
    y = op(random(1, *SHAPE, seed=5))
    h = EYE / sigma**2 + a.T @ a / tau**2
    b = x0.flatten() / sigma**2 + a.T @ y.flatten() / tau**2
    mean, covariance = x0.flatten(), 0 * EYE
    for _ in range(steps):
        mean = mean - rate * (h @ mean - b)
        covariance = (EYE - rate * h) @ covariance @ (EYE - rate * h) + 2 * rate * EYE
    many = [value.expand(CHAINS, *value.shape[1:]) for value in (x0, y)]
    settings = DAPSSettings(langevin_steps=steps, tau=tau)
    samples = langevin(many[0], sigma, many[1], op, 0.1, rate, stream(CHAINS, 6), settings).flatten(1)
    assert_law(samples, mean, covariance)


@pytest.mark.parametrize("name", NAMES)
def test_daps_nears_the_posterior_mean(name):
    """Its p(x0 | u) is renoise, which this prior's is not: the samples scatter too much, about the right mean."""
    op, prior, chains = operator(name), gaussian(), 200
    a, y = dense(op), op(random(1, *SHAPE, seed=7))
    mean, covariance = posterior(prior, a, y.flatten(), SIGMA_Y**2 * torch.eye(len(a)).double())
    settings = DAPSSettings(
        steps=40, ode_steps=5, sigma_max=5.0, sigma_min=0.05, langevin_steps=40, rate=5e-3, tau=SIGMA_Y
    )
    samples = daps(y.expand(chains, *y.shape[1:]), op, prior, SIGMA_Y, stream(chains, 8), settings).flatten(1)
    assert (samples.mean(dim=0) - mean).norm() < 0.2 * (prior.mean.flatten() - mean).norm()
    assert 1 < samples.T.cov().trace() / covariance.trace() < 1.8


def test_the_reverse_diffusion_samples_the_denoising_posterior():
    prior, sigma = gaussian(), 0.6
    u = random(1, *SHAPE, seed=9)
    covariance = covariance_of(prior)
    gain = covariance @ torch.linalg.inv(covariance + sigma**2 * EYE)
    mean = prior.mean.flatten() + gain @ (u - prior.mean).flatten()
    levels = karras(100, sigma, 0.002, 7.0)
    samples = reverse_diffusion(u.expand(CHAINS, *SHAPE), levels, prior, stream(CHAINS, 10)).flatten(1)
    shift, spread = distance(samples, mean, sigma**2 * gain)
    assert shift < 0.05
    assert spread < 0.15  # of which Monte Carlo: about sqrt(n / chains) = 0.11


def test_the_reverse_ode_maps_as_the_exact_one():
    prior, u, sigma = gaussian(), random(3, *SHAPE, seed=3), 2.0
    gain = (prior.variances / (prior.variances + sigma**2)).sqrt()
    exact = prior.mean.flatten() + ((u - prior.mean).flatten(1) @ prior.axes * gain) @ prior.axes.T
    found = reverse_diffusion(u, karras(400, sigma, 0.002, 7.0), prior, stream(3, 4), stochastic=False)
    assert (found.flatten(1) - exact).abs().max() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_pnpdm_reaches_the_posterior_under_augmented_noise(name):
    """At a fixed rho the stationary law is the posterior for a noise of ``sigma_y² I + rho² A A^T``."""
    op, prior, rho, chains = operator(name), gaussian(), 0.4, 1000
    a, y = dense(op), op(random(1, *SHAPE, seed=7))
    noise = SIGMA_Y**2 * torch.eye(len(a)).double() + rho**2 * a @ a.T
    mean, covariance = posterior(prior, a, y.flatten(), noise)
    settings = PnPDMSettings(steps=8, rho=2.0, decay=0.5, rho_min=rho, grid=150)
    samples = pnpdm(y.expand(chains, *y.shape[1:]), op, prior, SIGMA_Y, stream(chains, 11), settings).flatten(1)
    shift, spread = distance(samples, mean, covariance)
    assert shift < 0.1
    assert spread < 0.3  # of which Monte Carlo: about sqrt(n / chains) = 0.22


def test_couplings_and_their_levels():
    settings = PnPDMSettings(steps=5, rho=8.0, decay=0.5, rho_min=1.5)
    assert couplings(settings) == [8.0, 4.0, 2.0, 1.5, 1.5]
    levels = reverse_levels(1.5, settings)
    grid = karras(100, 80.0, 0.002, 7.0)
    assert levels == [1.5, *(sigma for sigma in grid if sigma < 1.5)]
    assert reverse_levels(0.001, settings) == [0.001]
