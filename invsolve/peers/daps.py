"""DAPS: decoupled annealing posterior sampling (Zhang et al. 2025, "Improving Diffusion Inverse Problem Solving with
Decoupled Noise Annealing", CVPR)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from operators import Gaussian, NoiseModel, Operator

from ..priors.denoiser import Noise
from ..priors.schedule import karras
from .base import Denoise, Settings, has_one_level, is_white, model_of, score
from .start import around_mean

EXPONENT = 7.0  # of both schedules
ODE_SIGMA_MIN = 0.01  # where the probability-flow ODE ends


@dataclass(frozen=True)
class DAPSSettings(Settings):
    steps: int = 200  # noise levels of the annealing
    ode_steps: int = 5  # Euler steps, hence evaluations, at each; 200 x 5 is "DAPS-1K"
    sigma_max: float = 100.0
    sigma_min: float = 0.1
    langevin_steps: int = 100
    rate: float = 1e-4  # Langevin step size at the first noise level; falls linearly to a hundredth of it
    tau: float = 0.01 / 2**0.5  # noise level of the likelihood, in place of sigma_y; published: 0.01, but see daps()

    @property
    def evaluations(self) -> int:
        return self.steps * self.ode_steps


def daps(
    y: Tensor, operator: Operator, denoiser: Denoise, sigma_y: float | NoiseModel, noise: Noise, settings: DAPSSettings
) -> Tensor:
    """Algorithm 1: at each noise level solve the ODE to x0, sample ``p(x0 | u, y)`` by Langevin steps, add noise.

    The published likelihood noise ``tau`` is 0.01 where the true one is 0.05 (both on [-1, 1]); ``sigma_y`` itself is
    not used. The authors' code drops the 1/2 of the exponent ``|y - A x|² / (2 tau²)``: in the paper's formula, ours,
    that is tau / sqrt(2). Noise that is not white has its own likelihood. Starts around the mean colour (``start.py``).
    """
    levels = [*karras(settings.steps + 1, settings.sigma_max, settings.sigma_min, EXPONENT)[:-1], 0.0]
    u = around_mean(y, operator, levels[0], noise)
    for i, (sigma, sigma_next) in enumerate(pairwise(levels)):
        x0 = flow(u, sigma, denoiser, settings.ode_steps)
        rate = settings.rate * (1 - 0.99 * i / settings.steps)
        x = langevin(x0, sigma, y, operator, sigma_y, rate, noise, settings)
        u = x + sigma_next * noise(operator.in_shape) if sigma_next > 0 else x
    return u


def flow(u: Tensor, sigma: float, denoiser: Denoise, steps: int) -> Tensor:
    """The probability-flow ODE ``du/dsigma = (u - D(u; sigma)) / sigma`` from ``sigma`` to 0.01 by Euler steps."""
    for here, there in pairwise(karras(steps + 1, sigma, min(sigma, ODE_SIGMA_MIN), EXPONENT)):
        u = u + (there - here) / here * (u - denoiser(u, here))
    return u


def langevin(
    x0: Tensor,
    sigma: float,
    y: Tensor,
    operator: Operator,
    sigma_y: float | NoiseModel,
    rate: float,
    noise: Noise,
    settings: DAPSSettings,
) -> Tensor:
    """Unadjusted Langevin steps of size ``rate`` for ``N(x; x0, sigma² I) N(y; A x, tau² I)``, from x0.

    Noise that is not white has its own likelihood ``p(y | x)`` in place of the second factor.
    """
    white = is_white(operator, sigma_y)
    model = Gaussian(settings.tau) if has_one_level(sigma_y) else model_of(sigma_y)
    x = x0
    for _ in range(settings.langevin_steps):
        data = operator.adjoint(y - operator(x)) / settings.tau**2 if white else score(x, y, operator, model)
        total = (x0 - x) / sigma**2 + data
        x = x + rate * total + (2 * rate) ** 0.5 * noise(operator.in_shape)
    return x
