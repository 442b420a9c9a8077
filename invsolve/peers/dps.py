"""DPS: diffusion posterior sampling (Chung et al. 2023, "Diffusion Posterior Sampling for General Noisy Inverse
Problems", ICLR)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from operators import NoiseModel, Operator

from ..priors.denoiser import Noise
from .base import Denoise, Settings, has_one_level, model_of, weights_of
from .levels import SIGMA_MAX, ddpm_levels
from .start import around_mean

PIXELS = 256**2  # of the images that zeta' is published for


@dataclass(frozen=True)
class DPSSettings(Settings):
    published: ClassVar = {"inpaint_box": {"scale": 0.5}, "inpaint_random": {"scale": 0.5}}
    steps: int = 1000
    scale: float = 0.3  # zeta', the step along the gradient, for images of 256x256 pixels
    sigma_max: float = SIGMA_MAX


def dps(
    y: Tensor, operator: Operator, denoiser: Denoise, sigma_y: float | NoiseModel, noise: Noise, settings: DPSSettings
) -> Tensor:
    """Algorithm 1: ancestral sampling, each step followed by one along ``-grad |y - A(x0(u))|``.

    With the variance-preserving state ``x_i = u_i / sqrt(1 + sigma_i²)`` of the paper, line 7 (``x_i' - zeta' grad``
    with respect to ``x_i``) becomes ``u' - zeta' sqrt((1 + sigma_{i-1}²) (1 + sigma_i²)) grad`` with respect to ``u``.
    The residual's norm grows with the side of the image, and so must a step that is to mean the same: ``zeta'`` is
    multiplied by ``sqrt(pixels / 256²)``. The level of white noise is not used: the step is normalised by the residual.
    Under other noise the residual is weighted by the inverse of the deviation about y, relative to its mean square: of
    photon counts that is the paper's section 3.2, ``|y - A(x0)|² / (2 y)``. The fixed
    small variance of the ancestral step stands for the learned one of the published network. Every evaluation has a
    backward pass too. Starts around the mean colour (``start.py``).
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max)
    scale = settings.scale * (math.prod(operator.in_shape[1:]) / PIXELS) ** 0.5
    weights = None if has_one_level(sigma_y) else weights_of(y, model_of(sigma_y))
    u = around_mean(y, operator, levels[0], noise)
    for sigma, sigma_next in pairwise([*levels, 0.0]):
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            x0 = denoiser(u, sigma)
            residual = y - operator(x0) if weights is None else weights * operator.observed(y - operator(x0))
            residual = residual.flatten(1).norm(dim=1)
            (gradient,) = torch.autograd.grad(residual.sum(), u)
        u, x0 = u.detach(), x0.detach()
        keep = (sigma_next / sigma) ** 2
        u = x0 + keep * (u - x0)
        if sigma_next > 0:
            u = u + sigma_next * (1 - keep) ** 0.5 * noise(operator.in_shape)
        u = u - scale * ((1 + sigma_next**2) * (1 + sigma**2)) ** 0.5 * gradient
    return u
