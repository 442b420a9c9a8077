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
from .base import Denoise
from .levels import ddpm_levels


@dataclass(frozen=True)
class DDRMSettings:
    steps: int = 20
    eta: float = 0.85  # share of fresh noise where nothing, or too little, is measured
    eta_b: float = 1.0  # share of the measurement where it is better than the level
    sigma_max: float = 157.5  # noise level to start from, at most that of the last timestep

    @property
    def evaluations(self) -> int:
        return self.steps


def ddrm(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: DDRMSettings
) -> Tensor:
    """Equations 7 (start) and 8 (steps): every singular value of A by itself.

    The paper's state is variance-exploding like ours. Needs an operator whose spectrum is known (``spectral_filter``).
    The published code doubles its ``sigma_y``, which is on [0, 1]; here it is on [-1, 1] from the start. What is not
    measured starts around the measurement's mean colour instead of gray, see ``start.py``.
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max)
    mean = mean_colour(y, operator)
    u = spectral_step(mean, mean, levels[0], y, operator, sigma_y, noise, 1.0, 1.0)  # equation 7: eta = 1
    for sigma, following in pairwise([*levels, 0.0]):
        x0 = denoiser(u, sigma)
        estimate = (u - x0) / sigma
        u = spectral_step(x0, estimate, following, y, operator, sigma_y, noise, settings.eta, settings.eta_b)
    return u


def spectral_step(
    x0: Tensor,
    estimate: Tensor,
    sigma: float,
    y: Tensor,
    operator: LinearOperator,
    sigma_y: float,
    noise: Noise,
    eta: float,
    eta_b: float,
) -> Tensor:
    """From the denoised ``x0`` and the estimated unit noise to the next state, at level ``sigma`` (equation 8).

    In the coordinates ``V^T u``, with ``y_bar = S^+ U^T y``, of which the measurement's noise is ``sigma_y / s``:

        s = 0                  x0 + sqrt(1 - eta²) sigma estimate                    + eta sigma n
        sigma < sigma_y / s    x0 + sqrt(1 - eta²) sigma (y_bar - x0) s / sigma_y    + eta sigma n
        otherwise              x0 + eta_b (y_bar - x0)           + sqrt(sigma² - eta_b² sigma_y² / s²) n

    The coordinates stay inside functions of A^T A: those of ``A^T (y - A x0)`` are ``s² (y_bar - x0)``.
    """
    keep = (1 - eta**2) ** 0.5 * sigma

    def seen(power: Tensor) -> Tensor:
        """Where the measurement is at least as good as the level."""
        return (power > 0) & (power * sigma**2 >= sigma_y**2)

    def towards_data(power: Tensor) -> Tensor:
        power_or_1 = torch.where(power > 0, power, 1)
        worse = torch.where(power > 0, keep / (sigma_y or 1.0) / power_or_1.sqrt(), 0)
        return torch.where(seen(power), eta_b / power_or_1, worse)

    def fresh(power: Tensor) -> Tensor:
        variance = sigma**2 - (eta_b * sigma_y) ** 2 / torch.where(power > 0, power, 1)
        return torch.where(seen(power), variance.clamp(min=0).sqrt(), eta * sigma)

    return (
        x0
        + spectral_filter(operator, operator.adjoint(y - operator(x0)), towards_data)
        + spectral_filter(operator, estimate, lambda power: keep * (power == 0).to(power))
        + spectral_filter(operator, noise(operator.in_shape), fresh)
    )
