"""`invsolve run`: restore pictures from files, and with ``simulate`` degrade clean ones first and measure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor

from ..images.files import list_pictures, picture_name, read_image
from ..images.mask_and_kernel import read_kernel, read_mask
from ..images.metrics import Metric, load_metrics
from ..networks.inference import Inference
from ..priors.registry import load_prior
from ..runtime.device import choose_device
from ..runtime.printing import counted, note, say
from ..runtime.random_streams import MEASUREMENT, NoiseStreams, stream_index
from ..solver.defaults import honoured
from ..solver.solve import posterior, solve
from ..specs.degradations import Shape
from ..specs.options import RunOptions
from ..specs.task import Task, load_task
from .outputs import Result, Scores, check_outputs, describe, write_result

if TYPE_CHECKING:
    from operators import LinearOperator

    from ..priors.denoiser import Prior
    from ..specs.settings import Settings

Source = str | Path
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

TOGETHER = 2**21  # pixels of clean images, or samples, restored at a time on a CPU: more take more memory, no less time
KEPT = 2**30  # bytes of decoded pictures, and of operators, that are kept from the check of the input to their use


class Kept(Generic[Key, Value]):
    """``make(key)``, made once as long as all that is kept takes at most ``KEPT`` bytes, else every time."""

    def __init__(self, make: Callable[[Key], Value], size: Callable[[Value], int]):
        self.make, self.size, self.left = make, size, KEPT
        self.values: dict[Key, Value] = {}

    def __call__(self, key: Key) -> Value:
        if key in self.values:
            return self.values[key]
        value = self.make(key)
        if self.size(value) <= self.left:
            self.left -= self.size(value)
            self.values[key] = value
        return value


def run(options: RunOptions, say: Callable[[str], None] = say) -> None:
    """Restore every picture of ``options.inputs``, write the results, and ``say`` where.

    Everything that can be wrong with the input is found before the first file is written. Pictures of one shape are
    restored in batches; the noise of a picture is keyed by ``seed`` and its name (see ``stream_index``), so its result
    is the same alone, in any batch and beside any other files.

    Raises:
        ValueError: the first thing wrong with the input, in one line.
    """
    task = _load_task(options)
    device = choose_device(options.device)
    pictures = list_pictures(options.inputs)
    check_outputs(pictures, options)
    channels = 3 if options.simulate else task.degradation.channels
    read = Kept(partial(read_image, channels=channels), lambda image: image.nbytes)
    groups: dict[Shape, list[Source]] = {}
    for source in pictures:
        groups.setdefault(tuple(read(source).shape), []).append(source)
    operator_for = Kept(_operator_maker(task, groups, options, device), _nbytes)
    for shape in groups:
        operator_for(shape)
    inference = Inference(options.precision, options.compile, options.cuda_graphs)
    prior = load_prior(options.prior, device, inference, options.tile)
    metrics = _load_metrics(options, device) if options.simulate else {}
    settings = _settings(task, prior, options)
    if not options.simulate:
        _note_assumptions(task, options)

    scores: list[Scores] = []
    seconds = 0.0
    for shape, sources in groups.items():
        operator = operator_for(shape)
        together = _together(operator.in_shape, options.batch, device)
        for first in range(0, len(sources), together):
            batch = sources[first : first + together]
            start = time.perf_counter()
            images = torch.stack([read(source) for source in batch]).to(device)
            names = [picture_name(source) for source in batch]
            results = _restore(images, names, operator, task.sigma_y, prior, settings, options)
            seconds += time.perf_counter() - start
            for source, result in zip(batch, results, strict=True):
                scores.append(_finish(source, result, task, metrics, options, say))
    if len(pictures) > 1 and options.simulate:
        means = {name: _mean([score[name] for score in scores]) for name in metrics}
        say(f"mean of {len(pictures)} pictures: {describe(means)}")
    done = f"{counted(len(pictures), 'picture')} restored with {counted(options.steps, 'network evaluation')}"
    say(f"{task.name}: {done} in {seconds:.1f} s on {device.type}")


def _load_task(options: RunOptions) -> Task:
    """The task, with the boundary rule of the options."""
    task = load_task(options.task)
    if options.boundary is None:
        return task
    if not hasattr(task.degradation, "boundary"):
        raise ValueError(f"the task {task.name} takes no --boundary")
    return replace(task, degradation=replace(task.degradation, boundary=options.boundary))


def _operator_maker(
    task: Task, groups: Mapping[Shape, Sequence[Source]], options: RunOptions, device: torch.device
) -> Callable[[Shape], LinearOperator]:
    """What makes the operator for input pictures of one shape.

    Raises:
        ValueError: mask or kernel are missing, unreadable or of no use to the task; at a call, they do not fit.
    """
    degradation = task.degradation
    for taken, given in {"mask": options.mask, "kernel": options.kernel}.items():
        if given is not None and degradation.takes != taken:
            raise ValueError(f"the task {task.name} takes no --{taken}")
    if degradation.random and degradation.takes == "mask" and options.mask is None and not options.simulate:
        raise ValueError(f"{task.name} needs --mask FILE to tell which pixels of a degraded picture are missing")
    mask = None if options.mask is None else read_mask(options.mask)
    kernel = None if options.kernel is None else read_kernel(options.kernel)

    def make(shape: Shape) -> LinearOperator:
        clean = shape if options.simulate else task.image_shape(shape)
        try:
            return task.make_operator(clean, mask, kernel, options.seed).to(device)
        except ValueError as error:
            raise ValueError(f"{task.name} on {groups[shape][0]}: {error}") from None

    return make


def _settings(task: Task, prior: Prior, options: RunOptions) -> Settings:
    """The task's settings, as far as the prior can honour them."""
    settings = task.settings(options.steps)
    kept = honoured(settings, prior)
    if kept != settings:
        note(f"the prior {options.prior} has no over-noising: the task's gamma and sigma_inflation are left out")
    return kept


