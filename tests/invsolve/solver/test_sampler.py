"""The sampler against closed forms: with a Gaussian prior, the law of every iterate is a known Gaussian."""

import math
from collections import deque
from dataclasses import dataclass

import pytest
import torch

from invsolve.priors.gaussian import GaussianPrior
from invsolve.priors.schedule import karras
from invsolve.solver.sampler import Problem, split_gibbs
from invsolve.specs.settings import FewStep
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


class ExactChain:
    """The law of the sampler's state after every step, as that of one long vector.

    The state is (x or u, the x that the last likelihood sample was made near, and its three standard normals: in the
    image, in the measurement, and those of ``renoise``).
    """

    def __init__(self, gaussian, a, y, sigma_y, renoise=0.0, overrelaxation=0.0):
        self.gaussian, self.a, self.y, self.sigma_y = gaussian, a, y, sigma_y
        self.renoise, self.overrelaxation, self.last_rho = renoise, overrelaxation, None
        sizes = [SIZE, SIZE, SIZE, len(a), SIZE]
        rows = torch.eye(sum(sizes), dtype=torch.float64).split(sizes)
        self.x, self.near, self.image, self.measured, self.white = rows
        self.law = Law(torch.zeros(sum(sizes), dtype=torch.float64), 0 * torch.cat(rows) @ torch.cat(rows).T)

    def likelihood(self, rho: float) -> None:
        """``u = prox(x - w + rho e_1, y + sigma_y e_2) + w``, ``w = renoise rho e_3``."""
        first = self.last_rho is None
        renoise = self.renoise if first else 0.0
        old = 0.0 if first else self.overrelaxation
        image = self.image if first else self.image + (self.near - self.x) / self.last_rho
        normals = torch.cat([self.image, self.measured, self.white])
        units = torch.cat([self.x, self.x, -old * image, -old * self.measured, -old * self.white])
        self.law = self.law.after(units, 0 * self.law.mean, (1 - old**2) * normals.T @ normals)
        h = torch.linalg.inv(self.a.T @ self.a / self.sigma_y**2 + EYE / rho**2)
        w = renoise * rho * self.white
        u = h @ (self.x - w + rho * self.image) / rho**2 + h @ self.a.T @ self.measured / self.sigma_y + w
        self._set_x(u, h @ self.a.T @ self.y / self.sigma_y**2, 0 * EYE)
        self.last_rho = rho

    def prior(self, sigma: float) -> None:
        """``x ~ p(x | u)``: ``x = m + G (u - m) + N(0, sigma² G)``, ``G = C (C + sigma²)^-1``."""
        mean = self.gaussian.mean.flatten()
        covariance = self.gaussian.axes @ self.gaussian.variances.diag() @ self.gaussian.axes.T
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * EYE)
        self._set_x(gain @ self.x, mean - gain @ mean, sigma**2 * gain)

    def _set_x(self, rows: torch.Tensor, shift: torch.Tensor, covariance: torch.Tensor) -> None:
        others = torch.cat([self.near, self.image, self.measured, self.white])
        self.law = self.law.after(torch.cat([rows, others]), self.x.T @ shift, self.x.T @ covariance @ self.x)

    def law_of_x(self) -> Law:
        return self.law.after(self.x, torch.zeros(SIZE, dtype=torch.float64), 0 * EYE)


def law_of_the_chain(gaussian, a, y, levels, sigma_y, **options) -> Law:
    """The exact law of the sampler's result after the given levels."""
    chain = ExactChain(gaussian, a, y, sigma_y, **options)
    for sigma in levels:
        chain.likelihood(sigma)
        chain.prior(sigma)
    return chain.law_of_x()


def measurement(gaussian, operator, sigma_y) -> torch.Tensor:
    stream = seeded(4)
    x = torch.linalg.cholesky(gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T)
    x = gaussian.mean + (x @ torch.randn(SIZE, generator=stream, dtype=torch.float64)).reshape(SHAPE)
    y = operator(x[None])
    return y + sigma_y * torch.randn(y.shape, generator=stream, dtype=torch.float64)


def iterates(gaussian, operator, y, levels, sigma_y, seed=5, start=None, **few_step):
    problem = Problem(y.expand(CHAINS, *y.shape[1:]), operator, gaussian, sigma_y, levels, few_step=FewStep(**few_step))
    return split_gibbs(problem, chain_noise(seed), start)


def sample(*problem, **options) -> torch.Tensor:
    return deque(iterates(*problem, **options), maxlen=1).pop().flatten(1)


def assert_samples_follow(samples: torch.Tensor, law: Law) -> None:
    """Every mean and covariance within 5 Monte Carlo standard errors of the law's."""
    n, variance = len(samples), law.covariance.diag()
    mean_error = (samples.mean(dim=0) - law.mean).abs() / (variance / n).sqrt()
    standard_error = ((variance[:, None] * variance + law.covariance.square()) / n).sqrt()
    covariance_error = (samples.T.cov() - law.covariance).abs() / standard_error
    assert mean_error.max() < 5
    assert covariance_error.max() < 5


