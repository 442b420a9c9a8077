"""The front door: a degraded measurement in, a restored image or posterior samples out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from operators import LinearOperator
from operators.base import check_once
from operators.precision import full_precision

from ..priors.denoiser import Prior
from ..priors.registry import cached_prior
from ..priors.schedule import karras
from ..runtime.memory import in_micro_batches, limit_of
from ..runtime.random_streams import NoiseStreams
from ..specs.fields import check_integer, check_number
from ..specs.settings import Settings
from .defaults import check_acts_on_images, default_settings, honoured, to_float32
from .noise_level import estimate_sigma
from .recorded import recordings_for, replayed
from .sampler import Problem, split_gibbs
from .scale import warn_of_scale
from .wiener import wiener_estimate

Index = int | tuple[int, ...]
AUTO = "auto"


@dataclass
class Posterior:
    """Samples of ``p(x | y)`` and their pixel-wise moments."""

    samples: Tensor  # [K, B, C, H, W]
    mean: Tensor  # [B, C, H, W]
    std: Tensor  # [B, C, H, W], with the K - 1 of an unbiased variance


def solve(
    y: Tensor,
    operator: LinearOperator,
    steps: int = 4,
    sigma_y: float | Literal["auto"] = 0.05,
    prior: str | Path | Prior = "default",
    seed: int = 0,
    settings: Settings | None = None,
    indices: Sequence[Index] | None = None,
    batch: int | None = None,
    progress: bool = False,
) -> Tensor:
    """Restore images from ``y = A x + sigma_y n``: one approximate sample of ``p(x | y)`` for each measurement.

    Args:
        y: measurements ``[B, *operator.out_shape]`` of images on the scale [-1, 1], finite but where the operator
            ignores them (a mask's missing pixels); on a GPU, which would have to be waited for, that is not checked,
            and an image of what is not finite is not finite. Half types are computed in float32.
        operator: the degradation A, a ``LinearOperator`` on y's device and of its dtype. One of your own class is
            checked once (``operator.check()``).
        steps: network evaluations in all, a multiple of ``prior.evaluations``.
        sigma_y: standard deviation of the measurement noise on [-1, 1]; 0 for none: then the last sample is projected
            onto ``A x = y``. "auto" estimates one level for all measurements, which must be pictures without missing
            pixels, in a few evaluations more (see :func:`estimate_sigma`).
        prior: a shipped prior's name or a checkpoint's path, loaded onto y's device; or any object with
            ``sample(u, sigma, noise)`` and ``evaluations``. By its name its network runs in bf16 on a GPU that has it;
            ``load_prior(name, device, Inference("fp32"))`` in float32.
        seed: of the noise. Image b has the stream ``(seed, indices[b])`` and no other, so its result depends
            neither on its neighbours nor on ``batch``, for the same ``settings``.
        settings: of the sampler; by default they are chosen for the operator by :func:`default_settings`, and of one
            with parameters per image for its worst image. Those of the shipped tasks are better for their operators
            (``load_task(name).settings(steps)``).
        indices: one stream index (an integer or a tuple of them) per image; ``0 .. B-1`` by default.
        batch: images processed at a time; all at once by default. Fewer are, where a GPU's memory runs out.
        progress: show a bar that counts network evaluations.

    Returns:
        ``[B, C, H, W]``, not clipped to [-1, 1], in y's dtype.

    Raises:
        ValueError: a value is out of range, y is not finite or does not fit the operator, the prior cannot do what the
            settings ask for, or operator, prior and y are not on one device; TypeError: something is not of the kind
            it must be.
    """
    request = _checked(y, operator, steps, sigma_y, prior, settings, indices)
    return _restore(request, request.indices, seed, batch, progress).to(y.dtype)


def posterior(
    y: Tensor,
    operator: LinearOperator,
    samples: int = 8,
    steps: int = 4,
    sigma_y: float | Literal["auto"] = 0.05,
    prior: str | Path | Prior = "default",
    seed: int = 0,
    settings: Settings | None = None,
    indices: Sequence[Index] | None = None,
    batch: int | None = None,
    progress: bool = False,
) -> Posterior:
    """Independent samples of ``p(x | y)`` with their mean and standard deviation.

    ``samples`` is their number K, at least 2; sample k of image b has the stream ``(seed, indices[b], k)``.
    ``batch`` counts samples processed at a time, of one image or several; one sample of every image by default. The
    other arguments and the errors raised are those of :func:`solve`; ``steps`` is per sample.
    """
    check_integer("samples", samples, 2)
    request = _checked(y, operator, steps, sigma_y, prior, settings, indices)
    keys = [index if isinstance(index, tuple) else (index,) for index in request.indices]
    streams = [(*key, k) for k in range(samples) for key in keys]
    x = _restore(request, streams, seed, batch, progress).to(y.dtype)
    x = x.unflatten(0, (samples, len(y)))
    std, mean = torch.std_mean(x, dim=0)
    return Posterior(samples=x, mean=mean, std=std)


@dataclass(frozen=True)
class Request:
    """A checked call: the problem of all measurements, where the sampler starts, and the images' stream indices."""

    problem: Problem
    sigma_y: float  # the true noise level, of which ``problem.sigma_y`` may differ
    warm_start: bool
    indices: Sequence[Index]

    @property
    def exact(self) -> bool:
        """Whether there is no noise, so that the last images are projected onto the measurements."""
        return self.sigma_y == 0

    def start(self, problem: Problem) -> Tensor | None:
        """Where the sampler starts on some of the measurements; None is gray."""
        if not self.warm_start:
            return None
        return wiener_estimate(problem.y, problem.operator, self.sigma_y, problem.prior.spectrum)

    def images(self, problem: Problem, noise: NoiseStreams, start: Tensor | None) -> Iterator[Tensor]:
        """The images of some of the measurements after each noise level."""
        for i, x in enumerate(split_gibbs(problem, noise, start), 1):
            yield problem.operator.prox(x, problem.y, 0.0) if self.exact and i == len(problem.sigmas) else x

    def last_image(self, problem: Problem, noise: NoiseStreams, start: Tensor | None) -> Tensor:
        return deque(self.images(problem, noise, start), maxlen=1).pop()


def _checked(
    y: Tensor,
    operator: LinearOperator,
    steps: int,
    sigma_y: float | Literal["auto"],
    prior: str | Path | Prior,
    settings: Settings | None,
    indices: Sequence[Index] | None,
) -> Request:
    _check_measurement(y, operator)
    operator, y = to_float32(operator, operator.observed(y))
    check_once(operator)
    if y.device.type == "cpu" and (unusable := int((~y.isfinite()).sum())):  # another device would be waited for
        raise ValueError(f"y has {unusable} of {y.numel()} values that are NaN or infinite")
    check_integer("steps", steps, 1)
    if sigma_y != AUTO:
        check_number("sigma_y", sigma_y, at_least=0)
    if not isinstance(settings, Settings | None):
        raise TypeError(f"settings is a {type(settings).__name__} but must be a Settings")
    indices = list(range(len(y)) if indices is None else indices)
    if len(indices) != len(y):
        raise ValueError(f"there are {len(indices)} indices for {len(y)} images")
    prior = _resolve(prior, y)
    if steps % prior.evaluations:
        raise ValueError(f"steps is {steps} but must be a multiple of {prior.evaluations}, the evaluations of a sample")
    if sigma_y == AUTO:
        _check_picture(y, operator)
        with full_precision(y.device):
            sigma_y = estimate_sigma(y, prior)
    if y.device.type == "cpu":
        warn_of_scale(y, operator, sigma_y)
    settings = default_settings(operator, sigma_y, prior) if settings is None else settings
    check_settings(settings, prior)
    sigmas = karras(steps // prior.evaluations, settings.sigma_max, settings.sigma_min, settings.exponent)
    assumed = sigma_y if settings.sigma_likelihood is None else settings.sigma_likelihood
    problem = Problem(y, operator, prior, assumed, sigmas, settings.gamma, settings.few_step)
    return Request(problem, sigma_y, settings.warm_start, indices)


# Not inference_mode: its tensors would break operators and priors that differentiate, and the caller's own use.
@torch.no_grad()
def _restore(request: Request, streams: Sequence[Index], seed: int, batch: int | None, progress: bool) -> Tensor:
    """Restore all measurements, over and over: ``[len(streams), C, H, W]``, one with each stream."""
    problem = request.problem
    y, operator, prior = problem.y, problem.operator, problem.prior
    batch = len(y) if batch is None else batch
    check_integer("batch", batch, 1)
    restored = y.new_empty(len(streams), *operator.in_shape)
    evaluations = len(problem.sigmas) * prior.evaluations
    bar = tqdm(total=len(streams) * evaluations, unit="evaluation", disable=not progress)
    with full_precision(y.device), bar:

        def restore(some: slice) -> None:
            bar.n = some.start * evaluations  # a micro-batch that ran out of memory is begun again
            here = [j % len(y) for j in range(some.start, some.stop)]
            part = problem if here == list(range(len(y))) else chosen(problem, here)
            noise = NoiseStreams(seed, streams[some], y.device, y.dtype)
            start = request.start(part)
            recordings = recordings_for(part)
            if recordings is None:
                images, each = request.images(part, noise, start), prior.evaluations
            else:
                replay = replayed(recordings, request.last_image, part, noise, start, exact=request.exact)
                images, each = [replay], evaluations
            del start  # not kept beside the images
            for x in images:
                restored[some] = x  # until the next, better one
                bar.update(len(x) * each)

        in_micro_batches(len(streams), batch, restore, limit_of(prior, operator.in_shape))
    return restored


def chosen(problem: Problem, images: list[int]) -> Problem:
    """The problem of some of the images, each any number of times."""
    return replace(problem, y=problem.y[images], operator=problem.operator.select(images))


def check_settings(settings: Settings, prior: Prior) -> None:
    """Raises ValueError where the settings ask for what the prior cannot do."""
    if settings.warm_start and getattr(prior, "spectrum", None) is None:
        raise ValueError("warm_start needs a prior with a spectrum, and this one has none")
    if settings != honoured(settings, prior):
        raise ValueError(
            "gamma and sigma_inflation need a prior with over-noising (a generative denoiser), and "
            f"{type(prior).__name__} has none: leave them out, or take settings.without_over_noising()"
        )


def _check_measurement(y: Tensor, operator: LinearOperator) -> None:
    if not isinstance(y, Tensor) or not y.is_floating_point():
        found = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"y is {found} but must be a floating-point tensor")
    if not isinstance(operator, LinearOperator):
        raise TypeError(f"operator is a {type(operator).__name__} but must be a LinearOperator")
    check_acts_on_images(operator)
    expected = tuple(operator.out_shape)
    if tuple(y.shape[1:]) != expected or y.ndim != len(expected) + 1 or len(y) == 0:
        raise ValueError(f"y is {list(y.shape)} but the operator gives {['B', *expected]}".replace("'", ""))
    if operator.batch_size not in (None, len(y)):
        raise ValueError(f"y holds {len(y)} images but the operator has parameters for {operator.batch_size}")
    own = next((buffer for buffer in operator.buffers() if buffer.is_floating_point()), y)
    if own.dtype != y.dtype:
        raise ValueError(f"y is {y.dtype} but the operator is {own.dtype}: move one of them with .to()")
    _check_device("operator", operator, y)


def _check_picture(y: Tensor, operator: LinearOperator) -> None:
    """Raises ValueError where the noise of a measurement cannot be estimated as that of a picture."""
    if y.ndim != 4 or y.shape[1] not in (1, operator.in_shape[0]):
        raise ValueError(f"sigma_y is 'auto' but measurements {list(y.shape)} are no pictures: give the noise level")
    if not operator.observed(torch.ones_like(y[: operator.batch_size or 1])).all():
        raise ValueError("sigma_y is 'auto' but the measurements have missing pixels: give the noise level")


def _check_device(name: str, module: object, y: Tensor) -> None:
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    device = tensors[0].device if tensors else y.device
    if device != y.device:
        raise ValueError(f"the {name} is on {device} but y is on {y.device}: move one of them with .to()")


def _resolve(prior: str | Path | Prior, y: Tensor) -> Prior:
    if isinstance(prior, (str, Path)):
        return cached_prior(prior, y.device)
    if not hasattr(prior, "sample") or not hasattr(prior, "evaluations"):
        raise TypeError(f"prior is a {type(prior).__name__} but must be a name, a path, or have sample and evaluations")
    _check_device("prior", prior, y)
    return prior
