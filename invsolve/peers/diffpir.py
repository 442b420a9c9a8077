"""DiffPIR: denoising diffusion for plug-and-play image restoration (Zhu et al. 2023, "Denoising Diffusion Models for
Plug-and-Play Image Restoration", CVPR workshops)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from .base import Denoise, Settings
from .levels import SIGMA_MAX, ddpm_levels
from .start import around_inverse


@dataclass(frozen=True)
class DiffPIRSettings(Settings):
    # What the authors' scripts run, in our units: the defaults for blurs; lambda 2 to 12 in super-resolution, of which
    # the middle is that of blurs; lambda 1 in (noise-free) inpainting. The values in their YAML files are scaled first.
    published: ClassVar = {
        "super_resolution": {"zeta": 0.25},
        "inpaint_box": {"penalty": 0.25, "zeta": 1.0},
        "inpaint_random": {"penalty": 0.25, "zeta": 1.0},
    }
    steps: int = 100
    penalty: float = 1.75  # lambda; the published 7 mixes sigma_y on [0, 1] with sigma on [-1, 1], which is 1/4 here
    zeta: float = 0.3  # share of new noise in a step
    sigma_max: float = SIGMA_MAX


def diffpir(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: DiffPIRSettings
) -> Tensor:
    """Algorithm 1: denoise, solve the data subproblem, add noise. Noise levels are dense at the small ones.

    The result is the last noise level's x0 without a data step, as in the published code. Starts around the
    measurement as that code does (enlarged by bicubic interpolation there), but see ``start.py``.
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max, quadratic=True)
    u = around_inverse(y, operator, sigma_y, levels[0], noise)
    for sigma, sigma_next in pairwise(levels):
        x0 = data_step(denoiser(u, sigma), sigma, y, operator, sigma_y, settings.penalty)
        eps = (u - x0) / sigma
        u = x0 + sigma_next * ((1 - settings.zeta) ** 0.5 * eps + settings.zeta**0.5 * noise(operator.in_shape))
    return denoiser(u, levels[-1])


def data_step(x0: Tensor, sigma: float, y: Tensor, operator: LinearOperator, sigma_y: float, penalty: float) -> Tensor:
    """The data subproblem: ``argmin_x |A x - y|² + lambda sigma_y² / sigma² |x - x0|²``."""
    return operator.prox(x0, y, penalty * sigma_y**2 / sigma**2)
