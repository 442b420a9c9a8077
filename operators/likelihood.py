"""Samples of the likelihood p(u | x, y) ∝ N(u; x, rho² I) p(y | A(u)), for any operator and noise model."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from operators.base import LinearOperator
from operators.clip import Clip
from operators.langevin import Langevin
from operators.noise import Gaussian, Noise, NoiseModel, Quantized, Saturated
from operators.operator import Operator
from operators.truncated import log_mass, truncated_normal

LEAST = 1e-4  # noise level on [-1, 1] that stands for none


class Likelihood(Protocol):
    """What samples p(u | x, y) for the measurements of a batch."""

    accepted: list[Tensor]  # of each Metropolis-adjusted sample so far, the share of accepted steps, [B]

    def sample(self, x: Tensor, rho: float, noise: Noise) -> Tensor:
        """One sample near each image of x `[B, *in_shape]`."""


def likelihood_of(y: Tensor, operator: Operator, model: NoiseModel) -> Likelihood:
    """The likelihood of measurements y: exact where it can be, else by Metropolis-adjusted Langevin steps.

    Exact are white noise behind clipping, rounding along orthogonal rows and saturation along them. Gaussian noise of
    linear operators has `LinearOperator.sample`.

    Raises:
        ValueError: rounding of an operator whose rows are not orthogonal: its likelihood has no gradient to follow.
    """
    if isinstance(operator, Clip) and isinstance(model, Gaussian):
        return Clipped(y, operator, model)
    if isinstance(model, Quantized):
        return Rounded(y, operator, model)
    if isinstance(model, Saturated) and isinstance(operator, LinearOperator) and operator.row_power is not None:
        return Censored(y, operator, model)
    return Langevin(y, operator, model)


class Rounded:
    """Rounded measurements: A u lies within half a step of y. Truncated normals, exact."""

    def __init__(self, y: Tensor, operator: LinearOperator, model: Quantized):
        if not isinstance(operator, LinearOperator):
            raise ValueError(f"quantized noise needs a linear operator but {type(operator).__name__} is none")
        self.operator, self.accepted = operator, []
        self.low, self.high = model.interval(y)

    def sample(self, x: Tensor, rho: float, noise: Noise) -> Tensor:
        return self.operator.sample_within(x, self.low, self.high, rho, noise)


class Censored:
    """White noise and then saturation, along orthogonal rows.

    What the sensor would have said without saturation, y*, is sampled first: given x it is N(A x, s rho² + sigma²)
    beyond the limit. Given y* the rest is Gaussian. Exact.
    """

    def __init__(self, y: Tensor, operator: LinearOperator, model: Saturated):
        self.y, self.operator, self.model, self.accepted = y, operator, model, []
        self.low = torch.where(y >= model.high, model.high, -torch.inf)
        self.high = torch.where(y <= model.low, model.low, torch.inf)

    def sample(self, x: Tensor, rho: float, noise: Noise) -> Tensor:
        operator, sigma = self.operator, self.model.sigma
        spread = (operator.row_power * rho**2 + sigma**2) ** 0.5
        beyond = truncated_normal(operator.forward(x), spread, self.low, self.high, noise(operator.out_shape))
        unlimited = torch.where((self.y >= self.model.high) | (self.y <= self.model.low), beyond, self.y)
        return operator.sample(x, operator.observed(unlimited), sigma, rho, noise)


class Clipped:
    """Clipping and then white noise: for each pixel a mixture of three truncated normals, exact.

    Where `factor u` is within the limits y tells u, N(y; factor u, sigma²); beyond a limit y is that limit with noise,
    and tells no more.
    """

    def __init__(self, y: Tensor, operator: Clip, model: Gaussian):
        self.y, self.operator, self.accepted = y, operator, []
        self.sigma = model.deviations(y).clamp(min=LEAST)

    def sample(self, x: Tensor, rho: float, noise: Noise) -> Tensor:
        operator, y, variance = self.operator, self.y, self.sigma**2
        gain, low, high = operator.factor, operator.low / operator.factor, operator.high / operator.factor
        within_variance = 1 / (1 / rho**2 + gain**2 / variance)
        within_mean = within_variance * (x / rho**2 + gain * y / variance)
        within_std = within_variance.sqrt()
        below = log_mass(torch.full_like(x, -torch.inf), (low - x) / rho) + log_normal(y, operator.low, variance)
        within = log_mass((low - within_mean) / within_std, (high - within_mean) / within_std)
        within = within + log_normal(y, gain * x, gain**2 * rho**2 + variance)
        above = log_mass((high - x) / rho, torch.full_like(x, torch.inf)) + log_normal(y, operator.high, variance)
        shares = torch.stack([below, within, above]).softmax(0).cumsum(0)
        piece = (torch.special.ndtr(noise(operator.in_shape)) > shares[:2]).sum(0)
        inside = piece == 1
        mean, std = torch.where(inside, within_mean, x), torch.where(inside, within_std, rho)
        start = torch.where(piece == 0, -torch.inf, torch.where(inside, low, high))
        end = torch.where(piece == 2, torch.inf, torch.where(inside, high, low))
        return truncated_normal(mean, std, start, end, noise(operator.in_shape))


def log_normal(y: Tensor, mean: Tensor | float, variance: Tensor) -> Tensor:
    """ln N(y; mean, variance), but for a constant."""
    return -((y - mean) ** 2) / (2 * variance) - variance.log() / 2
