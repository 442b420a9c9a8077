"""DDNM+: the denoising diffusion null-space model for noisy measurements (Wang et al. 2023, "Zero-Shot Image
Restoration Using Denoising Diffusion Null-Space Model", ICLR)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from .base import Denoise
from .ddrm import spectral_step
from .levels import ddpm_levels
from .start import around_mean


@dataclass(frozen=True)
class DDNMSettings:
    steps: int = 100
    eta: float = 0.85  # share of fresh noise where nothing, or too little, is measured
    travel_length: int = 1  # levels that a time travel goes back
    travel_repeat: int = 1  # visits of each stretch of that length: 1 is no time travel
    sigma_max: float = 157.5  # noise level to start from, at most that of the last timestep

    @property
    def evaluations(self) -> int:
        return sum(b > a for a, b in pairwise(travel_path(self.steps, self.travel_length, self.travel_repeat)))


def ddnm(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: DDNMSettings
) -> Tensor:
    """Algorithm 2: ``x0^ = x0 - Sigma A^+ (A x0 - y)`` (equation 17), then noise of covariance Phi (equation 18).

    Sigma and Phi are the spectral ones of the appendix and of the published code: the range-space correction is scaled
    down, and the noise reduced, just so that the next state has noise ``sigma`` in all. That makes a step equal to
    DDRM's with eta_b = 1 (``spectral_step``); the differences are the start, from noise, the number of steps and
    the time travel. Without noise it is DDNM: every x0^, and the result, agrees with y. It starts around the
    measurement's mean colour instead of gray, see ``start.py``.
    """
    levels = [*ddpm_levels(settings.steps, settings.sigma_max), 0.0]
    x0 = y.new_zeros(len(y), *operator.in_shape)
    u = around_mean(y, operator, levels[0], noise)
    for here, there in pairwise(travel_path(settings.steps, settings.travel_length, settings.travel_repeat)):
        if there < here:  # back in time: noise the last x0 again
            u = x0 + levels[there] * noise(operator.in_shape)
            continue
        x0 = denoiser(u, levels[here])
        estimate = (u - x0) / levels[here]
        u = spectral_step(x0, estimate, levels[there], y, operator, sigma_y, noise, settings.eta, 1.0)
    return u


def travel_path(steps: int, length: int, repeat: int) -> list[int]:
    """Indices of the levels visited, from 0 (the noisiest) to ``steps`` (clean); a smaller one goes back in time.

    From every ``length``-th level, counted from the clean end, the path goes back ``length`` levels, ``repeat - 1``
    times. (Lugmayr et al. 2022, RePaint, the schedule of its appendix.)
    """
    returns = {steps - 1 - k: repeat - 1 for k in range(0, steps - length, length)}
    path = [0]
    while path[-1] < steps:
        if returns.get(path[-1], 0) > 0:
            returns[path[-1]] -= 1
            path.append(path[-1] - length)
        path.append(path[-1] + 1)
    return path
