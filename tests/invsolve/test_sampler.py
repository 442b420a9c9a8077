"""The sampler against closed forms: with a Gaussian prior, the law of every iterate is a known Gaussian."""

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from invsolve.gaussian import GaussianPrior
from invsolve.sampler import split_gibbs
from invsolve.schedule import karras
from operators import GaussianBlur, Identity, Mask, Resize

SHAPE = (1, 4, 4)
SIZE = math.prod(SHAPE)
CHAINS = 8_000
EYE = torch.eye(SIZE, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chain_noise(seed: int):
    """Noise for all chains from one stream: faster than a stream per chain, where only the law matters."""
    stream = seeded(seed)
    return lambda shape: torch.randn(CHAINS, *shape, generator=stream, dtype=torch.float64)


def operators() -> dict:
    mask = (torch.rand(4, 4, generator=seeded(1)) > 0.5).float()
    return {
        "mask": Mask(SHAPE, mask).double(),
        "blur": GaussianBlur(SHAPE, 0.8, boundary="reflect").double(),
        "super-resolution": Resize(SHAPE, 2).double(),
        "identity": Identity(SHAPE).double(),
    }


def prior() -> GaussianPrior:
    """A smooth, non-stationary Gaussian with a mean of its own."""
    root = torch.randn(SIZE, SIZE, generator=seeded(2), dtype=torch.float64) / SIZE**0.5
    return GaussianPrior(0.3 * torch.randn(SHAPE, generator=seeded(3), dtype=torch.float64), root @ root.T + 0.05 * EYE)


@dataclass
class Law:
    """A Gaussian: mean ``[n]`` and covariance ``[n, n]``."""

    mean: torch.Tensor
    covariance: torch.Tensor

    def after(self, gain: torch.Tensor, shift: torch.Tensor, covariance: torch.Tensor) -> "Law":
        """The law of ``gain z + shift + N(0, covariance)`` for z of this law."""
        return Law(gain @ self.mean + shift, gain @ self.covariance @ gain.T + covariance)

    def distance(self, other: "Law") -> float:
        """The largest difference in a mean, in standard deviations of ``other``, or in a correlation."""
        std = other.covariance.diag().sqrt()
        mean = ((self.mean - other.mean).abs() / std).max()
        return max(mean, ((self.covariance - other.covariance).abs() / (std[:, None] * std)).max()).item()


def dense(operator) -> torch.Tensor:
    return operator(EYE.reshape(SIZE, *SHAPE)).flatten(1).T


def gaussian_posterior(gaussian: GaussianPrior, a: torch.Tensor, y: torch.Tensor, noise: torch.Tensor) -> Law:
    """``x | y`` for ``x ~ N(m, C)`` and ``y = A x + N(0, noise)``: ``m + K (y - A m)`` and ``C - K A C``."""
    mean, covariance = gaussian.mean.flatten(), gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T
    gain = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T + noise)
    return Law(mean + gain @ (y - a @ mean), covariance - gain @ a @ covariance)


def prior_step(gaussian: GaussianPrior, u: Law, sigma: float) -> Law:
    """The law of ``x ~ p(x | u)`` for u of a law: ``x = m + G (u - m) + N(0, sigma² G)``, ``G = C (C + sigma²)^-1``."""
    mean, covariance = gaussian.mean.flatten(), gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T
    gain = covariance @ torch.linalg.inv(covariance + sigma**2 * EYE)
    return u.after(gain, mean - gain @ mean, sigma**2 * gain)


def likelihood_step(a: torch.Tensor, y: torch.Tensor, x: Law, sigma_y: float, rho: float, isotropic: bool) -> Law:
    """The law of ``u ~ N(H (A^T y / sigma_y² + x / rho²), H)``, ``H = (A^T A / sigma_y² + I / rho²)^-1``.

    With ``isotropic`` the covariance is ``rho² I``.
    """
    h = torch.linalg.inv(a.T @ a / sigma_y**2 + EYE / rho**2)
    return x.after(h / rho**2, h @ a.T @ y / sigma_y**2, rho**2 * EYE if isotropic else h)


def law_of_the_chain(gaussian, a, y, levels, sigma_y, isotropic=False) -> Law:
    """The exact law of the sampler's result after the given levels."""
    start = Law(torch.zeros(SIZE, dtype=torch.float64), 0 * EYE)
    u = likelihood_step(a, y, start, sigma_y, levels[0], isotropic)
    for sigma, following in pairwise(levels):
        u = likelihood_step(a, y, prior_step(gaussian, u, sigma), sigma_y, following, isotropic)
    return prior_step(gaussian, u, levels[-1])


def measurement(gaussian, operator, sigma_y) -> torch.Tensor:
    stream = seeded(4)
    x = torch.linalg.cholesky(gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T)
    x = gaussian.mean + (x @ torch.randn(SIZE, generator=stream, dtype=torch.float64)).reshape(SHAPE)
    y = operator(x[None])
    return y + sigma_y * torch.randn(y.shape, generator=stream, dtype=torch.float64)


def sample(gaussian, operator, y, levels, sigma_y, seed=5, **options) -> torch.Tensor:
    y = y.expand(CHAINS, *y.shape[1:])
    iterates = split_gibbs(y, operator, gaussian, levels, sigma_y, chain_noise(seed), **options)
    return deque(iterates, maxlen=1).pop().flatten(1)


