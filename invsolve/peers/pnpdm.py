"""PnP-DM: plug-and-play diffusion models (Wu et al. 2024, "Principled Probabilistic Imaging using Diffusion Models as
Plug-and-Play Priors", NeurIPS)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from operators import NoiseModel, Operator
from operators.likelihood import likelihood_of

from ..priors.denoiser import Noise
from ..priors.schedule import karras
from .base import Denoise, Settings, is_white, model_of
from .start import mean_image


@dataclass(frozen=True)
class PnPDMSettings(Settings):
    steps: int = 100  # iterations of the split Gibbs sampler
    rho: float = 10.0  # noise level of the first iteration (the coupling of image and measurement),
    decay: float = 0.9  # falling by this factor at each
    rho_min: float = 0.3  # down to this
    grid: int = 100  # noise levels of the reverse diffusion, of which an iteration uses those below its rho
    sigma_max: float = 80.0  # the first of that grid
    sigma_min: float = 0.002  # the last
    stochastic: bool = True  # the reverse diffusion is the SDE; otherwise the probability-flow ODE (code's "pfode")

    @property
    def evaluations(self) -> int:
        return sum(len(reverse_levels(rho, self)) for rho in couplings(self))


def pnpdm(
    y: Tensor, operator: Operator, denoiser: Denoise, sigma_y: float | NoiseModel, noise: Noise, settings: PnPDMSettings
) -> Tensor:
    """Algorithm 1: a sample of the likelihood and one of the denoising posterior in turn, rho annealed.

    The likelihood sample is ``operator.sample``, exact, or in general that of ``operators.likelihood``; the prior's
    (algorithm 2) is the reverse diffusion from noise level rho, in the EDM parametrisation. Returns the last
    iteration's sample (the paper averages some for PSNR). Starts at the mean colour (``start.py``).
    """
    x = mean_image(y, operator)
    model, white = model_of(sigma_y), is_white(operator, sigma_y)
    likelihood = None if white else likelihood_of(y, operator, model)
    for rho in couplings(settings):
        u = operator.sample(x, y, model.sigma, rho, noise) if white else likelihood.sample(x, rho, noise)
        x = reverse_diffusion(u, reverse_levels(rho, settings), denoiser, noise, settings.stochastic)
    return x


def couplings(settings: PnPDMSettings) -> list[float]:
    """rho of each iteration."""
    return [max(settings.rho * settings.decay**i, settings.rho_min) for i in range(settings.steps)]


def reverse_levels(rho: float, settings: PnPDMSettings) -> list[float]:
    """rho, where the reverse diffusion starts, and the noise levels of the grid below it.

    The published code starts at the first one below rho and takes u to be at that: what the difference leaves of the
    noise stays in the image, at every iteration. On a coarse grid that ruins it.
    """
    grid = karras(settings.grid, settings.sigma_max, settings.sigma_min, 7.0)
    return [rho, *(sigma for sigma in grid if sigma < rho)]


def reverse_diffusion(
    u: Tensor, levels: list[float], denoiser: Denoise, noise: Noise, stochastic: bool = True
) -> Tensor:
    """Algorithm 2: ``du = 2 (u - D(u; sigma)) / sigma dsigma + sqrt(2 sigma) dw`` backwards by Euler-Maruyama steps.

    The last step, to 0, has no noise. The steps leave more noise than sigma says, by a tenth on the published grid,
    ever more on a coarser one: with few noise levels take the ODE, ``du = (u - D(u; sigma)) / sigma dsigma``.
    """
    for sigma, sigma_next in pairwise([*levels, 0.0]):
        u = u + (2 if stochastic else 1) * (sigma_next - sigma) / sigma * (u - denoiser(u, sigma))
        if stochastic and sigma_next > 0:
            u = u + (2 * sigma * (sigma - sigma_next)) ** 0.5 * noise(u.shape[1:])
    return u
