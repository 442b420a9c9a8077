"""RED-diff: variational inference by regularisation with denoising diffusion (Mardani et al. 2024, "A Variational
Perspective on Solving Inverse Problems with Diffusion Models", ICLR)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from operators import NoiseModel, Operator
from operators.cg import each

from ..priors.denoiser import Noise
from .base import Denoise, Settings, is_white, model_of, score
from .levels import SIGMA_MAX, ddpm_levels
from .start import mean_image

BETA_1, BETA_2, EPSILON = 0.9, 0.99, 1e-8  # of Adam


@dataclass(frozen=True)
class REDdiffSettings(Settings):
    steps: int = 1000
    weight: float = 0.25  # lambda, of the denoising term
    rate: float = 0.1  # Adam's learning rate
    sigma_max: float = SIGMA_MAX


def reddiff(
    y: Tensor,
    operator: Operator,
    denoiser: Denoise,
    sigma_y: float | NoiseModel,
    noise: Noise,
    settings: REDdiffSettings,
) -> Tensor:
    """Algorithm 1: Adam on mu along :func:`gradient`, at noise levels that descend as in sampling.

    Starts from ``A^+ y`` as the published code does, but damped by the noise, ``lam = sigma_y²``: where a blur's
    singular values vanish, A^+ of noise would be all there is. ``sigma_y`` is not used otherwise: lambda stands for it.
    Of operators that are not linear, and other noise, the start is the operator's estimate, or the mean colour.
    """
    levels = ddpm_levels(settings.steps, settings.sigma_max)
    if is_white(operator, sigma_y):
        sigma_y = model_of(sigma_y).sigma
        mu = operator.prox(operator.blank(y), y, sigma_y**2)
    else:
        mu = operator.estimate(y, noise)
        mu = mean_image(y, operator) if mu is None else mu
    first = second = mu.new_zeros(mu.shape)  # moments of the gradient
    for i, sigma in enumerate(levels, start=1):
        g = gradient(mu, sigma, y, operator, denoiser, noise(operator.in_shape), settings.weight, sigma_y)
        first = BETA_1 * first + (1 - BETA_1) * g
        second = BETA_2 * second + (1 - BETA_2) * g**2
        scale = (second / (1 - BETA_2**i)).sqrt() + EPSILON
        mu = mu - settings.rate * first / (1 - BETA_1**i) / scale
    return mu


def gradient(
    mu: Tensor,
    sigma: float,
    y: Tensor,
    operator: Operator,
    denoiser: Denoise,
    n: Tensor,
    weight: float,
    sigma_y: float | NoiseModel,
) -> Tensor:
    """Gradient of Algorithm 1's loss, ``mean (y - A mu)² / 2 + lambda sigma mean sg(eps(u) - n) mu``, u = mu + sigma n.

    The inverse of the signal-to-noise ratio, ``sigma`` here, times lambda weights the second term; its gradient is
    ``lambda (mu - D(u; sigma))``, because ``eps - n = (u - D) / sigma - n = (mu - D) / sigma``. As in the published
    code both terms are means, one over the measurement (of a mask: with its missing pixels), one over the image.
    In general the first is ``-mean ln p(y | mu)``, times the mean square of the noise's deviation about y.
    """
    if is_white(operator, sigma_y):
        data = operator.adjoint(operator(mu) - y) / y[0].numel()
    else:
        model = model_of(sigma_y)
        data = -each(model.variance(y), mu) * score(mu, y, operator, model) / y[0].numel()
    return data + weight * (mu - denoiser(mu + sigma * n, sigma)) / mu[0].numel()
