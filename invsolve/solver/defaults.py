"""Settings of the sampler for an operator that nobody has tuned."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable
from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor

from operators import Gaussian, LinearOperator, NoiseModel, Operator, Weighted
from operators.noise import Noise
from operators.precision import full_precision

from ..priors.denoiser import Prior
from ..priors.spectrum import power_on_grid
from ..runtime.random_streams import NoiseStreams
from ..specs.settings import FewStep, Settings
from ..specs.task import Task
from .dct import cosine_filter
from .per_operator import once_per_operator
from .wiener import averaging, wiener_estimate

NEIGHBOURHOOD = 16.0  # pixels, standard deviation of the window that an error is averaged over

# Chosen by LPIPS over the shipped tasks with the default prior at 4 evaluations.
FIRST, LARGEST_LAST = 12.0, 0.1  # the first level, in units of the largest error; the last one is at most so much
LIKELIHOOD = 0.5  # noise that likelihood samples assume, in units of sigma_y
SIGMA_INFLATION = 0.1
# The same for other noise and operators that are not linear, from JPEGs.
OTHER_FIRST, OTHER_LAST, EXPONENT, OUTPUT_EMA = 3.0, 0.75, 2.5, 0.4
# Those of posterior_settings, by how often the truth lies within the range of 9 samples, of seven tasks on 3 training
# faces and 3 photographs: exact samples would have it there at 80 % of the values.
POSTERIOR_FIRST, POSTERIOR_EXPONENT = 50.0, 2.0  # the first level, in units of the square of the largest error

# Of the published prior, at so many evaluations or more (Peng et al. 2025): beyond what other priors were trained for.
PUBLISHED, PUBLISHED_STEPS = Settings(sigma_max=80.0, sigma_min=0.002, exponent=2.0), 50


def task_settings(task: Task, steps: int, prior: Prior, sigma_y: float | None = None) -> Settings | None:
    """A task's settings (:meth:`Task.settings`), or the published ones.

    The latter are for a prior that knows noise levels up to 80, as the published one, at 50 evaluations and more. None
    where the task has no settings for this noise.
    """
    tuned = task.settings(steps, sigma_y)
    many = steps >= PUBLISHED_STEPS and getattr(prior, "largest_sigma", 0.0) >= PUBLISHED.sigma_max
    return PUBLISHED if many and tuned is not None else tuned


@torch.no_grad()
def default_settings(operator: Operator, sigma_y: float | NoiseModel, prior: Prior) -> Settings:
    """Settings for few evaluations, from how well a first estimate does at this operator and noise.

    A picture is sampled from the stationary Gaussian law of the prior's spectrum (see ``wiener.py``), measured, and
    restored by the Wiener estimate, or by what the operator has in its place (``Operator.estimate``). The root mean
    square of the error is the level of detail that the prior has to supply: there the annealing ends, at 0.1 or less.
    It begins at 12 times its largest average over a neighbourhood, which in a large hole is much more than over the
    picture as a whole. The start is warm and under white noise, a generative denoiser samples without over-noising
    (``gamma`` 0). One linear solve, no network evaluation; measured once for an operator and noise. One with parameters
    per image gets settings that serve its worst image. For other noise, and operators that are not linear, the picture
    is gray, the levels are 3 and 0.75 times these errors, and the result is an average (``output_ema``).

    ``sigma_y`` is the level of white noise or a noise model. A prior without a spectrum, and an operator without a
    first estimate, get ``Settings()``.

    Raises:
        ValueError: the operator does not act on images ``(C, H, W)``.
    """
    errors = first_errors(operator, sigma_y, prior)
    if errors is None:
        return Settings()
    if not errors.linear_and_white:
        settings = Settings(
            sigma_max=OTHER_FIRST * errors.largest,
            sigma_min=OTHER_LAST * errors.overall,
            exponent=EXPONENT,
            warm_start=True,
            gamma=0.0,
            few_step=FewStep(output_ema=OUTPUT_EMA),
        )
    else:
        settings = Settings(
            sigma_max=max(FIRST * errors.largest, errors.overall),
            sigma_min=min(errors.overall, LARGEST_LAST),
            sigma_likelihood=LIKELIHOOD * errors.sigma_y,
            warm_start=True,
            gamma=0.0,
            few_step=FewStep(renoise=1.0, sigma_inflation=SIGMA_INFLATION),
        )
    return honoured(settings, prior)


@torch.no_grad()
def posterior_settings(operator: Operator, sigma_y: float | NoiseModel, prior: Prior) -> Settings:
    """Settings for samples of the posterior: the sampler of the paper, with levels from the same errors.

    The prior samples with the over-noising it was trained with, likelihood samples assume the true noise, and nothing
    of ``FewStep`` is in use, so that the samples scatter as the posterior does; one of them looks noisier or less
    likely than what ``default_settings`` restores. Arguments and errors are those of :func:`default_settings`.
    """
    errors = first_errors(operator, sigma_y, prior)
    if errors is None:
        return Settings()
    first = min(POSTERIOR_FIRST * errors.largest**2, getattr(prior, "largest_sigma", math.inf))
    return Settings(
        sigma_max=max(first, errors.overall),
        sigma_min=min(errors.overall, LARGEST_LAST),
        exponent=POSTERIOR_EXPONENT,
        warm_start=True,
    )


class Errors(NamedTuple):
    """Of a first estimate at an operator and noise: root mean squares, and how the noise is."""

    overall: float
    largest: float  # over a neighbourhood
    linear_and_white: bool
    sigma_y: float  # of white noise


def first_errors(operator: Operator, sigma_y: float | NoiseModel, prior: Prior) -> Errors | None:
    """Those of a picture of the prior's spectrum; None where it has none, or the operator no first estimate."""
    check_acts_on_images(operator)
    model = sigma_y if isinstance(sigma_y, NoiseModel) else Gaussian(sigma_y)
    spectrum = getattr(prior, "spectrum", None)
    if spectrum is None:
        return None
    if is_linear_and_white(operator, model) and isinstance(model.sigma, Tensor):
        operator, model = whitened(operator, model.sigma), Gaussian(1.0)
    like = next((buffer for buffer in operator.buffers() if buffer.is_floating_point()), spectrum)
    operator, like = to_float32(operator, like)
    key = (key_of(model), spectrum.data_ptr(), spectrum._version, like.dtype, like.device)
    return once_per_operator(operator, "errors", key, lambda: measured_errors(operator, model, prior, like))


