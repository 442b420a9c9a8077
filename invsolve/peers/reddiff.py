"""RED-diff: variational inference by regularisation with denoising diffusion (Mardani et al. 2024, "A Variational
Perspective on Solving Inverse Problems with Diffusion Models", ICLR)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from .base import Denoise, Settings
from .levels import SIGMA_MAX, ddpm_levels

BETA_1, BETA_2, EPSILON = 0.9, 0.99, 1e-8  # of Adam


@dataclass(frozen=True)
class REDdiffSettings(Settings):
    steps: int = 1000
    weight: float = 0.25  # lambda, of the denoising term
    rate: float = 0.1  # Adam's learning rate
    sigma_max: float = SIGMA_MAX


def reddiff(
    y: Tensor, operator: LinearOperator, denoiser: Denoise, sigma_y: float, noise: Noise, settings: REDdiffSettings
) -> Tensor:
    """Algorithm 1: Adam on mu along :func:`gradient`, at noise levels that descend as in sampling.

    Starts from ``A^+ y`` as the published code does, but damped by the noise, ``lam = sigma_y²``: where a blur's
    singular values vanish, A^+ of noise would be all there is. ``sigma_y`` is not used otherwise: lambda stands for it.
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max)
    mu = operator.prox(y.new_zeros(len(y), *operator.in_shape), y, sigma_y**2)
    first = second = mu.new_zeros(mu.shape)  # moments of the gradient
    for i, sigma in enumerate(levels, start=1):
        g = gradient(mu, sigma, y, operator, denoiser, noise(operator.in_shape), settings.weight)
        first = BETA_1 * first + (1 - BETA_1) * g
        second = BETA_2 * second + (1 - BETA_2) * g**2
        scale = (second / (1 - BETA_2**i)).sqrt() + EPSILON
        mu = mu - settings.rate * first / (1 - BETA_1**i) / scale
    return mu


def gradient(
    mu: Tensor, sigma: float, y: Tensor, operator: LinearOperator, denoiser: Denoise, n: Tensor, weight: float
) -> Tensor:
    """Gradient of Algorithm 1's loss, ``mean (y - A mu)² / 2 + lambda sigma mean sg(eps(u) - n) mu``, u = mu + sigma n.

    The inverse of the signal-to-noise ratio, ``sigma`` here, times lambda weights the second term; its gradient is
    ``lambda (mu - D(u; sigma))``, because ``eps - n = (u - D) / sigma - n = (mu - D) / sigma``. As in the published
    code both terms are means, one over the measurement (of a mask: with its missing pixels), one over the image.
    """
    data = operator.adjoint(operator(mu) - y) / y[0].numel()
    return data + weight * (mu - denoiser(mu + sigma * n, sigma)) / mu[0].numel()
