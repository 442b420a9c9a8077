"""NCVSD on a Gaussian mixture in the plane, where the denoising posterior is known exactly.

The teacher is the exact posterior mean. Generator, fake denoiser and discriminator are small perceptrons inside
the same ``Denoiser``, ``GenerativeDenoiser`` and ``DistillStep`` that train the image priors; points of the plane are
images of shape [2, 1, 1]. What is asserted is what distillation is for: samples of the distilled generator follow the
posterior ``p(x | u)``, which neither the posterior mean nor the undistilled start does; with the adversarial term and
without it. A short training is tested at three noise levels, and a long one, slow, at six from 0.15 to 2.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from plane_cases import POINTS, SHORT, distil, mixture, normals, prior_samples, sliced_wasserstein, undistilled
from torch import Tensor

from invsolve.priors.denoiser import GenerativeDenoiser

LONG = replace(
    SHORT,
    images=3000 * 1024,
    batch=1024,
    generator_rate=2e-3,
    fake_rate=5e-3,
    sigma_min=0.15,
    sigma_max=2.0,
    fake_first=100,
    adversarial_from=2000,
    discriminator_first=300,
)
COUNT = 4000


@pytest.fixture(scope="module", params=[pytest.param(0.2, marks=pytest.mark.slow), 0.0], ids=["adversarial", "without"])
def short(request) -> GenerativeDenoiser:
    return distil(replace(SHORT, adversarial_weight=request.param))


@pytest.fixture(scope="module", params=[pytest.param(0.2, marks=pytest.mark.slow), 0.0], ids=["adversarial", "without"])
def long(request) -> GenerativeDenoiser:
    return distil(replace(LONG, adversarial_weight=request.param))


@torch.no_grad()
def distances(prior, generator, start, u: Tensor, sigma: float, seed: int) -> list[float]:
    """To exact samples of ``p(x | u)``, of: the distilled, the undistilled, the mean, other exact samples."""
    stream = torch.Generator().manual_seed(seed)
    u, noise = u.reshape(1, 2, 1, 1).expand(COUNT, -1, -1, -1), normals(COUNT, stream)
    exact = prior.sample(u, sigma, noise)
    others = (
        generator.sample(u, sigma, noise),
        start.sample(u, sigma, noise),
        prior(u, sigma),
        prior.sample(u, sigma, noise),
    )
    return [sliced_wasserstein(points, exact) for points in others]


def table(generator: GenerativeDenoiser, levels: list[float], count: int) -> dict[str, list[float]]:
    """:func:`distances` at the points above, and their means over ``count`` noisy samples at each noise level."""
    prior, start, stream = mixture(), undistilled(), torch.Generator().manual_seed(2)
    rows = {f"u = {u}, sigma = {s}": [distances(prior, generator, start, torch.tensor(u), s, 3)] for u, s in POINTS}
    for sigma in levels:
        x = prior_samples(prior, count, stream)
        u = x + sigma * torch.randn(x.shape, generator=stream)
        rows[f"{count} random u, sigma = {sigma}"] = [
            distances(prior, generator, start, point, sigma, 10 + k) for k, point in enumerate(u)
        ]
    return {name: torch.tensor(values).mean(0).tolist() for name, values in rows.items()}


def assert_closer(distances: dict[str, list[float]], share: float, on_average: float) -> None:
    """Than the undistilled start and than the posterior mean, everywhere and on average."""
    for name, (ours, start, mean, floor) in distances.items():
        assert floor < 0.02, name  # what 4000 samples can tell
        assert ours < share * start, name
        assert ours < share * mean, name
    averages = torch.tensor(list(distances.values())).mean(0)
    assert averages[0] < on_average * averages[1]
    assert averages[0] < on_average * averages[2]


@torch.no_grad()
def visits(generator: GenerativeDenoiser) -> float:
    """Largest error of the share of samples that go to a component, at the points above."""
    prior, errors = mixture(), []
    for u, sigma in POINTS:
        points = torch.tensor(u).reshape(1, 2, 1, 1).expand(COUNT, -1, -1, -1)
        samples = generator.sample(points, sigma, normals(COUNT, torch.Generator().manual_seed(4)))
        visited = prior.responsibilities(samples, 0.05).mean(0)
        errors.append((visited - prior.responsibilities(points[:1], sigma)[0]).abs().max().item())
    return max(errors)


def test_the_undistilled_start_is_the_teacher_on_an_over_noised_point():
    prior, stream = mixture(), torch.Generator().manual_seed(1)
    u, z = torch.randn(2, 50, 2, 1, 1, generator=stream)
    expected = prior(u + math.sqrt(1.414**2 - 1) * 0.5 * z, 1.414 * 0.5)
    assert (undistilled()(u, 0.5, z) - expected).abs().max() < 1e-5


@pytest.mark.slow
def test_a_short_distillation_approaches_the_exact_denoising_posterior(short):
    assert_closer(table(short, [0.3, 0.5, 0.8], 3), 0.85, 0.5)
    assert visits(short) < 0.25


@pytest.mark.slow
def test_a_long_distillation_reproduces_it_at_every_noise_level(long):
    assert_closer(table(long, [0.15, 0.3, 0.5, 0.8, 1.2, 2.0], 12), 0.8, 0.35)
    assert visits(long) < 0.1
