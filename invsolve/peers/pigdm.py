"""Pi-GDM: pseudoinverse-guided diffusion (Song et al. 2023, "Pseudoinverse-Guided Diffusion Models for Inverse
Problems", ICLR)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from .base import Denoise, Settings
from .levels import SIGMA_MAX, ddpm_levels
from .start import around_inverse


@dataclass(frozen=True)
class PiGDMSettings(Settings):
    steps: int = 100
    eta: float = 1.0  # share of new noise in a step: 1 is ancestral sampling, 0 is DDIM
    weight: float = 1.0  # of the guidance
    sigma_max: float = SIGMA_MAX


def pigdm(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: PiGDMSettings
) -> Tensor:
    """Algorithm 1: DDIM steps with the guidance of :func:`guided` added to each.

    With ``u = x_t / sqrt(a_t)`` its last line, ``x_s = sqrt(a_s) x0 + c1 n + c2 eps + sqrt(a_t) g``, where the code's
    adaptive weight turns ``sqrt(a_t)`` into ``sqrt(a_s a_t)`` and g is the gradient with respect to ``x_t``, reads
    ``u_s = x0 + c1 n + c2 eps + g`` with the gradient with respect to u. Every evaluation has a backward pass too.
    Starts around ``A^+ y`` as the authors' code does, but see ``start.py``.
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max)
    u = around_inverse(y, operator, sigma_y, levels[0], noise)
    for sigma, sigma_next in pairwise([*levels, 0.0]):
        x0, guidance = guided(u, sigma, y, operator, denoiser, sigma_y)
        eps = (u - x0) / sigma
        c1 = settings.eta * sigma_next * (1 - (sigma_next / sigma) ** 2) ** 0.5
        u = x0 + settings.weight * guidance + (sigma_next**2 - c1**2) ** 0.5 * eps
        if c1 > 0:
            u = u + c1 * noise(operator.in_shape)
    return u


def guided(
    u: Tensor, sigma: float, y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float
) -> tuple[Tensor, Tensor]:
    """``D(u; sigma)`` and ``g = J^T A^T (A A^T + sigma_y²/r² I)^-1 (y - A D)``, J the Jacobian of D at u.

    Equation 7 with ``p(x0 | u) = N(D, r² I)``, ``r² = sigma² / (1 + sigma²)`` (exact where the prior is white with
    variance 1), times r²: ``grad log p(y | u) = g / r²``. What J^T is applied to is the increment of the prox from D,
    with ``lam = sigma_y² / r²``; at ``sigma_y = 0`` it is ``A^+ (y - A D)``, equation 8.
    """
    variance = sigma**2 / (1 + sigma**2)
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        x0 = denoiser(u, sigma)
        increment = operator.prox(x0.detach(), y, sigma_y**2 / variance) - x0.detach()
        (guidance,) = torch.autograd.grad((increment * x0).sum(), u)
    return x0.detach(), guidance
