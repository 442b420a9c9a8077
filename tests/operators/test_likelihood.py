"""Samples of the likelihood step against quadrature, in one and two dimensions, for every kind of likelihood."""

from __future__ import annotations

import itertools

import pytest
import torch
from test_noise_models import seeded
from torch import Tensor

from operators import (
    Clip,
    Gaussian,
    Identity,
    LinearOperator,
    NoiseModel,
    Operator,
    Poisson,
    PoissonGaussian,
    Quantized,
    Saturated,
)
from operators.langevin import Langevin
from operators.likelihood import Censored, Clipped, Rounded, likelihood_of

N, FEW = 4000, 1500
CRITICAL = 1.95  # of Kolmogorov's statistic, at 0.1 %
ONE = Identity((1, 1, 1))


class Warped(Operator):
    """Two values of an image of two pixels, neither linear nor pointwise."""

    def __init__(self):
        super().__init__((1, 1, 2), (1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return torch.stack([a + 0.4 * b**2, (a - b).tanh()], -1)


class Mixed(LinearOperator):
    """A linear operator whose rows are not orthogonal."""

    def __init__(self):
        super().__init__((1, 1, 2), (1, 1, 2))
        self.register_exact("matrix", torch.tensor([[1.0, 0.5], [0.2, 0.8]], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T

    def adjoint(self, y: Tensor) -> Tensor:
        return y @ self.matrix


IN_ONE = {
    "clipped, within": (Clip((1, 1, 1)), Gaussian(0.05), 0.1, 0.3, 0.5, Clipped),
    "clipped, at the limit": (Clip((1, 1, 1)), Gaussian(0.05), 0.97, 0.45, 1.0, Clipped),
    "clipped, below": (Clip((1, 1, 1)), Gaussian(0.05), -1.02, 0.2, 0.5, Clipped),
    "rounded": (ONE, Quantized(0.1), 0.3, 0.1, 0.2, Rounded),
    "rounded, of a multiple": (2.0 * ONE, Quantized(0.5), 0.5, 0.1, 0.2, Rounded),
    "saturated": (0.5 * ONE, Saturated(0.1), -1.0, 0.9, 0.4, Censored),
    "below saturation": (ONE, Saturated(0.1), 0.5, 0.9, 0.2, Censored),
    "no photon": (ONE, Poisson(30.0), -1.0, 0.0, 0.3, Langevin),
    "few photons": (ONE, Poisson(30.0), 2 * 3 / 30 - 1, 0.0, 0.3, Langevin),
    "photons, far from x": (ONE, Poisson(30.0), 2 * 10 / 30 - 1, -0.9, 1.0, Langevin),
    "photons and read noise": (ONE, PoissonGaussian(30.0, 0.05), -0.31, -0.5, 0.4, Langevin),
    "white noise, by Langevin steps": (Warped.__base__, Gaussian(0.2), 0.5, 0.0, 0.4, Langevin),
}


class Cubed(Operator):
    pointwise = True

    def forward(self, x: Tensor) -> Tensor:
        return x + x**3


@pytest.mark.parametrize("name", IN_ONE)
def test_samples_have_the_law_of_quadrature(name):
    operator, model, y, x, rho, kind = IN_ONE[name]
    operator = (operator if isinstance(operator, Operator) else Cubed((1, 1, 1), (1, 1, 1))).double()
    ys, xs = (torch.full((N, 1, 1, 1), value, dtype=torch.float64) for value in (y, x))
    likelihood = likelihood_of(ys, operator, model)
    assert isinstance(likelihood, kind)
    u = likelihood.sample(xs, rho, seeded(N)).flatten().sort().values
    grid = torch.linspace(x - 9 * rho, x + 9 * rho, 200_001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    density = model.log_likelihood(torch.full_like(grid, y), operator(grid)) - (grid - x) ** 2 / (2 * rho**2)
    law = (density - density.max()).exp().flatten().cumsum(0)
    law = law / law[-1]
    found = law[torch.searchsorted(grid.flatten(), u).clamp(max=len(law) - 1)]
    assert (found - (torch.arange(N) + 0.5) / N).abs().max() < CRITICAL / N**0.5 + 2e-3


IN_TWO = {
    "photons behind a linear map": (Mixed(), Poisson(40.0)),
    "saturation behind a linear map": (Mixed(), Saturated(0.2)),
    "white noise behind another map": (Warped(), Gaussian(0.2)),
}


def moments(operator: Operator, model: NoiseModel, y: Tensor, x: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance by quadrature over a plane."""
    axes = [torch.linspace(c - 6 * rho, c + 6 * rho, 301, dtype=torch.float64) for c in x.flatten().tolist()]
    u = torch.cartesian_prod(*axes).reshape(-1, 1, 1, 2)
    likelihood = model.log_likelihood(y.expand_as(u), operator.forward(u)).flatten(1).sum(1)
    weight = (likelihood - ((u - x) ** 2).flatten(1).sum(1) / (2 * rho**2)).softmax(0)
    flat = u.flatten(1)
    mean = weight @ flat
    return mean, (flat - mean).T @ ((flat - mean) * weight[:, None])


@pytest.mark.parametrize("name", IN_TWO)
def test_langevin_samples_have_the_moments_of_quadrature(name):
    operator, model = IN_TWO[name][0].double(), IN_TWO[name][1]
    x, y = torch.tensor([[[[0.3, -0.2]]]]).double(), torch.tensor([[[[0.9, 0.1]]]]).double()
    y = y.clamp(max=1.0) if not isinstance(model, Saturated) else torch.tensor([[[[1.0, 0.1]]]]).double()
    likelihood = likelihood_of(y.expand(FEW, 1, 1, 2), operator, model)
    u = likelihood.sample(x.expand(FEW, 1, 1, 2), 0.5, seeded(FEW)).flatten(1)
    mean, covariance = moments(operator, model, y, x, 0.5)
    assert torch.allclose(u.mean(0), mean, atol=4 * (covariance.diagonal().max() / FEW).sqrt().item())
    assert torch.allclose(u.T.cov(), covariance, atol=0.12 * covariance.diagonal().max().item())
    assert 0.3 < likelihood.accepted[0].mean() < 0.95


@pytest.mark.parametrize("name", IN_TWO)
def test_a_step_leaves_the_law_as_it_is(name):
    """Detailed balance: p(u) q(u' | u) a(u, u') is symmetric in u and u', with the step's own proposal and ratio."""
    operator, model = IN_TWO[name][0].double(), IN_TWO[name][1]
    places = torch.tensor([[0.1, 0.2], [-0.3, 0.4], [0.7, -0.6]], dtype=torch.float64).reshape(3, 1, 1, 2)
    x, y, rho, h = torch.zeros(1, 1, 1, 2).double(), torch.full((1, 1, 1, 2), 0.3).double(), 0.7, torch.tensor(0.4)
    chain = Langevin(y, operator, model)
    h = h.double().reshape(1, 1, 1, 1)
    states = [chain.state(place[None], x, rho) for place in places]
    for here, there in itertools.combinations(states, 2):
        flows = []
        for a, b in ((here, there), (there, here)):
            forth, back = chain._log_proposal(a, b.u, h, rho), chain._log_proposal(b, a.u, h, rho)
            ratio = b.log_density - a.log_density + back - forth
            flows.append(a.log_density + forth + ratio.clamp(max=0))
        assert torch.allclose(*flows, atol=1e-9)


@pytest.mark.parametrize("name", IN_TWO)
def test_proposals_have_the_density_that_their_ratio_assumes(name):
    operator, model = IN_TWO[name][0].double(), IN_TWO[name][1]
    x, y = torch.zeros(N, 1, 1, 2).double(), torch.full((N, 1, 1, 2), 0.3).double()
    chain, h = Langevin(y, operator, model), torch.full((N, 1, 1, 1), 0.4, dtype=torch.float64)
    state = chain.state(x + 0.2, x, 0.7)
    moved = state.u + chain._move(state.gradient, h, 0.7, seeded(N))
    # -2 ln q, without its constant, is then a chi-square variable of two degrees of freedom.
    found = (-2 * chain._log_proposal(state, moved, h, 0.7)).sort().values
    expected = 1 - (-found / 2).exp()
    assert (expected - (torch.arange(N) + 0.5) / N).abs().max() < CRITICAL / N**0.5


def test_rounding_of_mixtures_is_refused():
    y = torch.zeros(1, 1, 1, 2)
    with pytest.raises(ValueError, match="Mixed measures mixtures whose rounding errors cannot be told apart"):
        likelihood_of(y, Mixed(), Quantized(0.1)).sample(y, 0.3, seeded(1, dtype=torch.float32))
    with pytest.raises(ValueError, match="quantized noise needs a linear operator but Warped is none"):
        likelihood_of(y, Warped(), Quantized(0.1))
