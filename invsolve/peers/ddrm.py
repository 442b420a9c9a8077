"""DDRM: denoising diffusion restoration (Kawar et al. 2022, "Denoising Diffusion Restoration Models", NeurIPS)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from operators import LinearOperator
from operators.spectral import spectral_filter

from ..priors.denoiser import Noise
from ..solver.wiener import mean_colour
from .base import Denoise, Settings
from .levels import SIGMA_MAX, ddpm_levels


@dataclass(frozen=True)
class DDRMSettings(Settings):
    steps: int = 20
    eta: float = 0.85  # share of new noise where nothing, or too little, is measured
    eta_b: float = 1.0  # share of the measurement where it is better than the noise level
    sigma_max: float = SIGMA_MAX


def ddrm(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: DDRMSettings
) -> Tensor:
    """Equations 7 (start) and 8 (steps): every singular value of A by itself.

    The paper's state is variance-exploding like ours. The published code doubles its ``sigma_y``, which is on [0, 1];
    here it is on [-1, 1] from the start. What is not measured starts around the mean colour (``start.py``).
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max)
    mean = mean_colour(y, operator)
    u = spectral_step(mean, mean, levels[0], y, operator, sigma_y, noise, 1.0, 1.0)  # equation 7: eta = 1
    for sigma, sigma_next in pairwise([*levels, 0.0]):
        x0 = denoiser(u, sigma)
        eps = (u - x0) / sigma
        u = spectral_step(x0, eps, sigma_next, y, operator, sigma_y, noise, settings.eta, settings.eta_b)
    return u


def spectral_step(
    x0: Tensor,
    eps: Tensor,
    sigma: float,
    y: Tensor,
    operator: LinearOperator,
    sigma_y: float,
    noise: Noise,
    eta: float,
    eta_b: float,
) -> Tensor:
    """From the denoised ``x0`` and the estimated unit noise ``eps`` to the next state, at noise level ``sigma``.

    Equation 8. In the coordinates ``V^T u``, with ``y_bar = S^+ U^T y``, whose noise is ``sigma_y / s``:

        s = 0                  x0 + sqrt(1 - eta²) sigma eps                         + eta sigma n
        sigma < sigma_y / s    x0 + sqrt(1 - eta²) sigma (y_bar - x0) s / sigma_y    + eta sigma n
        otherwise              x0 + eta_b (y_bar - x0)           + sqrt(sigma² - eta_b² sigma_y² / s²) n

    Everything is a function of A^T A: the coordinates of ``A^T (y - A x0)`` are ``s² (y_bar - x0)``.
    """
    keep = (1 - eta**2) ** 0.5 * sigma

    def measured(power: Tensor) -> Tensor:
        """Where the measurement is at least as good as the noise level; power is s²."""
        return (power > 0) & (power * sigma**2 >= sigma_y**2)

    def towards_data(power: Tensor) -> Tensor:
        power_or_1 = torch.where(power > 0, power, 1)
        worse = torch.where(power > 0, keep / (sigma_y or 1.0) / power_or_1.sqrt(), 0)
        return torch.where(measured(power), eta_b / power_or_1, worse)

    def new_noise(power: Tensor) -> Tensor:
        variance = sigma**2 - (eta_b * sigma_y) ** 2 / torch.where(power > 0, power, 1)
        return torch.where(measured(power), variance.clamp(min=0).sqrt(), eta * sigma)

    return (
        x0
        + spectral_filter(operator, operator.adjoint(y - operator(x0)), towards_data)
        + spectral_filter(operator, eps, lambda power: keep * (power == 0).to(power))
        + spectral_filter(operator, noise(operator.in_shape), new_noise)
    )
