"""DiffPIR: denoising diffusion for plug-and-play image restoration (Zhu et al. 2023, "Denoising Diffusion Models for
Plug-and-Play Image Restoration", CVPR workshops)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from .base import Denoise
from .levels import ddpm_levels
from .start import around_inverse


@dataclass(frozen=True)
class DiffPIRSettings:
    steps: int = 100
    penalty: float = 1.75  # lambda; the published 7 mixes sigma_y on [0, 1] with levels on [-1, 1], which is 1/4 here
    zeta: float = 0.3  # share of fresh noise in a step
    sigma_max: float = 157.5  # noise level to start from, at most that of the last timestep

    @property
    def evaluations(self) -> int:
        return self.steps


# What the authors' scripts run, in units of ours: the defaults for blurs; in super-resolution lambda 2 to 12, of which
# the middle is that of blurs; in (noise-free) inpainting lambda 1. The values in their YAML files are multiplied first.
PUBLISHED = {
    "super_resolution": {"zeta": 0.25},
    "inpaint_box": {"penalty": 0.25, "zeta": 1.0},
    "inpaint_random": {"penalty": 0.25, "zeta": 1.0},
}


def diffpir(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: DiffPIRSettings
) -> Tensor:
    """Algorithm 1: denoise, solve the data subproblem, noise again.

    The data step ``argmin |A x - y|² + rho |x - x0|²``, ``rho = lambda sigma_y² / sigma²``, is the operator's prox.
    The result is the last level's x0 without a data step, as in the published code. Levels are dense at low noise. It
    starts around the measurement as that code does (enlarged by bicubic interpolation there), but see ``start.py``.
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max, quadratic=True)
    u = around_inverse(y, operator, sigma_y, levels[0], noise)
    for sigma, following in pairwise(levels):
        x0 = data_step(denoiser(u, sigma), sigma, y, operator, sigma_y, settings.penalty)
        estimate = (u - x0) / sigma
        direction = (1 - settings.zeta) ** 0.5 * estimate + settings.zeta**0.5 * noise(operator.in_shape)
        u = x0 + following * direction
    return denoiser(u, levels[-1])


def data_step(x0: Tensor, sigma: float, y: Tensor, operator: LinearOperator, sigma_y: float, penalty: float) -> Tensor:
    """The data subproblem: ``argmin_x |A x - y|² + lambda sigma_y² / sigma² |x - x0|²``."""
    return operator.prox(x0, y, penalty * sigma_y**2 / sigma**2)
