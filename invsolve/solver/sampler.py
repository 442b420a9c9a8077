"""The annealed split Gibbs sampler."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise, Prior
from ..specs.settings import FewStep


@dataclass(frozen=True)
class Problem:
    """What is sampled from: the law of x given ``y = A x + sigma_y n``, under a prior, along annealed noise levels."""

    y: Tensor  # [B, *operator.out_shape]
    operator: LinearOperator  # A
    prior: Prior
    sigma_y: float  # noise level of y that likelihood samples assume
    sigmas: Sequence[float]  # noise levels of the annealing, decreasing; one sample of the prior at each
    gamma: float | None = None  # over-noising of the prior; None: its own
    few_step: FewStep = field(default_factory=FewStep)


def split_gibbs(problem: Problem, noise: Noise, start: Tensor | None = None) -> Iterator[Tensor]:
    """Sample ``x ~ p(x | y)`` by samples of the likelihood and of the prior in turn; yield x after each noise level.

    At one level sigma the chain's stationary law is that of ``p(x) N(u; x, sigma² I) N(y; A u, sigma_y² I)``, whose
    x-marginal is the posterior under a measurement noise of covariance ``sigma_y² I + sigma² A A^T``; annealing sigma
    towards 0 leads it to the posterior itself (Vono et al. 2019; Wu et al. 2024, PnP-DM).

    The likelihood sample is ``u ~ N(m(x), H)``, ``H = (A^T A / sigma_y² + I / sigma²)^-1``, by perturbation and prox.
    ``start`` ``[B, C, H, W]`` is the image near which the first one is made, gray by default. What ``few_step`` adds:

    - re-noising r: at the first level u gets ``r W N(0, sigma² I)`` on top, ``W = I - H / sigma²`` being near 1 for
      what is measured well at this level and 0 for what is not measured. At r = 1 the noise of u about a perfect x is
      white and of level sigma, as the prior assumes (DDRM, Kawar et al. 2022; DiffPIR, Zhu et al. 2023).
    - over-relaxation a: ``u = m(x) - a (u_last - m(x)) + sqrt(1 - a²) N(0, H)``: successive samples lie on opposite
      sides of their means, and what the prior makes of their noise cancels in part (Adler 1981). At one level it leaves
      p(u | x, y), and so the law of the chain, as it is; between levels the deviation is kept in units of the noise.
    - momentum m: the next u is made near ``x + m (x - x_last)``.
    - output EMA c: what is yielded is ``x_out <- c x_out + (1 - c) x``; the chain goes on with x.
    - sigma inflation: the prior is given a higher noise level, see :class:`GenerativeDenoiser`.
    """
    y, operator, few_step = problem.y, problem.operator, problem.few_step
    near = y.new_zeros(len(y), *operator.in_shape) if start is None else start
    x = x_out = last = None
    for i, sigma in enumerate(problem.sigmas):
        r = 0.0 if i else few_step.renoise
        e = [noise(operator.in_shape), noise(operator.out_shape), noise(operator.in_shape) if r else 0.0]
        if last and few_step.overrelaxation:
            e = over_relaxed(e, near, few_step.overrelaxation, *last)
        last = e, near, sigma
        w = r * sigma * e[2]
        v, y_noisy = near - w + sigma * e[0], y + problem.sigma_y * e[1]
        u = w + operator.prox(v, y_noisy, (problem.sigma_y / sigma) ** 2)  # likelihood sample
        x_last, x = x, problem.prior.sample(u, sigma, noise, **over_noising(problem, i))  # prior sample
        x_out = x if x_out is None else torch.lerp(x, x_out, few_step.output_ema)
        yield x_out
        near = x if x_last is None else x + few_step.momentum * (x - x_last)


def over_relaxed(
    e: list[Tensor | float], near: Tensor, a: float, e_last: list[Tensor], near_last: Tensor, sigma_last: float
) -> list[Tensor | float]:
    """``sqrt(1 - a²) e - a e_last``, where the last noise of x is that which would make the last u of this ``near``."""
    e_last = [e_last[0] + (near_last - near) / sigma_last, e_last[1]]
    return [*(math.sqrt(1 - a**2) * new - a * last for new, last in zip(e[:2], e_last, strict=True)), e[2]]


def over_noising(problem: Problem, i: int) -> dict[str, float | None]:
    """``gamma`` and ``sigma_inflation`` of the i-th sample of the prior; nothing where both are the prior's own.

    The inflation falls linearly to 0 at the last noise level.
    """
    inflation, last = problem.few_step.sigma_inflation, len(problem.sigmas) - 1
    if problem.gamma is None and not inflation:
        return {}
    return {"gamma": problem.gamma, "sigma_inflation": inflation * (1 - i / last) if last else 0.0}
