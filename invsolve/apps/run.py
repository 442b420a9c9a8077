"""`invsolve run`: restore pictures from files, and with ``simulate`` degrade clean ones first and measure."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..images.files import list_pictures, picture_name, read_image
from ..images.mask_and_kernel import read_kernel, read_mask
from ..images.metrics import Metric, load_metrics
from ..networks.inference import Inference
from ..priors.registry import load_prior
from ..runtime.device import choose_device
from ..runtime.random_streams import MEASUREMENT, NoiseStreams, stream_index
from ..solver.solve import posterior, solve
from ..specs.degradations import Shape
from ..specs.task import Task, load_task
from .outputs import Result, Scores, check_writable, describe, output_paths, write_result

if TYPE_CHECKING:
    from operators import LinearOperator

    from ..priors.denoiser import Prior

Source = str | Path
TOGETHER = 2**21  # pixels of clean images, or samples, restored at a time on a CPU: more take more memory, no less time


@dataclass(frozen=True)
class RunOptions:
    """What the command line says; see ``invsolve run --help``.

    ``batch`` is how many pictures, or samples, are restored at a time; on a CPU not more than ``TOGETHER`` pixels.
    """

    task: str
    inputs: Sequence[str]
    output: Path = Path()
    simulate: bool = False
    steps: int = 4
    samples: int | None = None
    prior: str = "default"
    mask: Path | None = None
    kernel: Path | None = None
    boundary: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str | None = None
    compile: bool = False
    cuda_graphs: bool = False
    tile: int | None = None
    batch: int = 8
    lpips_trunk: Path | None = None


def printed(line: str) -> None:
    """Print a line, with escapes for what the output's encoding lacks: the names of files may be any bytes."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))


def run(options: RunOptions, say: Callable[[str], None] = printed) -> None:
    """Restore every picture of ``options.inputs``, write the results, and ``say`` where.

    Everything that can be wrong with the input is found before the first file is written. Pictures of one shape are
    restored in batches; the noise of a picture is keyed by ``seed`` and its name (see ``stream_index``), so its result
    is the same alone, in any batch and beside any other files.

    Raises:
        ValueError: the first thing wrong with the input, in one line.
    """
    task = _load_task(options, say)
    device = choose_device(options.device)
    pictures = list_pictures(options.inputs)
    _check_outputs(pictures, options)
    groups = _group_by_shape(pictures, 3 if options.simulate else task.degradation.channels)
    operator_for = _operators(task, groups, options, device, say)
    for shape in groups:
        operator_for(shape)
    inference = Inference(options.precision, options.compile, options.cuda_graphs)
    prior = load_prior(options.prior, device, inference, options.tile)
    metrics = _load_metrics(options, device, say) if options.simulate else {}

    scores: list[Scores] = []
    seconds = 0.0
    for shape, sources in groups.items():
        together = _together(_image_shape(shape, task, options), options, device)
        for first in range(0, len(sources), together):
            batch = sources[first : first + together]
            start = time.perf_counter()
            results = _restore(batch, task, operator_for(shape), prior, options, device)
            seconds += time.perf_counter() - start
            for source, result in zip(batch, results, strict=True):
                scores.append(_finish(source, result, task, metrics, options, say))
    if len(pictures) > 1 and options.simulate:
        means = {name: _mean([score[name] for score in scores]) for name in metrics}
        say(f"mean of {len(pictures)} pictures: {describe(means)}")
    count = "1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures"
    say(f"{task.name}: {count} restored with {options.steps} network evaluations in {seconds:.1f} s on {device.type}")


def _load_task(options: RunOptions, say: Callable[[str], None]) -> Task:
    """The task, with the boundary rule of the options; a note where benchmarks' own is unlikely to be the picture's."""
    task = load_task(options.task)
    if options.boundary is not None:
        if "boundary" not in task.parameters:
            raise ValueError(f"the task {task.name} takes no --boundary")
        return replace(task, parameters={**task.parameters, "boundary": options.boundary})
    if task.parameters.get("boundary") == "circular" and not options.simulate:
        say(f"note: {task.name} wraps around at the edges, as benchmarks do; for photographs give --boundary reflect")
    return task


