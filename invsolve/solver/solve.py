"""The front door: a degraded measurement in, a restored image or posterior samples out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from operators import NoiseModel, Operator
from operators.precision import full_precision, real_type

from ..priors.denoiser import Prior
from ..runtime.memory import in_micro_batches, limit_of
from ..runtime.random_streams import NoiseStreams
from ..specs.fields import check_integer
from ..specs.settings import POSTERIOR_STEPS, STEPS, Settings
from .defaults import posterior_settings
from .diagnostics import Diagnostics, acceptance_of, residual_of, warn_of_mismatch
from .recorded import recordings_for, replayed
from .request import Index, Request, checked, chosen


@dataclass
class Posterior:
    """Samples of ``p(x | y)`` and their pixel-wise moments."""

    samples: Tensor  # [K, B, C, H, W]
    mean: Tensor  # [B, C, H, W]
    std: Tensor  # [B, C, H, W], with the K - 1 of an unbiased variance
    diagnostics: Diagnostics


def solve(
    y: Tensor,
    operator: Operator,
    steps: int = STEPS,
    sigma_y: float | Tensor | Literal["auto"] = 0.05,
    prior: str | Path | Prior = "default",
    seed: int = 0,
    settings: Settings | None = None,
    indices: Sequence[Index] | None = None,
    batch: int | None = None,
    progress: bool = False,
    noise: NoiseModel | None = None,
    return_diagnostics: bool = False,
) -> Tensor | tuple[Tensor, Diagnostics]:
    """Restore images from ``y``, a measurement of A(x): one approximate sample of ``p(x | y)`` for each measurement.

    Args:
        y: measurements ``[B, *operator.out_shape]`` of images on the scale [-1, 1], finite but where the operator
            ignores them (a mask's missing pixels); on a GPU, which would have to be waited for, that is not checked,
            and an image of what is not finite is not finite. Half types are computed in float32.
        operator: the degradation A on y's device and of its dtype, a ``LinearOperator`` or any other ``Operator``. A
            linear one of your own class is checked once (``operator.check()``).
        steps: network evaluations in all, a multiple of ``prior.evaluations``.
        sigma_y: standard deviation of white measurement noise on [-1, 1], a number, a tensor of one for each image or
            a map ``[B|1, ...]`` that expands to y; 0 for none: then the last sample is projected onto ``A x = y``.
            "auto" estimates one level for all measurements, which must be pictures without missing pixels, in a few
            evaluations more (see :func:`estimate_sigma`).
        prior: a shipped prior's name or a checkpoint's path, loaded onto y's device; or any object with
            ``sample(u, sigma, noise)`` and ``evaluations``. By its name its network runs in bf16 on a GPU that has it;
            ``load_prior(name, device, Inference("fp32"))`` in float32.
        seed: of the noise. Image b has the stream ``(seed, indices[b])`` and no other, so its result depends
            neither on its neighbours nor on ``batch``, for the same ``settings``.
        settings: of the sampler; by default they are chosen for operator and noise by :func:`default_settings`, and of
            an operator with parameters per image for its worst image. Those of the shipped tasks are better for their
            operators (``load_task(name).settings(steps)``).
        indices: one stream index (an integer or a tuple of them) per image; ``0 .. B-1`` by default.
        batch: images processed at a time; all at once by default. Fewer are, where a GPU's memory runs out.
        progress: show a bar that counts network evaluations.
        noise: how y scatters about A(x), in place of ``sigma_y``: ``Poisson(gain)`` and others of ``operators``.
        return_diagnostics: return how well the images fit as well.

    Returns:
        ``[B, C, H, W]``, not clipped to [-1, 1], in y's dtype (the real one); with ``return_diagnostics`` also
        :class:`Diagnostics`. Where y is on a CPU, a warning says that the images do not explain it: see there.

    Raises:
        ValueError: a value is out of range, y is not finite or does not fit the operator, the prior cannot do what the
            settings ask for, or operator, prior and y are not on one device; TypeError: something is not of the kind
            it must be.
    """
    request = checked(y, operator, steps, sigma_y, noise, prior, settings, indices)
    x, found = _restore(request, request.indices, seed, batch, progress)
    x = x.to(real_type(y.dtype))
    return (x, found) if return_diagnostics else x


def posterior(
    y: Tensor,
    operator: Operator,
    samples: int = 8,
    steps: int = POSTERIOR_STEPS,
    sigma_y: float | Tensor | Literal["auto"] = 0.05,
    prior: str | Path | Prior = "default",
    seed: int = 0,
    settings: Settings | None = None,
    indices: Sequence[Index] | None = None,
    batch: int | None = None,
    progress: bool = False,
    noise: NoiseModel | None = None,
) -> Posterior:
    """Independent samples of ``p(x | y)`` with their mean and standard deviation.

    They are to scatter as the posterior does: ``settings`` are by default those of :func:`posterior_settings`. What
    :func:`solve` takes, and the shipped tasks are tuned for, makes one picture look best and its samples much alike.

    ``samples`` is their number K, at least 2; sample k of image b has the stream ``(seed, indices[b], k)``.
    ``batch`` counts samples processed at a time, of one image or several; one sample of every image by default. The
    other arguments and the errors raised are those of :func:`solve`; ``steps`` is per sample.
    """
    check_integer("samples", samples, 2)
    request = checked(y, operator, steps, sigma_y, noise, prior, settings, indices, posterior_settings)
    streams = [(*key, k) for k in range(samples) for key in _keys(request.indices)]
    x, found = _restore(request, streams, seed, batch, progress)
    x = x.to(real_type(y.dtype)).unflatten(0, (samples, len(y)))
    std, mean = torch.std_mean(x, dim=0)
    acceptance = None if found.acceptance is None else found.acceptance.unflatten(0, (samples, len(y)))
    found = Diagnostics(found.residual.unflatten(0, (samples, len(y))), acceptance)
    return Posterior(samples=x, mean=mean, std=std, diagnostics=found)


def _keys(streams: Sequence[Index]) -> list[tuple[int, ...]]:
    return [index if isinstance(index, tuple) else (index,) for index in streams]


def _restore(
    request: Request, streams: Sequence[Index], seed: int, batch: int | None, progress: bool
) -> tuple[Tensor, Diagnostics]:
    """Restore all measurements, over and over: ``[len(streams), C, H, W]``, one with each stream.

    Of several runs of each the one with the least residual is kept. On a CPU, warns where that does not fit.
    """
    if runs := request.restarts:
        again = [(*key, run) for run in range(1 + runs) for key in _keys(streams)]
        x, found = _run(request, again, seed, batch, progress)
        residual, best = found.residual.unflatten(0, (1 + runs, -1)).min(0)
        kept = best * len(streams) + torch.arange(len(streams), device=best.device)
        x, found = x[kept], Diagnostics(residual, None if found.acceptance is None else found.acceptance[kept])
    else:
        x, found = _run(request, streams, seed, batch, progress)
    if x.device.type == "cpu":  # another device would be waited for
        warn_of_mismatch(found, request.noise, request.exact)
    return x, found


# Not inference_mode: its tensors would break operators and priors that differentiate, and the caller's own use.
@torch.no_grad()
def _run(
    request: Request, streams: Sequence[Index], seed: int, batch: int | None, progress: bool
) -> tuple[Tensor, Diagnostics]:
    problem = request.problem
    y, operator, prior = problem.y, problem.operator, problem.prior
    batch = len(y) if batch is None else batch
    check_integer("batch", batch, 1)
    restored = operator.blank(y[:1]).repeat(len(streams), 1, 1, 1)
    residual = restored.new_empty(len(streams))
    acceptance = residual.new_full((len(streams),), torch.nan)
    evaluations = len(problem.sigmas) * prior.evaluations
    bar = tqdm(total=len(streams) * evaluations, unit="evaluation", disable=not progress)
    with full_precision(y.device), bar:

        def restore(some: slice) -> None:
            bar.n = some.start * evaluations  # a micro-batch that ran out of memory is begun again
            here = [j % len(y) for j in range(some.start, some.stop)]
            part = problem if here == list(range(len(y))) else chosen(problem, here)
            noise = NoiseStreams(seed, streams[some], y.device, restored.dtype)
            start, likelihood = request.start(part, noise), request.likelihood(part)
            recordings = recordings_for(part)
            if recordings is None:
                images, each = request.images(part, noise, start, likelihood), prior.evaluations
            else:
                replay = replayed(recordings, request.last_image, part, noise, start, exact=request.exact)
                images, each = [replay], evaluations
            del start  # not kept beside the images
            for x in images:
                restored[some] = x  # until the next, better one
                bar.update(len(x) * each)
            residual[some] = residual_of(restored[some], part.y, part.operator, request.true_noise(part))
            if (found := acceptance_of(likelihood)) is not None:
                acceptance[some] = found

        in_micro_batches(len(streams), batch, restore, limit_of(prior, operator.in_shape))
    adjusted = problem.model is not None and not acceptance.isnan().any()
    return restored, Diagnostics(residual, acceptance if adjusted else None)
