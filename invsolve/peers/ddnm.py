"""DDNM+: the denoising diffusion null-space model for noisy measurements (Wang et al. 2023, "Zero-Shot Image
Restoration Using Denoising Diffusion Null-Space Model", ICLR)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from .base import Denoise, Settings
from .ddrm import spectral_step
from .levels import SIGMA_MAX, ddpm_levels
from .start import around_mean


@dataclass(frozen=True)
class DDNMSettings(Settings):
    steps: int = 100
    eta: float = 0.85  # share of new noise where nothing, or too little, is measured
    travel_length: int = 1  # noise levels that a time travel goes back
    travel_repeat: int = 1  # visits of each stretch of that length: 1 is no time travel
    sigma_max: float = SIGMA_MAX

    @property
    def evaluations(self) -> int:
        return sum(b > a for a, b in pairwise(travel_path(self.steps, self.travel_length, self.travel_repeat)))


def ddnm(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: DDNMSettings
) -> Tensor:
    """Algorithm 2: ``x0^ = x0 - Sigma A^+ (A x0 - y)`` (equation 17), then noise of covariance Phi (equation 18).

    Sigma and Phi are the spectral ones of the appendix and of the published code: the range-space correction is scaled
    down, and the noise reduced, just so that the next state has noise ``sigma`` in all. That makes a step equal to
    DDRM's with eta_b = 1 (``spectral_step``); the differences are the start, from noise around the mean colour
    (``start.py``), the number of steps and the time travel. Without noise it is DDNM: the result agrees with y.
    """
    levels = [*ddpm_levels(settings.steps, settings.sigma_max), 0.0]
    x0 = y.new_zeros(len(y), *operator.in_shape)
    u = around_mean(y, operator, levels[0], noise)
    for here, there in pairwise(travel_path(settings.steps, settings.travel_length, settings.travel_repeat)):
        if there < here:  # back in time: add noise to the last x0
            u = x0 + levels[there] * noise(operator.in_shape)
            continue
        x0 = denoiser(u, levels[here])
        eps = (u - x0) / levels[here]
        u = spectral_step(x0, eps, levels[there], y, operator, sigma_y, noise, settings.eta, 1.0)
    return u


def travel_path(steps: int, length: int, repeat: int) -> list[int]:
    """Indices of the noise levels visited, from 0 (the noisiest) to ``steps`` (clean); a smaller one is back in time.

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
