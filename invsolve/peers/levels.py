"""Noise levels of the published samplers, in the variance-exploding convention of this package.

Most of the papers state their state as variance-preserving, `x_t = sqrt(a_t) (x_0 + sigma_t n)` with
`sigma_t² = (1 - a_t) / a_t`; here `u = x_t / sqrt(a_t)`, so that a_t = 1 / (1 + sigma_t²) and the network's noise
estimate is `eps = (u - D(u; sigma)) / sigma`. Both live on images in [-1, 1], hence share their noise levels.
"""

from __future__ import annotations

import math

import torch

TIMESTEPS = 1000
BETAS = (1e-4, 0.02)  # the first and the last of the linear schedule (Ho et al. 2020, section 4)
SIGMA_MAX = 157.5  # of the samplers' settings: just above the noise level of the last timestep


def ddpm_sigmas() -> list[float]:
    """The noise levels of the 1000 timesteps, rising from 0.01 to 157."""
    remaining = torch.cumprod(1 - torch.linspace(*BETAS, TIMESTEPS, dtype=torch.float64), dim=0)
    return ((1 - remaining) / remaining).sqrt().tolist()


def ddpm_levels(steps: int, sigma_max: float = math.inf, quadratic: bool = False) -> list[float]:
    """``steps`` decreasing noise levels, of the timesteps whose noise level is at most ``sigma_max``.

    Evenly spaced in the timestep; with ``quadratic`` dense at low noise: the square of the distance from the noisiest
    timestep is evenly spaced (DiffPIR's "quad"). A single step is the noisiest; more include the cleanest.
    """
    if not 1 <= steps <= TIMESTEPS:
        raise ValueError(f"steps is {steps} but the schedule has 1 to {TIMESTEPS} timesteps")
    sigmas = ddpm_sigmas()
    last = sum(sigma <= sigma_max for sigma in sigmas) - 1
    if last < 0:
        raise ValueError(f"sigma_max is {sigma_max} but the lowest noise level is {sigmas[0]:.3g}")
    fractions = [i / max(steps - 1, 1) for i in range(steps)]  # of the way from noise to image
    return [sigmas[round(last * (1 - (fraction**0.5 if quadratic else fraction)))] for fraction in fractions]
