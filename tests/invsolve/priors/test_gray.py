"""A gray prior made of one for colours, against closed forms."""

import pytest
import torch

from invsolve import Denoiser, GaussianPrior, GenerativeDenoiser, PosteriorMean, Settings, solve
from invsolve.priors.gray import GrayPrior
from invsolve.runtime.random_streams import NoiseStreams
from operators import Identity

SHAPE, N = (1, 2, 3), 20_000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def gray() -> GaussianPrior:
    root = torch.randn(6, 6, generator=seeded(1), dtype=torch.float64) / 2
    return GaussianPrior(torch.randn(SHAPE, generator=seeded(2), dtype=torch.float64), root @ root.T)


@pytest.fixture(scope="module")
def coloured(gray) -> GaussianPrior:
    """The law of ``(g, g, g)``."""
    covariance = gray.axes @ gray.variances.diag() @ gray.axes.T
    return GaussianPrior(gray.mean.expand(3, -1, -1), torch.ones(3, 3, dtype=torch.float64).kron(covariance))


def test_its_draws_have_the_law_of_the_gray_posterior(gray, coloured):
    sigma = 0.4
    u = gray.mean + 0.7 * torch.randn(SHAPE, generator=seeded(3), dtype=torch.float64)
    x = GrayPrior(coloured).sample(u.expand(N, *SHAPE), sigma, NoiseStreams(0, range(N), dtype=torch.float64))
    assert x.shape == (N, *SHAPE)
    variances = gray.variances * sigma**2 / (gray.variances + sigma**2)
    covariance = gray.axes @ variances.diag() @ gray.axes.T
    errors = (x - gray(u[None], sigma)).flatten(1)
    assert (errors.mean(dim=0).abs() / covariance.diagonal().sqrt()).max() < 5 / N**0.5
    scale = covariance.diagonal().sqrt()
    assert ((errors.T @ errors / N - covariance) / torch.outer(scale, scale)).abs().max() < 5 * 2**0.5 / N**0.5


def test_the_colour_prior_sees_white_noise_of_the_level_it_is_told():
    seen = {}

    class Colour:
        evaluations = 1

        def sample(self, u, sigma, noise):
            seen.update(u=u, sigma=sigma)
            return u

    g, noise = torch.zeros(N, *SHAPE), NoiseStreams(0, range(N))
    x = GrayPrior(Colour()).sample(g + 0.2 * noise(SHAPE), 0.2, noise)
    assert seen["sigma"] == pytest.approx(0.2 * 3**0.5)
    covariance = seen["u"].flatten(1).T.cov() / seen["sigma"] ** 2
    assert (covariance - torch.eye(18)).abs().max() < 5 * 2**0.5 / N**0.5
    assert x.std().item() == pytest.approx(0.2, rel=0.01)  # the mean over the channels is what was given


def test_solve_passes_its_settings_on_to_the_prior_inside(coloured):
    class Network(torch.nn.Module):
        def forward(self, x, level, condition, condition_level):
            return torch.tanh(x + condition)

    prior = GrayPrior(GenerativeDenoiser(Denoiser(Network())))
    operator, y = Identity(SHAPE), torch.zeros(2, *SHAPE)
    first, second = (solve(y, operator, prior=prior, settings=Settings(gamma=gamma)) for gamma in (0.0, 0.4))
    assert (first - second).abs().max() > 1e-3
    less = GrayPrior(GenerativeDenoiser(Denoiser(Network()), 0.4))
    assert torch.equal(second, solve(y, operator, prior=less, settings=Settings()))
    with pytest.raises(ValueError, match="need a prior with over-noising"):
        solve(y, operator, prior=GrayPrior(PosteriorMean(coloured)), settings=Settings(gamma=0.4))


def test_what_is_not_gray_is_refused(coloured):
    with pytest.raises(ValueError, match="the images have 3 channels but must be gray"):
        GrayPrior(coloured).sample(torch.zeros(1, 3, 2, 3), 0.1, NoiseStreams(0, [0]))
    with pytest.raises(ValueError, match="channels is 1"):
        GrayPrior(coloured, 1)
