"""The noise level of a measurement that is a picture, estimated with the prior."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from operators import Operator

from ..priors.denoiser import GenerativeDenoiser, PosteriorMean, Prior
from ..priors.gray import GrayPrior
from ..runtime.random_streams import NoiseStreams
from .diagnostics import ROUNDING, MismatchWarning

LOWEST, HIGHEST = 0.2, 1.1  # of the level of the finest wavelets, which detail makes too high
FINE_DETAIL = 3.4  # what detail adds to it, in squares and units of the prior's own; 3.3 at most in photographs
SIDE = 256  # pixels of the middle of a picture that are looked at
EVALUATIONS = 8  # of the prior, at most
ENOUGH = 0.02  # relative change of the level that ends the search
FLATTEST, LONGEST = -0.05, math.log(2)  # slope that is believed, and step in the logarithm of the level
MEDIAN = 0.6745  # of the absolute value of a standard normal
ENOUGH_PIXELS = 64  # differences whose median tells a level
MORE, DETAIL = 3.0, 0.04  # times the level that was told, or that of fine detail, from which on noise is too much


@torch.no_grad()
def estimate_sigma(y: Tensor, prior: Prior, seed: int = 0) -> float:
    """The level s of white noise in pictures ``y`` ``[B, C, H, W]`` on [-1, 1], the same for all of them.

    For ``y = x + s n`` and a sample ``G ~ p(x | y)``, x and G are exchangeable given y, so that

        E|y - G(y; s)|² = E|y - x|² = s²  a pixel.

    At other levels it is not so, and the secant method finds the true one from that of the finest wavelets (Donoho and
    Johnstone 1994). It also serves for pictures that are blurred or small. What the prior takes for noise, such as
    sand, is counted in; where the noise is less than all detail, little can be told.

    Raises:
        ValueError: y has other channels than the prior's images and is not gray; the prior gives means, not samples.
    """
    if isinstance(prior, PosteriorMean):
        raise ValueError("the noise level is estimated by a prior that samples, and this one gives posterior means")
    start = finest_level(y)
    spectrum = getattr(prior, "spectrum", None)
    detail = math.inf if spectrum is None else FINE_DETAIL * spectrum[-1].sqrt().item()
    without_detail = math.sqrt(max(start**2 - detail**2, 0.0))
    lowest, highest = max(LOWEST * start, without_detail, ROUNDING), max(HIGHEST * start, ROUNDING)
    top, left = (max(0, side - SIDE) // 2 for side in y.shape[-2:])
    y = y[..., top : top + SIDE, left : left + SIDE]
    if getattr(prior, "estimator", None) is not None:  # over-noised, this network is nearer the truth at low noise
        prior = GenerativeDenoiser(prior.estimator, prior.gamma)
    prior = GrayPrior(prior) if y.shape[1] == 1 else prior
    noise = NoiseStreams(seed, range(len(y)), y.device, y.dtype)

    def excess(level: float) -> float:
        """``ln(rms(y - G(y; level)) / level)``, which is 0 at the true level and falls as the level rises."""
        x = prior.sample(y, level, noise.from_start(noise.keys))
        return math.log(max((y - x).square().mean().sqrt().item(), ROUNDING) / level)

    level, slope = max(start, ROUNDING), -1.0
    before: tuple[float, float] | None = None
    for _ in range(EVALUATIONS):
        found = excess(level)
        if before is not None:
            slope = min((found - before[1]) / math.log(level / before[0]), FLATTEST)
        step = math.exp(min(max(-found / slope, -LONGEST), LONGEST))
        before, level = (level, found), min(max(level * step, lowest), highest)
        if abs(math.log(level / before[0])) < ENOUGH:
            break
    return level


def warn_of_more_noise(y: Tensor, operator: Operator, sigma_y: float) -> None:
    """Warn of pictures ``y`` whose finest wavelets are far more than noise of level ``sigma_y`` and detail explain."""
    if operator.batch_size is None:
        observed = operator.observed(torch.ones_like(y[:1]))[0].amin(0)
        found = finest_level(y, None if observed.all() else observed, ENOUGH_PIXELS)
    else:
        found = finest_level(y) if operator.observed(torch.ones_like(y)).all() else 0.0
    if found > MORE * max(sigma_y, DETAIL):
        warnings.warn(
            f"y looks like a picture with noise of level {found:.2g}, not sigma_y = {sigma_y:g}: is that level wrong?",
            MismatchWarning,
            stacklevel=5,
        )


def finest_level(y: Tensor, observed: Tensor | None = None, least: int = 1) -> float:
    """The noise level by the median size of the diagonal differences of 2x2 pixels, the finest Haar wavelets.

    Of pictures ``[B, C, H, W]``; ``observed`` ``[H, W]``, 1 or 0, says which pixels are. What is finer than noise
    makes it too high (Donoho and Johnstone 1994). 0 where there are less than ``least`` such differences.
    """
    height, width = (side // 2 * 2 for side in y.shape[-2:])
    sign = y.new_tensor([[1.0, -1.0], [-1.0, 1.0]]).tile(height // 2, width // 2)
    differences = avg_pool2d(sign * y[..., :height, :width], 2).abs() * 2
    if observed is not None:
        whole = avg_pool2d(observed[None, None, :height, :width].to(y), 2) == 1
        differences = differences[whole.expand_as(differences)]
    return differences.median().item() / MEDIAN if differences.numel() >= least else 0.0
