import math

import pytest
import torch

from invsolve.priors.gaussian import GaussianMixturePrior, GaussianPrior
from invsolve.runtime.random_streams import NoiseStreams

SHAPE = (2, 2, 3)
SIZE = math.prod(SHAPE)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_noise(batch: int, seed: int):
    """Noise for a large batch from one stream: faster than a stream per image, where only the law matters."""
    stream = generator(seed)
    return lambda shape: torch.randn(batch, *shape, generator=stream, dtype=torch.float64)


def random_covariance(seed: int, size: int = SIZE, scale: float = 1.0) -> torch.Tensor:
    root = torch.randn(size, size, generator=generator(seed), dtype=torch.float64) / size**0.5
    return scale * (root @ root.T + 0.05 * torch.eye(size, dtype=torch.float64))


def random_image(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or SHAPE), generator=generator(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def gaussian() -> GaussianPrior:
    return GaussianPrior(random_image(0), random_covariance(1))


@pytest.fixture(scope="module")
def mixture() -> GaussianMixturePrior:
    """Three well-mixed components in the plane: images of shape [1, 1, 2]."""
    means = torch.tensor([[-1.0, 0.0], [0.8, 0.6], [0.5, -1.0]], dtype=torch.float64).reshape(3, 1, 1, 2)
    covariances = torch.stack([random_covariance(seed, 2, 0.2) for seed in (5, 6, 7)])
    return GaussianMixturePrior(torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64), means, covariances)


def test_gaussian_posterior_mean_against_a_dense_solve(gaussian):
    u, covariance = random_image(2, 3, *SHAPE), random_covariance(1)
    sigma = torch.tensor([0.1, 0.7, 3.0], dtype=torch.float64)
    for b in range(3):
        total = covariance + sigma[b] ** 2 * torch.eye(SIZE, dtype=torch.float64)
        residual = (u[b] - gaussian.mean).flatten()
        expected = gaussian.mean.flatten() + covariance @ torch.linalg.solve(total, residual)
        assert (gaussian(u, sigma)[b].flatten() - expected).abs().max() < 1e-12
        assert (gaussian(u, float(sigma[b]))[b].flatten() - expected).abs().max() < 1e-12


def test_gaussian_draws_have_the_posterior_mean_and_covariance(gaussian):
    n, sigma, covariance = 40_000, 0.6, random_covariance(1)
    u = random_image(3).expand(n, *SHAPE)
    draws = gaussian.sample(u, sigma, batch_noise(n, 4)).flatten(1)
    eye = torch.eye(SIZE, dtype=torch.float64)
    expected = torch.linalg.inv(torch.linalg.inv(covariance) + eye / sigma**2)
    mean_error = (draws.mean(dim=0) - gaussian(u[:1], sigma).flatten()).abs()
    assert (mean_error / (expected.diag() / n).sqrt()).max() < 5
    variance = expected.diag()
    standard_error = ((variance[:, None] * variance + expected.square()) / n).sqrt()
    assert ((draws.T.cov() - expected).abs() / standard_error).max() < 5


def test_draws_do_not_depend_on_the_batch(gaussian, mixture):
    u = random_image(8, 4, 1, 1, 2)
    together = mixture.sample(u, 0.5, NoiseStreams(0, range(4), dtype=torch.float64))
    alone = mixture.sample(u[2:3], 0.5, NoiseStreams(0, [2], dtype=torch.float64))
    assert (together[2] - alone[0]).abs().max() < 1e-12


def test_gaussian_density_and_score(gaussian):
    u, sigma = random_image(9, 3, *SHAPE).requires_grad_(), 0.4
    total = random_covariance(1) + sigma**2 * torch.eye(SIZE, dtype=torch.float64)
    expected = torch.distributions.MultivariateNormal(gaussian.mean.flatten(), total).log_prob(u.flatten(1))
    density = gaussian.log_density(u, sigma)
    assert (density - expected).abs().max() < 1e-11
    (gradient,) = torch.autograd.grad(density.sum(), u)
    assert (gaussian.score(u, sigma) - gradient).abs().max() < 1e-11