def _check_outputs(pictures: Sequence[Source], options: RunOptions) -> None:
    """Refuse to write two results, or a result and an input, to the same place, or where nothing can be written."""
    existing = next(path for path in [options.output, *options.output.resolve().parents] if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        reason = "cannot be written to" if existing.is_dir() else "is not a directory"
        raise ValueError(f"--output {options.output}: {existing} {reason}")
    owners: dict[str, Source] = {}
    inputs = {Path(file).resolve() for file in (*pictures, options.mask, options.kernel) if file is not None}
    for source in pictures:
        name = picture_name(source)
        if name in owners:
            raise ValueError(f"{owners[name]} and {source} would both write {name}_restored.png: run them apart")
        owners[name] = source
        for path in output_paths(name, options.output, options.simulate, options.samples).values():
            if path.resolve() in inputs:
                raise ValueError(f"{path} is an input and would be overwritten: choose another --output")
            check_writable(path, existing)


def _group_by_shape(pictures: Sequence[Source], channels: int) -> dict[Shape, list[Source]]:
    """The pictures by their shape (C, H, W); every one is decoded, so an unreadable one is found here."""
    groups: dict[Shape, list[Source]] = {}
    for source in pictures:
        groups.setdefault(tuple(read_image(source, channels).shape), []).append(source)
    return groups


def _operators(
    task: Task, groups: Mapping[Shape, Sequence[Source]], options: RunOptions, device: torch.device, say: Callable
) -> Callable[[Shape], LinearOperator]:
    """What gives the operator for input pictures of one shape; the last one alone is kept, because they may be large.

    Raises:
        ValueError: mask or kernel are missing, unreadable or of no use to the task; at a call, they do not fit.
    """
    degradation = task.degradation
    for taken, given in {"mask": options.mask, "kernel": options.kernel}.items():
        if given is not None and degradation.takes != taken:
            raise ValueError(f"the task {task.name} takes no --{taken}")
    if degradation.random and not options.simulate:
        if degradation.takes == "mask" and options.mask is None:
            raise ValueError(f"{task.name} needs --mask FILE to tell which pixels of a degraded picture are missing")
        if degradation.takes == "kernel" and options.kernel is None:
            say(f"note: {task.name} takes the blur for the random one of --seed {options.seed}; give yours by --kernel")
    mask = None if options.mask is None else read_mask(options.mask)
    kernel = None if options.kernel is None else read_kernel(options.kernel)
    kept: dict[Shape, LinearOperator] = {}

    def operator_for(shape: Shape) -> LinearOperator:
        if shape not in kept:
            kept.clear()
            try:
                operator = task.make_operator(_image_shape(shape, task, options), mask, kernel, options.seed)
            except ValueError as error:
                raise ValueError(f"{task.name} on {groups[shape][0]}: {error}") from None
            kept[shape] = operator.to(device)
        return kept[shape]

    return operator_for


def _image_shape(shape: Shape, task: Task, options: RunOptions) -> Shape:
    """Shape (C, H, W) of the clean images behind input pictures of one shape."""
    return shape if options.simulate else task.image_shape(shape)


def _together(image_shape: Shape, options: RunOptions, device: torch.device) -> int:
    """How many clean images of one shape are restored at a time; at least one."""
    _, height, width = image_shape
    return min(options.batch, max(1, TOGETHER // (height * width))) if device.type == "cpu" else options.batch


def _load_metrics(options: RunOptions, device: torch.device, say: Callable[[str], None]) -> dict[str, Metric]:
    metrics = load_metrics(options.lpips_trunk, device, say)
    return {**metrics, "lpips": metrics.get("lpips", lambda x, truth: [None] * len(x))}


def _restore(
    batch: Sequence[Source],
    task: Task,
    operator: LinearOperator,
    prior: Prior,
    options: RunOptions,
    device: torch.device,
) -> list[Result]:
    """Read, degrade if asked to, and restore pictures of one shape."""
    names = [picture_name(source) for source in batch]
    keys = [stream_index(name) for name in names]
    channels = 3 if options.simulate else task.degradation.channels
    images = torch.stack([read_image(source, channels) for source in batch]).to(device)
    y, truth = images, [None] * len(batch)
    if options.simulate:
        noise = NoiseStreams(options.seed, [(key, MEASUREMENT) for key in keys], device)
        y, truth = operator.measure(images, task.sigma_y, noise), images
    how = (operator, options.steps, task.sigma_y, prior, options.seed, task.settings(options.steps), keys)
    progress = sys.stderr.isatty()
    if options.samples is None:
        x = solve(y, *how, progress=progress)
        return [Result(*parts) for parts in zip(names, x, y, truth, strict=True)]
    together = _together(operator.in_shape, options, device)
    drawn = posterior(y, operator, options.samples, *how[1:], batch=together, progress=progress)
    samples = drawn.samples.transpose(0, 1)  # [B, K, C, H, W]
    parts = zip(names, samples[:, 0], y, truth, samples, drawn.mean, drawn.std, strict=True)
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
    others = len(paths) - 1
    say(f"{result.name}: wrote {paths.pop('restored')}")
    if others:
        say(f"{result.name}: beside it {', '.join(path.name for path in paths.values())}")
    return scores


def _score(image: torch.Tensor, truth: torch.Tensor, metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    return {name: metric(image[None], truth[None])[0] for name, metric in metrics.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
