"""The front door: a degraded measurement in, a restored image or posterior samples out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from operators import LinearOperator

from ..priors.denoiser import Prior
from ..priors.schedule import karras
from ..runtime.memory import in_micro_batches
from ..runtime.random_streams import NoiseStreams
from ..specs.settings import Settings, check_integer, check_number
from .defaults import check_acts_on_images, default_settings
from .sampler import split_gibbs
from .wiener import wiener_estimate

Index = int | tuple[int, ...]


@dataclass
class Posterior:
    """Samples of ``p(x | y)`` and their pixel-wise moments."""

    samples: torch.Tensor  # [K, B, C, H, W]
    mean: torch.Tensor  # [B, C, H, W]
    std: torch.Tensor  # [B, C, H, W], with the K - 1 of an unbiased variance


def solve(
    y: torch.Tensor,
    operator: LinearOperator,
    steps: int = 4,
    sigma_y: float = 0.05,
    prior: str | Path | Prior = "default",
    seed: int = 0,
    settings: Settings | None = None,
    indices: Sequence[Index] | None = None,
    batch: int | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Restore images from ``y = A x + sigma_y n``: one approximate draw of ``p(x | y)`` for each measurement.

    Args:
        y: measurements ``[B, *operator.out_shape]`` of images on the scale [-1, 1], finite but where the operator
            ignores them (a mask's missing pixels).
        operator: the degradation A, a ``LinearOperator`` on y's device and of its dtype.
        steps: network evaluations in all, a multiple of ``prior.evaluations``.
        sigma_y: standard deviation of the measurement noise on [-1, 1]; 0 for none: then the last draw is projected
            onto ``A x = y``.
        prior: a shipped prior's name or a checkpoint's path, loaded onto y's device; or any object with
            ``sample(u, sigma, noise)`` and ``evaluations``. By its name its network runs in bf16 on a GPU that has it;
            ``load_prior(name, device, Inference("fp32"))`` in float32.
        seed: of the noise. Image b draws from the stream ``(seed, indices[b])`` and no other, so its result depends
            neither on its neighbours nor on ``batch``, for the same ``settings``.
        settings: of the sampler; by default they are chosen for the operator by :func:`default_settings`, and of one
            with parameters per image for its worst image. Those of the shipped tasks are better for their operators
            (``load_task(name).settings(steps)``).
        indices: one stream index (an integer or a tuple of them) per image; ``0 .. B-1`` by default.
        batch: images processed at a time; all at once by default. Fewer are, where a GPU's memory runs out.
        progress: show a bar that counts network evaluations.

    Returns:
        ``[B, C, H, W]``, not clipped to [-1, 1].

    Raises:
        ValueError: a value is out of range, y is not finite or does not fit the operator, or operator, prior and y are
            not on one device; TypeError: something is not of the kind it must be.
    """
    run = _prepare(y, operator, steps, sigma_y, prior, seed, settings, indices, batch, progress)
    return run(list(range(len(y))), run.indices)


def posterior(
    y: torch.Tensor,
    operator: LinearOperator,
    samples: int = 8,
    steps: int = 4,
    sigma_y: float = 0.05,
    prior: str | Path | Prior = "default",
    seed: int = 0,
    settings: Settings | None = None,
    indices: Sequence[Index] | None = None,
    batch: int | None = None,
    progress: bool = False,
) -> Posterior:
    """Independent samples of ``p(x | y)`` with their mean and standard deviation.

    ``samples`` is their number K, at least 2; sample k of image b draws from the stream ``(seed, indices[b], k)``.
    ``batch`` counts samples processed at a time, of one image or several; one sample of every image by default. The
    other arguments and the errors raised are those of :func:`solve`; ``steps`` is per sample.
    """
    check_integer("samples", samples, 2)
    run = _prepare(y, operator, steps, sigma_y, prior, seed, settings, indices, batch, progress)
    streams = [(*_as_tuple(index), k) for k in range(samples) for index in run.indices]
    x = run(list(range(len(y))) * samples, streams).unflatten(0, (samples, len(y)))
    std, mean = torch.std_mean(x, dim=0)
    return Posterior(samples=x, mean=mean, std=std)


