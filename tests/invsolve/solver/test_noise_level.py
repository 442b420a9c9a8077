"""The noise level estimated from a measurement."""

from __future__ import annotations

import pytest
import torch
from solver_cases import seeded

from invsolve import PosteriorMean, Settings, load_prior, solve
from invsolve.priors.gaussian import GaussianPrior
from invsolve.priors.registry import resolve
from invsolve.solver.diagnostics import ROUNDING
from invsolve.solver.noise_level import estimate_sigma, finest_level
from operators import Identity, Mask, MaskedFourier

SHAPE = (1, 24, 24)


@pytest.fixture(scope="module")
def prior() -> GaussianPrior:
    """Smooth images of one channel, but not so smooth that their finest wavelets are noise alone."""
    place = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij"), -1).reshape(-1, 2)
    return GaussianPrior(torch.zeros(SHAPE), 0.25 * torch.exp(-torch.cdist(place, place) / 2))


def pictures(prior: GaussianPrior, count: int) -> torch.Tensor:
    """Samples of the prior."""
    axes = prior.axes * prior.variances.sqrt()
    return (torch.randn(count, axes.shape[0], generator=seeded(0)) @ axes.T).reshape(count, *SHAPE)


class Colour:
    """The prior's images as all three channels of colour ones, which a gray measurement is taken to be of."""

    evaluations = 1

    def __init__(self, prior: GaussianPrior) -> None:
        self.prior = prior

    def sample(self, u, sigma, noise):
        x = self.prior.sample(u.mean(1, keepdim=True), sigma / 3**0.5, lambda shape: noise((1, *shape[1:])))
        return x.expand_as(u)


@pytest.mark.parametrize(("sigma", "start"), [(0.2, 1.5), (0.6, 1.05)])
def test_the_level_is_found_where_the_prior_is_true(sigma, start, prior):
    x = pictures(prior, 100)
    y = x + sigma * torch.randn(x.shape, generator=seeded(1))
    assert finest_level(y) / sigma > start  # which takes detail for noise
    assert estimate_sigma(y, Colour(prior)) == pytest.approx(sigma, rel=0.05)


def test_pictures_without_noise_have_that_of_8_bits(prior):
    assert estimate_sigma(torch.zeros(2, *SHAPE), Colour(prior)) == ROUNDING


def test_auto_solves_with_the_estimate(prior):
    x = pictures(prior, 4)
    y = x + 0.2 * torch.randn(x.shape, generator=seeded(1))
    y, colour, settings = y.expand(-1, 3, -1, -1), Colour(prior), Settings()
    operator = Identity((3, *SHAPE[1:]))
    found = solve(y, operator, sigma_y="auto", prior=colour, settings=settings)
    expected = solve(y, operator, sigma_y=estimate_sigma(y, colour), prior=colour, settings=settings)
    assert torch.equal(found, expected)


def test_of_two_networks_the_one_that_estimates_is_taken():
    """With the prior's over-noising: at noise of 0.02 the other's estimates on pictures were a tenth lower."""
    y = torch.rand(1, 3, 64, 64, generator=seeded(2))
    assert estimate_sigma(y, load_prior("default")) == estimate_sigma(y, load_prior(resolve("default")))


def test_what_cannot_be_estimated_is_refused(prior):
    shape, colour = (3, 8, 8), Colour(prior)
    for operator in (MaskedFourier(shape, torch.ones(8, 8)), Mask(shape, torch.ones(8, 8).tril())):
        y = torch.zeros(1, *operator.out_shape)
        with pytest.raises(ValueError, match=r"sigma_y is 'auto' but .*: give the noise level"):
            solve(y, operator, sigma_y="auto", prior=colour, settings=Settings())
    with pytest.raises(ValueError, match="by a prior that samples, and this one gives posterior means"):
        solve(torch.zeros(1, *shape), Identity(shape), sigma_y="auto", prior=PosteriorMean(lambda u, sigma: u))
