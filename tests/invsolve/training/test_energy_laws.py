"""The energy score on priors in the plane whose conditional law is known: the trained generator samples it.

A Gaussian, by the moments of its samples, and the mixture on which NCVSD is tested, by the sliced Wasserstein distance
to exact samples. All start from the undistilled generator, the posterior mean of an over-noised point.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from plane_cases import (
    POINTS,
    SHORT,
    calibrated,
    distil,
    ellipse,
    mixture,
    normals,
    prior_samples,
    sliced_wasserstein,
    undistilled,
)
from torch import Tensor

from invsolve.priors.gaussian import GaussianPrior
from invsolve.specs.recipe import CalibrateConfig

pytestmark = pytest.mark.usefixtures("one_thread")

PIXEL = {"patches": (1,), "scales": (1,)}
QUICK = CalibrateConfig(
    images=120 * 256,
    batch=256,
    precision="fp32",
    warmup=20,
    decay_after=60,
    learning_rate=6e-3,
    sigma_min=0.25,
    sigma_max=0.9,
    exchange_weight=0.0,
    keep=0.0,
    ema=(0.2,),
    **PIXEL,
)
COUNT = 8000


def gaussian() -> GaussianPrior:
    return GaussianPrior(torch.tensor([0.3, -0.2]).reshape(2, 1, 1), ellipse(0.6, 0.2, 30))


@torch.no_grad()
def moments(sampler, u: Tensor, sigma: float, seed: int) -> tuple[Tensor, Tensor]:
    """Mean ``[2]`` and covariance ``[2, 2]`` of samples given one point."""
    noise = normals(COUNT, torch.Generator().manual_seed(seed))
    samples = sampler.sample(u.expand(COUNT, -1, -1, -1), sigma, noise).flatten(1)
    return samples.mean(0), samples.T.cov()


def assert_gaussian_law(generator, mean_error: float, low: float, high: float) -> None:
    """At nine points: means within standard deviations, and variances within factors of the exact ones, on any axis."""
    prior, stream = gaussian(), torch.Generator().manual_seed(5)
    for sigma in (0.3, 0.5, 0.8):
        x = prior_samples(prior, 3, stream)
        for u in x + sigma * torch.randn(x.shape, generator=stream):
            (exact, covariance), (mean, found) = (moments(g, u[None], sigma, 6) for g in (prior, generator))
            whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))
            variances = torch.linalg.eigvalsh(whiten @ found @ whiten.T)
            assert (whiten @ (mean - exact)).norm() < mean_error, (u, sigma)
            assert low < variances[0], (u, sigma, variances)
            assert variances[1] < high, (u, sigma, variances)


def test_a_short_training_gets_near_the_gaussian_law():
    """The undistilled start has a twentieth of the variance on some axis."""
    with pytest.raises(AssertionError):
        assert_gaussian_law(undistilled(gaussian()), 10.0, 0.2, 10.0)
    assert_gaussian_law(calibrated(QUICK, gaussian()), 0.25, 0.55, 1.5)


@pytest.mark.slow
def test_a_long_training_reaches_the_gaussian_law():
    assert_gaussian_law(
        calibrated(replace(QUICK, images=3000 * 1024, batch=1024, decay_after=300), gaussian()), 0.06, 0.85, 1.15
    )


@torch.no_grad()
def distances(generator) -> list[float]:
    """Sliced Wasserstein distances to exact samples: at given points, and means over 12 random ones of each level."""
    prior, stream, found = mixture(), torch.Generator().manual_seed(2), []
    for sigma in (0.3, 0.5, 0.8):
        x = prior_samples(prior, 12, stream)
        u = x + sigma * torch.randn(x.shape, generator=stream)
        found.append([distance(prior, generator, point, sigma) for point in u])
    given = [distance(prior, generator, torch.tensor(u).reshape(2, 1, 1), sigma) for u, sigma in POINTS]
    return given + torch.tensor(found).mean(1).tolist()


def distance(prior, generator, u: Tensor, sigma: float) -> float:
    u = u.expand(COUNT, -1, -1, -1)
    found, exact = (
        sampler.sample(u, sigma, normals(COUNT, torch.Generator().manual_seed(seed)))
        for sampler, seed in ((generator, 8), (prior, 9))
    )
    return sliced_wasserstein(found, exact)


@pytest.mark.slow
def test_on_a_mixture_the_energy_score_comes_nearer_than_distillation_of_as_many_points():
    """And so do both together; the figures are printed (pytest -s)."""
    steps, batch = 3000, 512
    alone = replace(QUICK, images=steps * batch, batch=batch, learning_rate=3e-3, decay_after=300)
    short = replace(SHORT, images=steps * batch, batch=batch, adversarial_weight=0.0)
    both = replace(short, energy_weight=1.0, exchange_weight=0.0, **PIXEL)
    found = {
        "start": distances(undistilled()),
        "exact": distances(mixture()),
        "energy score": distances(calibrated(alone, mixture())),
        "NCVSD": distances(distil(short)),
        "both": distances(distil(both)),
    }
    for name, figures in found.items():
        print(f"{name:12}", *(f"{figure:.4f}" for figure in figures))
    averages = {name: sum(figures) / len(figures) for name, figures in found.items()}
    assert averages["energy score"] < 0.25 * averages["start"]
    assert averages["energy score"] < averages["NCVSD"]
    assert averages["both"] < averages["NCVSD"]