def test_tweedie_ties_denoiser_and_score(gaussian, mixture):
    sigma = 0.8
    for prior, u in [(gaussian, random_image(10, 3, *SHAPE)), (mixture, random_image(11, 3, 1, 1, 2))]:
        assert (prior(u, sigma) - (u + sigma**2 * prior.score(u, sigma))).abs().max() < 1e-12


def test_mixture_density_integrates_to_one_and_its_score_is_the_gradient(mixture):
    axis = torch.linspace(-6, 6, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis).reshape(-1, 1, 1, 2)
    cell = (axis[1] - axis[0]) ** 2
    for sigma in (0.0, 0.5):
        assert abs(mixture.log_density(grid, sigma).exp().sum() * cell - 1) < 1e-8
    u = random_image(12, 5, 1, 1, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.log_density(u, 0.3).sum(), u)
    assert (mixture.score(u, 0.3) - gradient).abs().max() < 1e-11


def test_mixture_posterior_against_quadrature(mixture):
    """The posterior mean against the integral of ``x p(x) N(u; x, sigma²)`` on a fine grid."""
    axis = torch.linspace(-5, 5, 501, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    log_prior = mixture.log_density(grid.reshape(-1, 1, 1, 2))
    u = random_image(13, 4, 1, 1, 2)
    sigma = torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=torch.float64)
    log_likelihood = -0.5 * torch.cdist(u.reshape(-1, 2), grid).square() / sigma[:, None].square()
    weights = (log_prior + log_likelihood).softmax(dim=1)
    assert (mixture(u, sigma).reshape(-1, 2) - weights @ grid).abs().max() < 1e-8


def test_mixture_draws_against_brute_force_importance_weights(mixture):
    """Draws fall into the cells of the plane as often as prior samples weighted by ``N(u; x, sigma²)`` do."""
    n, sigma = 100_000, 0.7
    u = torch.tensor([0.1, -0.2], dtype=torch.float64)
    draws = mixture.sample(u.reshape(1, 1, 1, 2).expand(n, 1, 1, 2), sigma, batch_noise(n, 14)).reshape(n, 2)

    component = torch.multinomial(mixture.weights, n, replacement=True, generator=generator(15))
    roots = torch.stack([torch.linalg.cholesky(random_covariance(seed, 2, 0.2)) for seed in (5, 6, 7)])
    means = torch.stack([c.mean.flatten() for c in mixture.components])
    standard = torch.randn(n, 2, generator=generator(16), dtype=torch.float64)
    samples = means[component] + torch.einsum("nij,nj->ni", roots[component], standard)
    weights = (-0.5 * (samples - u).square().sum(dim=1) / sigma**2).softmax(dim=0)

    def cells(points: torch.Tensor) -> torch.Tensor:
        """Indicator of the cell each point is in, on an 8 x 8 grid over [-2, 2]² (outer cells reach to infinity)."""
        inner = torch.linspace(-2, 2, 9, dtype=torch.float64)[1:-1]
        column, row = torch.bucketize(points, inner).unbind(dim=1)
        return torch.nn.functional.one_hot(8 * row + column, 64).double()

    drawn, weighted = cells(draws), cells(samples)
    frequency, expected = drawn.mean(dim=0), weights @ weighted
    # Self-normalised importance sampling: variance of the estimate is sum w² (f - mean)².
    variance = expected * (1 - expected) / n + weights.square() @ (weighted - expected).square()
    populated = expected > 1e-3
    assert populated.sum() >= 20
    assert ((frequency - expected).abs() / variance.sqrt())[populated].max() < 5


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(4), torch.eye(4), "one image"),
        (torch.zeros(1, 2, 2), torch.eye(3), r"\[3, 3\] but the mean has 4 pixels"),
        (torch.zeros(1, 1, 2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (torch.zeros(1, 1, 2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "not positive semi-definite"),
    ],
)
def test_what_is_no_gaussian_is_refused(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        GaussianPrior(mean, covariance)


def test_what_is_no_mixture_is_refused():
    means, covariances = torch.zeros(2, 1, 1, 2), torch.eye(2).expand(2, 2, 2)
    with pytest.raises(ValueError, match="3 weights, 2 means"):
        GaussianMixturePrior(torch.ones(3), means, covariances)
    with pytest.raises(ValueError, match="positive"):
        GaussianMixturePrior(torch.tensor([1.0, 0.0]), means, covariances)
