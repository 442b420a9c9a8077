"""The annealed split Gibbs sampler."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from operators import LinearOperator, NoiseModel, Operator
from operators.likelihood import Likelihood
from operators.noise import normals

from ..priors.denoiser import Noise, Prior
from ..specs.settings import FewStep


@dataclass(frozen=True)
class Problem:
    """What is sampled from: the law of x given y, a measurement of A(x), under a prior, along annealed noise levels."""

    y: Tensor  # [B, *operator.out_shape]
    operator: LinearOperator | Operator  # A; linear where the noise is white
    prior: Prior
    sigma_y: float  # noise level of white noise that likelihood samples assume
    sigmas: Sequence[float]  # noise levels of the annealing, decreasing; one sample of the prior at each
    gamma: float | None = None  # over-noising of the prior; None: its own
    few_step: FewStep = field(default_factory=FewStep)
    model: NoiseModel | None = None  # of any other noise, or of an operator that is not linear


def split_gibbs(
    problem: Problem, noise: Noise, start: Tensor | None = None, likelihood: Likelihood | None = None
) -> Iterator[Tensor]:
    """Sample ``x ~ p(x | y)`` by samples of the likelihood and of the prior in turn; yield x after each noise level.

    At one level sigma the chain's stationary law is that of ``p(x) N(u; x, sigma² I) N(y; A u, sigma_y² I)``, whose
    x-marginal is the posterior under a measurement noise of covariance ``sigma_y² I + sigma² A A^T``; annealing sigma
    towards 0 leads it to the posterior itself (Vono et al. 2019; Wu et al. 2024, PnP-DM).

    For a linear A and white noise the likelihood sample is ``u ~ N(m(x), H)``,
    ``H = (A^T A / sigma_y² + I / sigma²)^-1``, by perturbation and prox; for the rest ``likelihood`` makes it, without
    re-noising and over-relaxation. ``start`` ``[B, C, H, W]`` is the image near which the first one is made, gray by
    default. What ``few_step`` adds:

    - re-noising r: at the first level u gets ``r W N(0, sigma² I)`` on top, ``W = I - H / sigma²`` being near 1 for
      what is measured well at this level and 0 for what is not measured. At r = 1 the noise of u about a perfect x is
      white and of level sigma, as the prior assumes (DDRM, Kawar et al. 2022; DiffPIR, Zhu et al. 2023).
    - over-relaxation a: ``u = m(x) - a (u_last - m(x)) + sqrt(1 - a²) N(0, H)``: successive samples lie on opposite
      sides of their means, and what the prior makes of their noise cancels in part (Adler 1981). At one level it leaves
      p(u | x, y), and so the law of the chain, as it is; between levels the deviation is kept in units of the noise.
    - momentum m: the next u is made near ``x + m (x - x_last)``; below 0 that is between the last two samples, which
      damps what an estimate (``gamma`` 0) adds to one of its own.
    - output EMA c: what is yielded is ``x_out <- c x_out + (1 - c) x``; the chain goes on with x.
    - sigma inflation: the prior is given a higher noise level, see :class:`GenerativeDenoiser`.
    """
    few_step = problem.few_step
    near = problem.operator.blank(problem.y) if start is None else start
    x = x_out = last = start = None  # what is kept between steps: near, x, x_out and last, as far as they are in use
    for i, sigma in enumerate(problem.sigmas):
        if likelihood is None:
            u, last = perturb_and_solve(problem, near, sigma, 0.0 if i else few_step.renoise, noise, last)
        else:
            u = likelihood.sample(near, sigma, noise)
        x_last, x = x, problem.prior.sample(u, sigma, noise, **over_noising(problem, i))
        near = x + few_step.momentum * (x - x_last) if few_step.momentum and i else x
        x_out = torch.lerp(x, x_out, few_step.output_ema) if few_step.output_ema and i else x
        del u, x_last
        yield x_out


def perturb_and_solve(
    problem: Problem, near: Tensor, sigma: float, renoise: float, noise: Noise, last: Perturbed | None
) -> tuple[Tensor, Perturbed | None]:
    """``u ~ N(m(near), H)``, re-noised by ``renoise``; and what it was solved from, if the next is over-relaxed."""
    operator, sigma_y, a = problem.operator, problem.sigma_y, problem.few_step.overrelaxation
    e_x, e_y = noise(operator.in_shape), normals(noise, problem.y) if sigma_y else 0.0
    if last is not None:
        e_x = math.sqrt(1 - a**2) * e_x - a * (last.x - near) / last.sigma
        e_y = math.sqrt(1 - a**2) * e_y - a * last.e_y
    x, w = near + sigma * e_x, renoise * sigma * noise(operator.in_shape) if renoise else 0.0
    u = operator.prox(x - w, problem.y + sigma_y * e_y, (sigma_y / sigma) ** 2) + w
    return u, Perturbed(x, e_y, sigma) if a else None


class Perturbed(NamedTuple):
    """What the likelihood sample of one noise level was solved from."""

    x: Tensor  # near + sigma e_x, [B, C, H, W]
    e_y: Tensor | float  # standard normals; 0 where sigma_y is
    sigma: float


def over_noising(problem: Problem, i: int) -> dict[str, float | None]:
    """``gamma`` and ``sigma_inflation`` of the i-th sample of the prior; nothing where both are the prior's own.

    The inflation falls linearly to 0 at the last noise level.
    """
    inflation, last = problem.few_step.sigma_inflation, len(problem.sigmas) - 1
    if problem.gamma is None and not inflation:
        return {}
    return {"gamma": problem.gamma, "sigma_inflation": inflation * (1 - i / last) if last else 0.0}
