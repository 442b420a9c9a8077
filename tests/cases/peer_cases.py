"""A small Gaussian world in float64 for the peers' tests, where every law is known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from invsolve.peers import PEERS
from invsolve.priors.gaussian import GaussianPrior
from operators import CircularConvolution, Grayscale, Identity, LinearOperator, Mask, Resize, random_mask

SHAPE = (3, 4, 4)
SIZE = math.prod(SHAPE)

# Enough steps to do something, few enough for a test.
SHORT = {name: {"steps": 7} for name in PEERS} | {
    "ddnm": {"steps": 6, "travel_length": 2, "travel_repeat": 2},
    "daps": {"steps": 4, "ode_steps": 3, "langevin_steps": 5},
    "pnpdm": {"steps": 5, "decay": 0.4, "grid": 12},
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def kernel() -> Tensor:
    taps = torch.tensor([[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]], dtype=torch.float64)
    return taps / taps.sum()


OPERATORS = {
    "identity": lambda: Identity(SHAPE),
    "mask": lambda: Mask(SHAPE, random_mask(SHAPE[1:], 0.5, seed=0)),
    "blur": lambda: CircularConvolution(SHAPE, kernel()),
    "resize": lambda: Resize(SHAPE, 2),
    "grayscale": lambda: Grayscale(SHAPE),
}


def operator(name: str) -> LinearOperator:
    return OPERATORS[name]().double()


def dense(op: LinearOperator) -> Tensor:
    """The matrix of the operator, ``[m, n]``."""
    return op(torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SHAPE)).flatten(1).T


def gaussian() -> GaussianPrior:
    root = random(SIZE, SIZE, seed=1) / SIZE**0.5
    return GaussianPrior(0.3 * random(*SHAPE, seed=2), 0.25 * root @ root.T + 0.02 * torch.eye(SIZE).double())


def covariance_of(prior: GaussianPrior) -> Tensor:
    return prior.axes @ prior.variances.diag() @ prior.axes.T


def posterior(prior: GaussianPrior, a: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of x given ``y = A x + N(0, noise)``."""
    mean, covariance = prior.mean.flatten(), covariance_of(prior)
    gain = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T + noise)
    return mean + gain @ (y - a @ mean), covariance - gain @ a @ covariance


def stream(batch: int, seed: int):
    """Noise for a whole batch from one generator, where only its law matters."""
    generator = seeded(seed)
    return lambda shape: torch.randn(batch, *shape, generator=generator, dtype=torch.float64)


def variance_preserving(prior: GaussianPrior):
    """The noise estimate ``eps(x_t, abar)`` in the papers' convention, ``x_t = sqrt(abar) x + sqrt(1 - abar) n``."""
    covariance, eye = covariance_of(prior), torch.eye(SIZE, dtype=torch.float64)

    def epsilon(x_t: Tensor, abar: float) -> Tensor:
        total = abar * covariance + (1 - abar) * eye
        residual = x_t.flatten(1) - abar**0.5 * prior.mean.flatten()
        return ((1 - abar) ** 0.5 * torch.linalg.solve(total, residual.T).T).reshape(x_t.shape)

    return epsilon