@dataclass(frozen=True)
class _Run:
    """A checked request: everything but which measurements to restore, and from which streams."""

    y: torch.Tensor
    operator: LinearOperator
    prior: Prior
    levels: list[float]
    sigma_y: float
    seed: int
    settings: Settings
    indices: list[Index]
    batch: int
    progress: bool

    # Not inference_mode: its tensors would break operators and priors that differentiate, and the caller's own use.
    @torch.no_grad()
    def __call__(self, positions: list[int], streams: list[Index]) -> torch.Tensor:
        """Restore ``y[positions]``, image j from the stream ``streams[j]``: ``[len(positions), C, H, W]``."""
        restored = self.y.new_empty(len(positions), *self.operator.in_shape)
        evaluations = len(self.levels) * self.prior.evaluations
        with tqdm(total=len(positions) * evaluations, unit="evaluation", disable=not self.progress) as bar:

            def restore(micro_batch: slice) -> None:
                bar.n = micro_batch.start * evaluations  # a micro_batch that ran out of memory is begun again
                y, operator = self.y[positions[micro_batch]], self._operator(positions[micro_batch])
                for x in self._sample(y, operator, streams[micro_batch]):
                    restored[micro_batch] = x  # until the next, better one
                    bar.update(len(x) * self.prior.evaluations)
                if self.sigma_y == 0:
                    restored[micro_batch] = operator.prox(restored[micro_batch], y, 0.0)

            in_micro_batches(len(positions), self.batch, restore)
        return restored

    def _operator(self, positions: list[int]) -> LinearOperator:
        """The operator of ``y[positions]``."""
        per_image = self.operator.batch_size is not None
        return self.operator.select(positions) if per_image and positions != list(range(len(self.y))) else self.operator

    def _sample(self, y: torch.Tensor, operator: LinearOperator, streams: list[Index]) -> Iterator[torch.Tensor]:
        settings, noise = self.settings, NoiseStreams(self.seed, streams, y.device, y.dtype)
        start = wiener_estimate(y, operator, self.sigma_y, self.prior.spectrum) if settings.warm_start else None
        return split_gibbs(
            y,
            operator,
            _over_noised(self.prior, settings, len(self.levels)),
            self.levels,
            self.sigma_y if settings.sigma_likelihood is None else settings.sigma_likelihood,
            noise,
            start,
            settings.output_ema,
            settings.renoise,
            settings.momentum,
            settings.overrelaxation,
            settings.renoise_first,
        )


def _prepare(
    y: torch.Tensor,
    operator: LinearOperator,
    steps: int,
    sigma_y: float,
    prior: str | Path | Prior,
    seed: int,
    settings: Settings | None,
    indices: Sequence[Index] | None,
    batch: int | None,
    progress: bool,
) -> _Run:
    _check_measurement(y, operator)
    y = operator.observed(y)
    unusable = int((~y.isfinite()).sum())
    if unusable:
        raise ValueError(f"y has {unusable} of {y.numel()} values that are NaN or infinite")
    check_integer("steps", steps, 1)
    check_number("sigma_y", sigma_y, at_least=0)
    if not isinstance(settings, Settings | None):
        raise TypeError(f"settings is a {type(settings).__name__} but must be a Settings")
    indices = list(range(len(y)) if indices is None else indices)
    if len(indices) != len(y):
        raise ValueError(f"there are {len(indices)} indices for {len(y)} images")
    if batch is not None:
        check_integer("batch", batch, 1)
    prior = _resolve(prior, y)
    if steps % prior.evaluations:
        raise ValueError(f"steps is {steps} but must be a multiple of {prior.evaluations}, the evaluations of a draw")
    settings = default_settings(operator, sigma_y, prior) if settings is None else settings
    check_warm_start(settings, prior)
    levels = karras(steps // prior.evaluations, settings.sigma_max, settings.sigma_min, settings.exponent)
    return _Run(y, operator, prior, levels, sigma_y, seed, settings, indices, batch or len(y), progress)


def check_warm_start(settings: Settings, prior: Prior) -> None:
    """Raises ValueError where the settings ask for a warm start that the prior cannot make."""
    if settings.warm_start and getattr(prior, "spectrum", None) is None:
        raise ValueError("warm_start needs a prior with a spectrum, and this one has none")


def _check_measurement(y: torch.Tensor, operator: LinearOperator) -> None:
    if not isinstance(y, torch.Tensor) or not y.is_floating_point():
        found = y.dtype if isinstance(y, torch.Tensor) else type(y).__name__
        raise TypeError(f"y is {found} but must be a floating-point tensor")
    if not isinstance(operator, LinearOperator):
        raise TypeError(f"operator is a {type(operator).__name__} but must be a LinearOperator")
    check_acts_on_images(operator)
    expected = tuple(operator.out_shape)
    if tuple(y.shape[1:]) != expected or y.ndim != len(expected) + 1 or len(y) == 0:
        raise ValueError(f"y is {list(y.shape)} but the operator gives {['B', *expected]}".replace("'", ""))
    if operator.batch_size not in (None, len(y)):
        raise ValueError(f"y holds {len(y)} images but the operator has parameters for {operator.batch_size}")
    _check_device("operator", operator, y)


def _check_device(name: str, module: object, y: torch.Tensor) -> None:
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    device = tensors[0].device if tensors else y.device
    if device != y.device:
        raise ValueError(f"the {name} is on {device} but y is on {y.device}: move one of them with .to()")


def _resolve(prior: str | Path | Prior, y: torch.Tensor) -> Prior:
    if isinstance(prior, (str, Path)):
        from ..priors.file import cached_prior  # only when a checkpoint is asked for

        return cached_prior(prior, y.device)
    if not hasattr(prior, "sample") or not hasattr(prior, "evaluations"):
        raise TypeError(f"prior is a {type(prior).__name__} but must be a name, a path, or have draw and evaluations")
    _check_device("prior", prior, y)
    return prior


def _over_noised(prior: Prior, settings: Settings, draws: int) -> list[Prior]:
    """The prior of every draw: a generative denoiser with the settings' over-noising, any other as it is."""
    if not hasattr(prior, "over_noised") or (settings.gamma is None and not settings.sigma_inflation):
        return [prior] * draws
    left = [1 - i / (draws - 1) if draws > 1 else 0.0 for i in range(draws)]
    return [prior.over_noised(settings.gamma, settings.sigma_inflation * share) for share in left]


def _as_tuple(index: Index) -> tuple[int, ...]:
    return index if isinstance(index, tuple) else (index,)