def assert_samples_follow(samples: torch.Tensor, law: Law) -> None:
    """Every mean and covariance within 5 Monte Carlo standard errors of the law's."""
    n, variance = len(samples), law.covariance.diag()
    mean_error = (samples.mean(dim=0) - law.mean).abs() / (variance / n).sqrt()
    standard_error = ((variance[:, None] * variance + law.covariance.square()) / n).sqrt()
    covariance_error = (samples.T.cov() - law.covariance).abs() / standard_error
    assert mean_error.max() < 5
    assert covariance_error.max() < 5


@pytest.mark.parametrize("name", operators())
def test_a_fixed_level_samples_the_posterior_under_augmented_noise(name):
    """At one level sigma the stationary law is the posterior for a noise of ``sigma_y² I + sigma² A A^T``."""
    gaussian, operator, sigma_y, sigma = prior(), operators()[name], 0.3, 0.6
    y, a = measurement(gaussian, operator, sigma_y), dense(operator)
    target = gaussian_posterior(
        gaussian, a, y.flatten(), sigma_y**2 * torch.eye(len(a), dtype=torch.float64) + sigma**2 * a @ a.T
    )
    levels = karras(60, sigma, sigma, 1.0)
    assert law_of_the_chain(gaussian, a, y.flatten(), levels, sigma_y).distance(target) < 1e-3  # long enough
    assert_samples_follow(sample(gaussian, operator, y, levels, sigma_y), target)


@pytest.mark.parametrize("name", operators())
@pytest.mark.parametrize("levels", [[1.0], [2.0, 0.1], karras(4, 2.0, 0.1, 3.0)], ids=len)
@pytest.mark.parametrize("isotropic", [False, True], ids=["draws", "isotropic"])
def test_few_steps_follow_their_exact_law(name, levels, isotropic):
    gaussian, operator, sigma_y = prior(), operators()[name], 0.1
    y = measurement(gaussian, operator, sigma_y)
    law = law_of_the_chain(gaussian, dense(operator), y.flatten(), levels, sigma_y, isotropic)
    assert_samples_follow(sample(gaussian, operator, y, levels, sigma_y, isotropic=isotropic), law)


@pytest.mark.parametrize("name", operators())
def test_annealing_leads_to_the_true_posterior(name):
    gaussian, operator, sigma_y = prior(), operators()[name], 0.3
    y, a = measurement(gaussian, operator, sigma_y), dense(operator)
    target = gaussian_posterior(gaussian, a, y.flatten(), sigma_y**2 * torch.eye(len(a), dtype=torch.float64))
    schedules = [karras(n, 2.0, sigma_min, 3.0) for n, sigma_min in [(4, 0.2), (100, 0.05), (1000, 0.02)]]
    gaps = [law_of_the_chain(gaussian, a, y.flatten(), levels, sigma_y).distance(target) for levels in schedules]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    assert gaps[2] < 0.02
    # And samples are as near as their law, up to Monte Carlo errors (of a correlation at most sqrt(2 / n)).
    samples = sample(gaussian, operator, y, schedules[1], sigma_y)
    assert Law(samples.mean(dim=0), samples.T.cov()).distance(target) < gaps[1] + 5 * (2 / CHAINS) ** 0.5


@pytest.mark.parametrize("name", operators())
def test_the_likelihood_draw_of_a_noiseless_measurement_is_consistent(name):
    """With ``sigma_y = 0`` each u agrees with y exactly, and x tends to it with sigma."""
    gaussian, operator = prior(), operators()[name]
    y = measurement(gaussian, operator, 0.0)
    x = sample(gaussian, operator, y, karras(20, 2.0, 1e-4, 3.0), 0.0).reshape(CHAINS, *SHAPE)
    # A x - y = A (x - u), where |x - u| is at most about 6 sigma in any pixel of any chain, and A averages pixels.
    assert (operator(x) - y).abs().max() < 10 * 1e-4


def test_it_yields_every_iterate_and_averages_without_touching_the_chain():
    gaussian, operator = prior(), operators()["blur"]
    y = measurement(gaussian, operator, 0.1).expand(CHAINS, *operator.out_shape)
    levels = karras(5, 2.0, 0.1, 3.0)
    raw = list(split_gibbs(y, operator, gaussian, levels, 0.1, chain_noise(6)))
    averaged = list(split_gibbs(y, operator, gaussian, levels, 0.1, chain_noise(6), average=0.6))
    assert len(raw) == len(averaged) == 5
    expected = raw[0]
    for x, x_avg in zip(raw, averaged, strict=True):
        expected = x if x is raw[0] else 0.6 * expected + 0.4 * x
        assert (x_avg - expected).abs().max() < 1e-12


def test_a_warm_start_replaces_the_first_likelihood_draw():
    gaussian, operator, sigma = prior(), operators()["mask"], 0.5
    y = measurement(gaussian, operator, 0.1)
    u = torch.randn(SHAPE, generator=seeded(7), dtype=torch.float64)
    samples = sample(gaussian, operator, y, [sigma], 0.1, u=u.expand(CHAINS, *SHAPE))
    assert_samples_follow(samples, prior_step(gaussian, Law(u.flatten(), 0 * EYE), sigma))
