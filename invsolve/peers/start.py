"""Where the peers start: noise around an estimate, where most of their papers have noise alone.

A start at the published sigma, 157, says nothing of the image. One at 20, about the largest noise level of a small
denoiser's training, says that the image is gray on average: at 256x256 pixels the noise of the mean colour is
20 / 256 = 0.08, less than pictures differ in it. A deviation from the papers that favours the peers; at the published
sigma it hardly matters.
"""

from __future__ import annotations

from torch import Tensor

from operators import LinearOperator, Operator

from ..priors.denoiser import Noise
from ..solver.wiener import mean_colour


def mean_image(y: Tensor, operator: Operator) -> Tensor:
    """The colour that explains the measurement best, ``[B, C, H, W]``; gray where the operator is not linear."""
    return mean_colour(y, operator) if isinstance(operator, LinearOperator) else operator.blank(y)


def around_mean(y: Tensor, operator: Operator, sigma: float, noise: Noise) -> Tensor:
    """:func:`mean_image` with noise of level ``sigma``: ``[B, C, H, W]``.

    Of a gray measurement that is a gray: what it does not show of the colour is left to the denoiser.
    """
    return mean_image(y, operator) + sigma * noise(operator.in_shape)


def around_inverse(y: Tensor, operator: LinearOperator, sigma_y: float, sigma: float, noise: Noise) -> Tensor:
    """``A^+ y`` with noise of level ``sigma``: ``[B, C, H, W]``.

    It is damped by the measurement's noise, ``lam = sigma_y²``: where a blur's singular values vanish, A^+ of noise
    would be all there is. What A does not show has the colour that explains the measurement best.
    """
    return operator.prox(mean_colour(y, operator), y, sigma_y**2) + sigma * noise(operator.in_shape)