def measured_errors(operator: Operator, model: NoiseModel, prior: Prior, like: Tensor) -> Errors | None:
    """The errors of a first estimate, on the device and in the type of ``like``."""
    noise = NoiseStreams(0, [0] * (operator.batch_size or 1), like.device, like.dtype)
    power = power_on_grid(prior.spectrum.to(like), *operator.in_shape[-2:])
    linear_and_white = is_linear_and_white(operator, model)
    with full_precision(like.device):
        x = cosine_filter(power.sqrt())(noise(operator.in_shape))
        if not linear_and_white:
            x = x[:, :1].expand_as(x).contiguous()  # colours are much alike, which matters where they are averaged
        estimate = first_estimate(operator.measure(x, model, noise), operator, model, prior, noise)
    if estimate is None:
        return None
    square = (estimate - x).square().mean(dim=1)  # over the channels: [B, H, W]
    largest = cosine_filter(averaging(NEIGHBOURHOOD, square))(square).max()
    overall, largest = torch.stack([square.mean(dim=(-2, -1)).max(), largest]).sqrt().tolist()
    return Errors(overall, largest, linear_and_white, model.sigma if linear_and_white else 0.0)


def first_estimate(y: Tensor, operator: Operator, model: NoiseModel, prior: Prior, noise: Noise) -> Tensor | None:
    """An image to start near: the operator's own estimate, or else the Wiener estimate; None where there is neither."""
    estimate = operator.estimate(y, noise)
    spectrum = getattr(prior, "spectrum", None)
    if estimate is not None or not isinstance(operator, LinearOperator) or spectrum is None:
        return estimate
    if is_linear_and_white(operator, model):
        return wiener_estimate(y, operator, model.sigma, spectrum)
    weights = 1 / model.deviations(y)
    return wiener_estimate(weights * y, Weighted(operator, weights), 1.0, spectrum)


def whitened(operator: LinearOperator, sigma: Tensor) -> Weighted:
    """The operator in units of the noise: of one level for each image, or of a map."""
    weights = 1 / sigma
    return Weighted(operator, weights if sigma.ndim != 1 else weights.reshape(-1, *[1] * len(operator.out_shape)))


def is_linear_and_white(operator: Operator, model: NoiseModel) -> bool:
    return isinstance(operator, LinearOperator) and isinstance(model, Gaussian)


def key_of(model: NoiseModel) -> Hashable:
    """The same for equal noise models, those with tensors as long as these are the same."""
    values = [getattr(model, field.name) for field in fields(model)]
    return type(model), *((v.data_ptr(), v._version) if isinstance(v, Tensor) else v for v in values)


def honoured(settings: Settings, prior: Prior) -> Settings:
    """The settings themselves, or without over-noising where the prior has none."""
    return settings if getattr(prior, "over_noised", False) else settings.without_over_noising()


def check_acts_on_images(operator: Operator) -> None:
    """Raises ValueError for an operator on anything but images of three dimensions."""
    if len(operator.in_shape) != 3:
        raise ValueError(f"the operator acts on {tuple(operator.in_shape)} but must act on images (C, H, W)")


def to_float32(operator: Operator, data: torch.Tensor) -> tuple[Operator, torch.Tensor]:
    """Operator and data in float32 where the data are of a half type; otherwise as they are."""
    if data.dtype not in (torch.float16, torch.bfloat16):
        return operator, data
    return copy.deepcopy(operator).float(), data.float()
