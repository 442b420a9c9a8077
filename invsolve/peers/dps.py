"""DPS: diffusion posterior sampling (Chung et al. 2023, "Diffusion Posterior Sampling for General Noisy Inverse
Problems", ICLR)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from operators import LinearOperator

from ..prior import Noise
from .base import Denoise
from .levels import ddpm_levels


@dataclass(frozen=True)
class DPSSettings:
    steps: int = 1000
    scale: float = 0.3  # zeta', the step along the gradient (0.3 in the published configurations, 0.5 for inpainting)
    sigma_max: float = 157.5  # noise level to start from, at most that of the last timestep

    @property
    def evaluations(self) -> int:
        return self.steps


def dps(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: DPSSettings
) -> Tensor:
    """Algorithm 1 (Gaussian noise): ancestral sampling, each step followed by one along ``-grad |y - A x0(u)|``.

    With the variance-preserving state ``x_i = u_i / sqrt(1 + sigma_i²)`` of the paper, line 7 (``x_i' - zeta' grad``
    with respect to ``x_i``) becomes ``u' - zeta' sqrt((1 + sigma_{i-1}²) (1 + sigma_i²)) grad`` with respect to ``u``.
    ``sigma_y`` is not used: the step is normalised by the residual. The fixed small variance of the ancestral step
    stands for the learned one of the published network. Every evaluation has a backward pass through the network too.
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max)
    u = levels[0] * noise(operator.in_shape)
    for sigma, following in pairwise([*levels, 0.0]):
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            x0 = denoiser(u, sigma)
            residual = (y - operator(x0)).flatten(1).norm(dim=1)
            (gradient,) = torch.autograd.grad(residual.sum(), u)
        u, x0 = u.detach(), x0.detach()
        keep = (following / sigma) ** 2
        u = x0 + keep * (u - x0)
        if following > 0:
            u = u + following * (1 - keep) ** 0.5 * noise(operator.in_shape)
        u = u - settings.scale * ((1 + following**2) * (1 + sigma**2)) ** 0.5 * gradient
    return u
