"""Samples of truncated normal variables, exact in the body of the law and far out in its tails."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri

NARROW = 0.02  # standard deviations: the density within is exponential but for a relative error of 5e-5
BODY = -8.0  # standard deviations from where on the distribution function is computed in logarithms
FAR = -20.0  # logarithm of a probability below which the quantile is found by Newton's method
ITERATIONS = 3  # of it


def truncated_normal(mean: Tensor, std: float | Tensor, low: Tensor, high: Tensor, n: Tensor) -> Tensor:
    """A sample of N(mean, std²) between `low` and `high` for each standard normal in `n`, of which it is monotonic.

    Bounds may be infinite; `low <= high`. By the inverse of the distribution function: with a, b the standardised
    bounds and U = Phi(n),

        Phi(z) = (1 - U) Phi(a) + U Phi(b),

    on the side of 0 where Phi is small, and far out in logarithms. The result is clamped to the bounds.
    """
    mean, low, high, n = torch.broadcast_tensors(mean, low, high, n)
    a, b = (low - mean) / std, (high - mean) / std
    flip = a + b > 0  # more on the right, where 1 - Phi is what has digits
    a, b, n_left = torch.where(flip, -b, a), torch.where(flip, -a, b), torch.where(flip, -n, n)
    z = ndtri(torch.lerp(cdf(a), cdf(b), cdf(n_left)).clamp(max=1 - torch.finfo(n.dtype).eps))
    z = replaced(z, b < BODY, tail, a, b, n_left)
    z = replaced(z, b - a < NARROW, exponential, a, b, n_left)
    return (mean + std * torch.where(flip, -z, z)).clamp(low, high)


def cdf(z: Tensor) -> Tensor:
    """Phi(z), by a function that is fast on a CPU."""
    return torch.erfc(z * -math.sqrt(0.5)) / 2


def replaced(z: Tensor, where: Tensor, law: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """z with `law(*arguments)` in some places. Only a CPU looks whether, and where, there are any."""
    if z.device.type != "cpu":
        return torch.where(where, law(*arguments), z)
    if where.any():
        z[where] = law(*(argument[where] for argument in arguments))
    return z


def tail(a: Tensor, b: Tensor, n: Tensor) -> Tensor:
    """A sample between a < b, both far below 0."""
    return log_ndtri(torch.logaddexp(log_ndtr(a) + log_ndtr(-n), log_ndtr(b) + log_ndtr(n)))


def log_mass(a: Tensor, b: Tensor) -> Tensor:
    """ln(Phi(b) - Phi(a)), for a < b."""
    flip = a + b > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    return log_ndtr(b) + torch.log1p(-(log_ndtr(a) - log_ndtr(b)).exp())


def exponential(a: Tensor, b: Tensor, n: Tensor) -> Tensor:
    """A sample between a and b with a density that falls as the normal one does in the middle, for each normal."""
    width, rate = b - a, (a + b) / 2
    share = cdf(n)
    fall = rate * width
    steep = fall.abs() > 1e-3
    safe = fall.where(steep, 1)
    along = torch.where(steep, -torch.log1p(-share * -torch.expm1(-safe)) / safe, share)
    return a + width * along


def log_ndtri(log_p: Tensor) -> Tensor:
    """The z with ln Phi(z) = log_p. Below -20, by Newton's method from the tail's leading term."""
    z = ndtri(log_p.clamp(min=FAR - 1).exp())
    far = log_p < FAR
    if log_p.device.type == "cpu" and not far.any():
        return z
    log_q = log_p.where(far, 2 * FAR).clamp(min=-torch.finfo(log_p.dtype).max / 8)
    tail = -(-2 * log_q - (-4 * math.pi * log_q).log()).sqrt()
    for _ in range(ITERATIONS):
        value = log_ndtr(tail)
        slope = torch.exp(-tail.square() / 2 - value) / math.sqrt(2 * math.pi)  # of ln Phi, about -z
        tail = tail - (value - log_q) / slope
    return torch.where(far, tail, z)
