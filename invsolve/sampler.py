"""The annealed split Gibbs sampler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import torch

from operators import LinearOperator

from .prior import Noise


class Prior(Protocol):
    """What the sampler asks of a prior: one draw of ``p(x | u)`` for ``u = x + sigma n``, ``n ~ N(0, I)``."""

    evaluations: int  # network evaluations that one draw takes

    def draw(self, u: torch.Tensor, sigma: float, noise: Noise) -> torch.Tensor: ...


def split_gibbs(
    y: torch.Tensor,  #         [B, *operator.out_shape]
    operator: LinearOperator,
    prior: Prior | Sequence[Prior],  # one for all draws, or one each
    levels: Sequence[float],  # sigma_1 .. sigma_N, decreasing
    sigma_y: float,  #          noise level of the likelihood draws
    noise: Noise,
    u: torch.Tensor | None = None,
    average: float = 0.0,
    isotropic: bool = False,
    momentum: float = 0.0,
) -> Iterator[torch.Tensor]:
    """Sample ``x ~ p(x | y)`` by draws from the prior and from the likelihood in turn; yield ``x`` after each level.

    At one level sigma the chain's stationary law is that of ``p(x) N(u; x, sigma² I) N(y; A u, sigma_y² I)``, whose
    x-marginal is the posterior under a measurement noise of covariance ``sigma_y² I + sigma² A A^T``; annealing sigma
    towards 0 leads it to the posterior itself (Vono et al. 2019; Wu et al. 2024, PnP-DM).

    ``u`` is the noisy image the first draw starts from (a warm start); without one it is drawn from the measurement.
    With ``average`` > 0 what is yielded is ``x_avg <- average x_avg + (1 - average) x``, started at the first draw,
    while the chain itself goes on with ``x``. With ``isotropic`` every likelihood draw is replaced by its mean under
    white noise of the level, see :func:`renoise`. With ``momentum`` > 0 the likelihood draws are made near
    ``x + momentum (x - x_previous)`` instead of ``x``: over-relaxed, a few draws go as far as more do, though the law
    above no longer holds. Images are ``[B, C, H, W]``, noise levels are on their scale.
    """
    likelihood = partial(renoise, operator) if isotropic else operator.draw
    if u is None:
        u = likelihood(y.new_zeros(len(y), *operator.in_shape), y, sigma_y, levels[0], noise)
    priors = prior if isinstance(prior, Sequence) else [prior] * len(levels)
    x_avg = previous = None
    for i, (sigma, prior) in enumerate(zip(levels, priors, strict=True)):
        x = prior.draw(u, sigma, noise)
        x_avg = x if x_avg is None else torch.lerp(x, x_avg, average)
        yield x_avg
        if i + 1 < len(levels):
            near = x + momentum * (x - previous) if momentum and previous is not None else x
            u = likelihood(near, y, sigma_y, levels[i + 1], noise)
            previous = x


def renoise(
    operator: LinearOperator, x: torch.Tensor, y: torch.Tensor, sigma_y: float, rho: float, noise: Noise
) -> torch.Tensor:
    """The mean of ``operator.draw(x, y, sigma_y, rho, noise)`` under white noise of level ``rho``.

    No longer Gibbs sampling: what is measured is hidden under noise again, as by DiffPIR (Zhu et al. 2023). But then u
    has the same noise everywhere, as the prior is told, where a draw leaves measured pixels sharp beside a noisy hole.
    Few evaluations fill a large hole better so.
    """
    return operator.prox(x, y, (sigma_y / rho) ** 2) + rho * noise(operator.in_shape)
