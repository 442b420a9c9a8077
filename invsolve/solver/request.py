"""A checked call of the solver: what is to be restored, from where the sampler starts, what its images are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from operators import Gaussian, LinearOperator, NoiseModel, Operator, Quantized, Weighted
from operators.base import check_once
from operators.likelihood import Likelihood, likelihood_of
from operators.precision import full_precision, real_type

from ..priors.denoiser import Prior
from ..priors.registry import cached_prior
from ..priors.schedule import karras
from ..runtime.random_streams import NoiseStreams
from ..specs.fields import check_integer, check_number
from ..specs.settings import Settings
from .defaults import (
    check_acts_on_images,
    default_settings,
    first_estimate,
    honoured,
    is_linear_and_white,
    to_float32,
    whitened,
)
from .noise_level import estimate_sigma, warn_of_more_noise
from .sampler import Problem, split_gibbs
from .scale import warn_of_scale

Index = int | tuple[int, ...]
AUTO = "auto"


@dataclass(frozen=True)
class Request:
    """A checked call: the problem of all measurements, where the sampler starts, and the images' stream indices."""

    problem: Problem
    noise: NoiseModel  # the true one, of which what likelihood samples assume may differ
    warm_start: bool
    restarts: int
    indices: Sequence[Index]

    @property
    def exact(self) -> bool:
        """Whether the last images are projected onto what the measurements leave possible."""
        no_noise = self.problem.model is None and isinstance(self.noise.sigma, float) and self.noise.sigma == 0
        return no_noise or isinstance(self.noise, Quantized)

    def likelihood(self, problem: Problem) -> Likelihood | None:
        """What samples the likelihood of some of the measurements, where it is not linear and white."""
        return None if problem.model is None else likelihood_of(problem.y, problem.operator, problem.model)

    def true_noise(self, problem: Problem) -> NoiseModel:
        """That of some of the measurements."""
        return self.noise if problem.model is None else problem.model

    def start(self, problem: Problem, noise: NoiseStreams) -> Tensor | None:
        """Where the sampler starts on some of the measurements; None is gray."""
        if not self.warm_start:
            return None
        return first_estimate(problem.y, problem.operator, self.true_noise(problem), problem.prior, noise)

    def images(
        self, problem: Problem, noise: NoiseStreams, start: Tensor | None, likelihood: Likelihood | None = None
    ) -> Iterator[Tensor]:
        """The images of some of the measurements after each noise level."""
        for i, x in enumerate(split_gibbs(problem, noise, start, likelihood), 1):
            yield projected(x, problem) if self.exact and i == len(problem.sigmas) else x

    def last_image(self, problem: Problem, noise: NoiseStreams, start: Tensor | None) -> Tensor:
        return deque(self.images(problem, noise, start), maxlen=1).pop()


def projected(x: Tensor, problem: Problem) -> Tensor:
    """The images nearest to x that the measurements leave possible: those with A u = y, or that round to y."""
    if problem.model is None:
        return problem.operator.prox(x, problem.y, 0.0)
    return problem.operator.project_within(x, *problem.model.interval(problem.y))


def chosen(problem: Problem, images: list[int]) -> Problem:
    """The problem of some of the images, each any number of times."""
    model = None if problem.model is None else problem.model.select(images, problem.y)
    return replace(problem, y=problem.y[images], operator=problem.operator.select(images), model=model)


