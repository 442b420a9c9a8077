"""Settings of the sampler for an operator that nobody has tuned."""

from __future__ import annotations

import copy

import torch

from operators import LinearOperator
from operators.precision import full_precision

from ..priors.denoiser import Prior
from ..priors.spectrum import power_on_grid
from ..runtime.random_streams import NoiseStreams
from ..specs.settings import FewStep, Settings
from .dct import cosine_filter
from .per_operator import once_per_operator
from .wiener import averaging, wiener_estimate

NEIGHBOURHOOD = 16.0  # pixels, standard deviation of the window that an error is averaged over

# Chosen by LPIPS over the shipped tasks with the default prior at 4 evaluations.
FIRST, LARGEST_LAST = 12.0, 0.1  # the first level, in units of the largest error; the last one is at most so much
LIKELIHOOD = 0.5  # noise that likelihood samples assume, in units of sigma_y
SIGMA_INFLATION = 0.1


@torch.no_grad()
def default_settings(operator: LinearOperator, sigma_y: float, prior: Prior) -> Settings:
    """Settings for few evaluations, from how well a linear estimate does at this operator and noise.

    A picture is sampled from the stationary Gaussian law of the prior's spectrum (see ``wiener.py``), measured, and
    restored by the Wiener estimate. The root mean square of the error is the level of detail that the prior has to
    supply: there the annealing ends, at 0.1 or less. It begins at 12 times its largest average over a neighbourhood,
    which in a large hole is much more than over the picture as a whole. The start is warm and under white noise, a
    generative denoiser samples without over-noising (``gamma`` 0). One linear solve, no network evaluation; measured
    once for an operator and noise level. One with parameters per image gets settings that serve its worst image.

    A prior without a spectrum gets ``Settings()``.

    Raises:
        ValueError: the operator does not act on images ``(C, H, W)``.
    """
    check_acts_on_images(operator)
    spectrum = getattr(prior, "spectrum", None)
    if spectrum is None:
        return Settings()
    like = next((buffer for buffer in operator.buffers() if buffer.is_floating_point()), spectrum)
    operator, like = to_float32(operator, like)
    key = (sigma_y, spectrum.data_ptr(), spectrum._version, like.dtype, like.device)
    settings = once_per_operator(
        operator, "settings", key, lambda: measured_settings(operator, sigma_y, spectrum.to(like))
    )
    return honoured(settings, prior)


def measured_settings(operator: LinearOperator, sigma_y: float, spectrum: torch.Tensor) -> Settings:
    """The settings that the error of a Wiener estimate asks for, with a spectrum on the operator's device."""
    noise = NoiseStreams(0, [0] * (operator.batch_size or 1), spectrum.device, spectrum.dtype)
    power = power_on_grid(spectrum, *operator.in_shape[-2:])
    with full_precision(spectrum.device):
        x = cosine_filter(power.sqrt())(noise(operator.in_shape))
        y = operator.measure(x, sigma_y, noise)
        error = wiener_estimate(y, operator, sigma_y, spectrum) - x
    square = error.square().mean(dim=1)  # over the channels: [B, H, W]
    largest = cosine_filter(averaging(NEIGHBOURHOOD, square))(square).max()
    overall, largest = torch.stack([square.mean(dim=(-2, -1)).max(), largest]).sqrt().tolist()
    return Settings(
        sigma_max=max(FIRST * largest, overall),
        sigma_min=min(overall, LARGEST_LAST),
        sigma_likelihood=LIKELIHOOD * sigma_y,
        warm_start=True,
        gamma=0.0,
        few_step=FewStep(renoise=1.0, sigma_inflation=SIGMA_INFLATION),
    )


def honoured(settings: Settings, prior: Prior) -> Settings:
    """The settings themselves, or without over-noising where the prior has none."""
    return settings if getattr(prior, "over_noised", False) else settings.without_over_noising()


def check_acts_on_images(operator: LinearOperator) -> None:
    """Raises ValueError for an operator on anything but images of three dimensions."""
    if len(operator.in_shape) != 3:
        raise ValueError(f"the operator acts on {tuple(operator.in_shape)} but must act on images (C, H, W)")


def to_float32(operator: LinearOperator, data: torch.Tensor) -> tuple[LinearOperator, torch.Tensor]:
    """Operator and data in float32 where the data are of a half type; otherwise as they are."""
    if data.dtype not in (torch.float16, torch.bfloat16):
        return operator, data
    return copy.deepcopy(operator).float(), data.float()