@pytest.mark.parametrize("name", operators())
@pytest.mark.parametrize("overrelaxation", [0.0, 0.7], ids=["samples", "overrelaxed"])
def test_a_fixed_level_samples_the_posterior_under_augmented_noise(name, overrelaxation):
    """At one level sigma the stationary law is the posterior for a noise of ``sigma_y² I + sigma² A A^T``."""
    gaussian, operator, sigma_y, sigma = prior(), operators()[name], 0.3, 0.6
    y, a = measurement(gaussian, operator, sigma_y), dense(operator)
    target = gaussian_posterior(
        gaussian, a, y.flatten(), sigma_y**2 * torch.eye(len(a), dtype=torch.float64) + sigma**2 * a @ a.T
    )
    levels, how = karras(60, sigma, sigma, 1.0), {"overrelaxation": overrelaxation}
    assert law_of_the_chain(gaussian, a, y.flatten(), levels, sigma_y, **how).distance(target) < 1e-3  # long enough
    assert_samples_follow(sample(gaussian, operator, y, levels, sigma_y, **how), target)


@pytest.mark.parametrize("name", operators())
def test_overrelaxation_makes_the_mean_over_the_chain_more_precise(name):
    """At one level, where the law is the same: that is what the opposite signs are for."""
    gaussian, operator, sigma_y, sigma = prior(), operators()[name], 0.3, 0.6
    y = measurement(gaussian, operator, sigma_y)
    spread = []
    for overrelaxation in (0.0, 0.7):
        chain = iterates(gaussian, operator, y, [sigma] * 20, sigma_y, 8, overrelaxation=overrelaxation)
        spread.append(torch.stack(list(chain)[4:]).mean(dim=0).flatten(1).var(dim=0).sum())
    assert spread[1] < 0.95 * spread[0]


class Truth:
    """A prior that knows the image; it keeps the likelihood samples that it is given."""

    def __init__(self, x: torch.Tensor):
        self.x, self.given = x, []

    def sample(self, u, sigma, noise):
        self.given.append(u)
        return self.x


@pytest.mark.parametrize("name", operators())
def test_a_renoised_likelihood_sample_near_the_truth_has_white_noise_of_the_level(name):
    """The noise of the measurement and that of the sample together, at the first level."""
    operator, sigma_y, levels = operators()[name], 0.3, [0.9, 0.4]
    truth = Truth(torch.randn(1, *SHAPE, generator=seeded(8), dtype=torch.float64).expand(CHAINS, *SHAPE))
    y = operator(truth.x) + sigma_y * chain_noise(9)(operator.out_shape)
    sample(truth, operator, y, levels, sigma_y, start=truth.x, renoise=1.0)
    assert_samples_follow(truth.given[0].flatten(1), Law(truth.x[0].flatten(), levels[0] ** 2 * EYE))


@pytest.mark.parametrize("name", operators())
@pytest.mark.parametrize("levels", [[1.0], [2.0, 0.1], karras(4, 2.0, 0.1, 3.0)], ids=len)
@pytest.mark.parametrize("renoise", [0.0, 0.7])
@pytest.mark.parametrize("overrelaxation", [0.0, 0.6])
def test_few_steps_follow_their_exact_law(name, levels, renoise, overrelaxation):
    gaussian, operator, sigma_y = prior(), operators()[name], 0.1
    y = measurement(gaussian, operator, sigma_y)
    how = {"renoise": renoise, "overrelaxation": overrelaxation}
    law = law_of_the_chain(gaussian, dense(operator), y.flatten(), levels, sigma_y, **how)
    assert_samples_follow(sample(gaussian, operator, y, levels, sigma_y, **how), law)


@pytest.mark.slow
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
def test_the_likelihood_sample_of_a_noiseless_measurement_is_consistent(name):
    """With ``sigma_y = 0`` each u agrees with y exactly, and x tends to it with sigma."""
    gaussian, operator = prior(), operators()[name]
    y = measurement(gaussian, operator, 0.0)
    x = sample(gaussian, operator, y, karras(20, 2.0, 1e-4, 3.0), 0.0).reshape(CHAINS, *SHAPE)
    # A x - y = A (x - u), where |x - u| is at most about 6 sigma in any pixel of any chain, and A averages pixels.
    assert (operator(x) - y).abs().max() < 10 * 1e-4


def test_it_yields_every_iterate_and_averages_without_touching_the_chain():
    gaussian, operator = prior(), operators()["blur"]
    y = measurement(gaussian, operator, 0.1)
    levels = karras(5, 2.0, 0.1, 3.0)
    raw, averaged = (list(iterates(gaussian, operator, y, levels, 0.1, output_ema=ema)) for ema in (0.0, 0.6))
    assert len(raw) == len(averaged) == 5
    expected = raw[0]
    for x, x_avg in zip(raw, averaged, strict=True):
        expected = x if x is raw[0] else 0.6 * expected + 0.4 * x
        assert (x_avg - expected).abs().max() < 1e-12


@pytest.mark.parametrize("name", operators())
def test_a_warm_start_is_the_image_that_the_first_likelihood_sample_is_made_near(name):
    gaussian, operator, sigma, sigma_y = prior(), operators()[name], 0.5, 0.1
    y, a = measurement(gaussian, operator, sigma_y), dense(operator)
    start = torch.randn(SHAPE, generator=seeded(7), dtype=torch.float64)
    chain = ExactChain(gaussian, a, y.flatten(), sigma_y)
    chain.law.mean = chain.x.T @ start.flatten()
    chain.likelihood(sigma)
    chain.prior(sigma)
    samples = sample(gaussian, operator, y, [sigma], sigma_y, start=start.expand(CHAINS, *SHAPE))
    assert_samples_follow(samples, chain.law_of_x())