def checked(
    y: Tensor,
    operator: Operator,
    steps: int,
    sigma_y: float | Tensor | str,
    noise: NoiseModel | None,
    prior: str | Path | Prior,
    settings: Settings | None,
    indices: Sequence[Index] | None,
    choose: Callable[[Operator, NoiseModel, Prior], Settings] = default_settings,
) -> Request:
    """The request of a call of `solve`; raises what that says. Without settings these are what ``choose`` gives."""
    check_measurement(y, operator)
    operator, y = to_float32(operator, operator.observed(y))
    if isinstance(operator, LinearOperator):
        check_once(operator)
    if y.device.type == "cpu" and (unusable := int((~y.isfinite()).sum())):  # another device would be waited for
        raise ValueError(f"y has {unusable} of {y.numel()} values that are NaN or infinite")
    check_integer("steps", steps, 1)
    if not isinstance(noise, NoiseModel | None):
        raise TypeError(f"noise is a {type(noise).__name__} but must be a noise model, such as Poisson(gain)")
    if noise is None and not isinstance(sigma_y, Tensor) and sigma_y != AUTO:
        check_number("sigma_y", sigma_y, at_least=0)
    if not isinstance(settings, Settings | None):
        raise TypeError(f"settings is a {type(settings).__name__} but must be a Settings")
    indices = list(range(len(y)) if indices is None else indices)
    if len(indices) != len(y):
        raise ValueError(f"there are {len(indices)} indices for {len(y)} images")
    prior = resolve(prior, y)
    if steps % prior.evaluations:
        raise ValueError(f"steps is {steps} but must be a multiple of {prior.evaluations}, the evaluations of a sample")
    if noise is None and isinstance(sigma_y, str):
        check_picture(y, operator)
        with full_precision(y.device):
            noise = Gaussian(estimate_sigma(y, prior))
    elif noise is None:
        noise = Gaussian(sigma_y if isinstance(sigma_y, Tensor) else float(sigma_y))
        _warn_of_pictures(y, operator, noise)
    noise.check(y)
    unit = 1.0  # what settings count noise levels of the measurement in
    if is_linear_and_white(operator, noise) and isinstance(noise.sigma, Tensor):
        operator, y, noise, unit = white(operator, y, noise)
    linear_and_white = is_linear_and_white(operator, noise)
    settings = choose(operator, noise, prior) if settings is None else settings
    check_settings(settings, prior, linear_and_white)
    sigmas = karras(steps // prior.evaluations, settings.sigma_max, settings.sigma_min, settings.exponent)
    model, assumed = (None, noise.sigma) if linear_and_white else (noise, 0.0)
    if settings.sigma_likelihood is not None and linear_and_white:
        assumed = settings.sigma_likelihood / unit
    problem = Problem(y, operator, prior, assumed, sigmas, settings.gamma, settings.few_step, model)
    return Request(problem, noise, settings.warm_start, settings.restarts, indices)


def white(operator: LinearOperator, y: Tensor, noise: Gaussian) -> tuple[Weighted, Tensor, Gaussian, float]:
    """The same problem with noise of level 1, from noise of another level for each image or value, all positive.

    Also the root mean square of these levels.
    """
    sigma = noise.deviation(y)
    if y.device.type == "cpu" and not (sigma > 0).all():
        raise ValueError("sigma_y has zeros but levels of several values or images must be positive")
    unit = sigma.square().mean().sqrt().item()
    return whitened(operator, sigma), operator.observed(y / sigma), Gaussian(1.0), unit


def check_settings(settings: Settings, prior: Prior, linear_and_white: bool = True) -> None:
    """Raises ValueError where the settings ask for what the prior, or the likelihood, cannot do."""
    if settings.warm_start and linear_and_white and getattr(prior, "spectrum", None) is None:
        raise ValueError("warm_start needs a prior with a spectrum, and this one has none")
    if settings != honoured(settings, prior):
        raise ValueError(
            "gamma and sigma_inflation need a prior with over-noising (a generative denoiser), and "
            f"{type(prior).__name__} has none: leave them out, or take settings.without_over_noising()"
        )
    only = {"few_step.renoise": settings.few_step.renoise, "few_step.overrelaxation": settings.few_step.overrelaxation}
    wrong = [name for name, value in only.items() if value]
    if wrong and not linear_and_white:
        raise ValueError(f"{wrong[0]} is for white noise of linear operators alone: leave it 0")


def check_measurement(y: Tensor, operator: Operator) -> None:
    if not isinstance(operator, Operator):
        raise TypeError(f"operator is a {type(operator).__name__} but must be an Operator")
    if not isinstance(y, Tensor) or not (y.is_floating_point() or (operator.complex_measurements and y.is_complex())):
        found = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"y is {found} but must be a floating-point tensor")
    check_acts_on_images(operator)
    expected = tuple(operator.out_shape)
    if tuple(y.shape[1:]) != expected or y.ndim != len(expected) + 1 or len(y) == 0:
        raise ValueError(f"y is {list(y.shape)} but the operator gives {['B', *expected]}".replace("'", ""))
    if operator.batch_size not in (None, len(y)):
        raise ValueError(f"y holds {len(y)} images but the operator has parameters for {operator.batch_size}")
    own = next((buffer for buffer in operator.buffers() if buffer.is_floating_point()), y)
    if real_type(own.dtype) != real_type(y.dtype) or operator.complex_measurements != y.is_complex():
        measures = operator.measurement_dtype(own.dtype)
        raise ValueError(f"y is {y.dtype} but the operator is {measures}: move one of them with .to()")
    check_device("operator", operator, y)


def check_picture(y: Tensor, operator: Operator) -> None:
    """Raises ValueError where the noise of a measurement cannot be estimated as that of a picture."""
    if not is_picture(y, operator):
        raise ValueError(f"sigma_y is 'auto' but measurements {list(y.shape)} are no pictures: give the noise level")
    if not operator.observed(torch.ones_like(y[: operator.batch_size or 1])).all():
        raise ValueError("sigma_y is 'auto' but the measurements have missing pixels: give the noise level")


def is_picture(y: Tensor, operator: Operator) -> bool:
    return y.ndim == 4 and not y.is_complex() and y.shape[1] in (1, operator.in_shape[0])


def _warn_of_pictures(y: Tensor, operator: Operator, noise: Gaussian) -> None:
    """Warn of measurements that look to be on another scale, or noisier, than they are said to be; on a CPU."""
    if y.device.type != "cpu" or isinstance(noise.sigma, Tensor) or y.is_complex():
        return
    if isinstance(operator, LinearOperator):
        warn_of_scale(y, operator, noise.sigma)
    if is_picture(y, operator):
        warn_of_more_noise(y, operator, noise.sigma)


def check_device(name: str, module: object, y: Tensor) -> None:
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    device = tensors[0].device if tensors else y.device
    if device != y.device:
        raise ValueError(f"the {name} is on {device} but y is on {y.device}: move one of them with .to()")


def resolve(prior: str | Path | Prior, y: Tensor) -> Prior:
    if isinstance(prior, (str, Path)):
        return cached_prior(prior, y.device)
    if not hasattr(prior, "sample") or not hasattr(prior, "evaluations"):
        raise TypeError(f"prior is a {type(prior).__name__} but must be a name, a path, or have sample and evaluations")
    check_device("prior", prior, y)
    return prior