def _note_assumptions(task: Task, options: RunOptions) -> None:
    """Notes on what a benchmark's task takes for granted of a degraded picture, and which is unlikely to be so."""
    if options.boundary is None and getattr(task.degradation, "boundary", None) == "circular":
        note(f"{task.name} wraps around at the edges, as benchmarks do; for photographs give --boundary reflect")
    if task.degradation.random and task.degradation.takes == "kernel" and options.kernel is None:
        note(f"{task.name} takes the blur for the random one of --seed {options.seed}; give yours by --kernel")


def _nbytes(operator: LinearOperator) -> int:
    return sum(buffer.nbytes for buffer in operator.buffers())


def _together(image_shape: Shape, batch: int, device: torch.device) -> int:
    """How many clean images of one shape are restored at a time; at least one."""
    _, height, width = image_shape
    return min(batch, max(1, TOGETHER // (height * width))) if device.type == "cpu" else batch


def _load_metrics(options: RunOptions, device: torch.device) -> dict[str, Metric]:
    metrics = load_metrics(options.lpips_trunk, device, note)
    return {**metrics, "lpips": metrics.get("lpips", lambda x, truth: [None] * len(x))}


def _restore(
    images: Tensor,
    names: Sequence[str],
    operator: LinearOperator,
    sigma_y: float,
    prior: Prior,
    settings: Settings,
    options: RunOptions,
) -> list[Result]:
    """Degrade if asked to, and restore pictures ``[B, C, H, W]`` of one shape."""
    keys = [stream_index(name) for name in names]
    y, truth = images, [None] * len(images)
    if options.simulate:
        noise = NoiseStreams(options.seed, [(key, MEASUREMENT) for key in keys], images.device)
        y, truth = operator.measure(images, sigma_y, noise), images
    how = {"steps": options.steps, "sigma_y": sigma_y, "prior": prior, "seed": options.seed, "settings": settings}
    how |= {"indices": keys, "progress": sys.stderr.isatty()}
    if options.samples is None:
        return [Result(*parts) for parts in zip(names, solve(y, operator, **how), y, truth, strict=True)]
    together = _together(operator.in_shape, options.batch, images.device)
    found = posterior(y, operator, options.samples, batch=together, **how)
    samples = found.samples.transpose(0, 1)  # [B, K, C, H, W]
    parts = zip(names, samples[:, 0], y, truth, samples, found.mean, found.std, strict=True)
    return [Result(*part) for part in parts]


def _finish(
    source: Source,
    result: Result,
    task: Task,
    metrics: Mapping[str, Metric],
    options: RunOptions,
    say: Callable[[str], None],
) -> Scores:
    """Measure one result where the truth is known, write its files, and say what and where."""
    record: dict[str, Any] = {
        "picture": str(source),
        "task": task.name,
        "sigma_y": task.sigma_y,
        "scale": "noise levels are for images on [-1, 1]",
        "prior": options.prior,
        "steps": options.steps,
        "seed": options.seed,
    }
    if options.boundary is not None:
        record["boundary"] = options.boundary
    scores: dict[str, float | None] = {}
    if result.truth is not None:
        scores = _score(result.restored, result.truth, metrics)
        record |= scores
        say(f"{result.name}: {describe(scores)}")
        if result.mean is not None:
            record["mean"] = _score(result.mean, result.truth, metrics)
            say(f"{result.name}, mean of {options.samples} samples: {describe(record['mean'])}")
    paths = write_result(result, options.output, record)
    say(f"{result.name}: wrote {paths.pop('restored')}")
    if paths:
        say(f"{result.name}: beside it {', '.join(path.name for path in paths.values())}")
    return scores


def _score(image: Tensor, truth: Tensor, metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    return {name: metric(image[None], truth[None])[0] for name, metric in metrics.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
