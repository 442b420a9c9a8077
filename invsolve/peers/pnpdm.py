"""PnP-DM: plug-and-play diffusion models (Wu et al. 2024, "Principled Probabilistic Imaging using Diffusion Models as
Plug-and-Play Priors", NeurIPS)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from ..priors.schedule import karras
from ..solver.wiener import mean_colour
from .base import Denoise


@dataclass(frozen=True)
class PnPDMSettings:
    steps: int = 100  # iterations of the split Gibbs sampler
    rho: float = 10.0  # coupling level of the first iteration,
    decay: float = 0.9  # falling by this factor at each
    rho_min: float = 0.3  # down to this
    grid: int = 100  # levels of the reverse diffusion, of which an iteration uses those below its rho
    sigma_max: float = 80.0  # the first level of that grid
    sigma_min: float = 0.002  # the last
    stochastic: bool = True  # the reverse diffusion is the SDE; otherwise the probability-flow ODE (code's "pfode")

    @property
    def evaluations(self) -> int:
        return sum(len(reverse_levels(rho, self)) for rho in couplings(self))


def pnpdm(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: PnPDMSettings
) -> Tensor:
    """Algorithm 1: a draw from the likelihood and one from the denoising posterior in turn, rho annealed.

    The likelihood draw is exact, ``operator.sample``; the prior's (algorithm 2) is the reverse diffusion
    from level rho, in the EDM parametrisation. Returns the last iteration's sample (the paper averages some for PSNR).
    It starts at the measurement's mean colour instead of gray, see ``start.py``.
    """
    x = mean_colour(y, operator)
    for rho in couplings(settings):
        u = operator.sample(x, y, sigma_y, rho, noise)
        x = reverse_diffusion(u, reverse_levels(rho, settings), denoiser, noise, settings.stochastic)
    return x


def couplings(settings: PnPDMSettings) -> list[float]:
    return [max(settings.rho * settings.decay**i, settings.rho_min) for i in range(settings.steps)]


def reverse_levels(rho: float, settings: PnPDMSettings) -> list[float]:
    """rho, where the reverse diffusion starts, and the levels of the grid below it.

    The published code starts at the first level below rho and takes u to be at that: what the difference leaves of the
    noise stays in the image, at every iteration. On a coarse grid that ruins it.
    """
    return [
        rho,
        *(sigma for sigma in karras(settings.grid, settings.sigma_max, settings.sigma_min, 7.0) if sigma < rho),
    ]


def reverse_diffusion(
    u: Tensor, levels: list[float], denoiser: Denoise, noise: Noise, stochastic: bool = True
) -> Tensor:
    """Algorithm 2: ``du = 2 (u - D(u; sigma)) / sigma dsigma + sqrt(2 sigma) dw`` backwards by Euler-Maruyama steps.

    The last step, to 0, has no noise. The steps leave more noise than a level says, by a tenth on the published grid,
    ever more on a coarser one: with few levels take the ODE, ``du = (u - D(u; sigma)) / sigma dsigma``.
    """
    for sigma, following in pairwise([*levels, 0.0]):
        u = u + (2 if stochastic else 1) * (following - sigma) / sigma * (u - denoiser(u, sigma))
        if stochastic and following > 0:
            u = u + (2 * sigma * (sigma - following)) ** 0.5 * noise(u.shape[1:])
    return u
