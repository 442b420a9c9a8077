"""Degrade a few pictures, restore them by every method that is due, and measure: the lines of the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from operators import LinearOperator

from ..images.files import STD_WHITE, write_image
from ..images.metrics import Metric
from ..runtime.peak_memory import PeakMemory
from ..runtime.random_streams import MEASUREMENT, NoiseStreams, stream_index
from ..specs.options import BenchOptions
from ..specs.task import Task
from . import store
from .methods import Method
from .pictures import Pictures, Size
from .scores import score, score_samples

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One task with its operator for pictures of one size and its methods."""

    task: Task
    operator: LinearOperator
    methods: Sequence[Method]


@dataclass(frozen=True)
class Bench:
    """All that a process needs to make results."""

    options: BenchOptions
    pictures: Pictures
    jobs: Callable[[Size], Sequence[Job]]  # of pictures of one size
    metrics: Mapping[str, Metric]
    device: torch.device


def restore(bench: Bench, positions: Sequence[int], due: AbstractSet[store.Key]) -> Iterator[list[Row]]:
    """Restore the pictures at ``positions``, of one size, together, for each (task, method, image) in ``due``.

    What a task cannot take of the size, because its sides must be multiples, is cut off at the right and the bottom.
    Yields lists of lines, one list for each task and method as it is done. The noise of a picture is keyed by its name
    (see ``stream_index``): as by ``invsolve run --simulate`` and, of several samples, by ``--samples``.
    """
    names = [bench.pictures.names[position] for position in positions]
    whole = torch.stack([bench.pictures.read(name) for name in names]).to(bench.device)
    for job in bench.jobs(bench.pictures.sizes[names[0]]):
        chosen = [[b for b, name in enumerate(names) if (job.task.name, m.name, name) in due] for m in job.methods]
        if not any(chosen):
            continue
        noise = NoiseStreams(bench.options.seed, [(stream_index(name), MEASUREMENT) for name in names], bench.device)
        _, height, width = job.operator.in_shape
        truth = whole[..., :height, :width]
        y = job.task.measure(job.operator, truth, noise)
        shown = job.operator.viewed(y)
        for method, some in zip(job.methods, chosen, strict=True):
            if some:
                those = [positions[b] for b in some]
                yield _restore_by(method, bench, job.task, those, truth[some], y[some], shown[some])


def _restore_by(
    method: Method, bench: Bench, task: Task, positions: Sequence[int], truth: Tensor, y: Tensor, shown: Tensor
) -> list[Row]:
    """Restore measurements, ``shown`` as pictures, by one method, write its pictures, and only then give its lines."""
    names = [bench.pictures.names[position] for position in positions]
    streams = [[stream_index(name) for name in names]]
    if bench.options.samples and method.random:
        streams = [[(index, k) for index in streams[0]] for k in range(bench.options.samples)]
    start, memory = _now(bench.device), PeakMemory(bench.device)
    with torch.no_grad():
        x = torch.stack([method.restore(y, indices) for indices in streams])  # [K, B, C, H, W]
    seconds = (_now(bench.device) - start) / (len(x) * len(names))
    cost = {"seconds": seconds, "memory": memory.bytes()}

    # What is not finite, of a method that diverged, counts as gray: a failure must cost, not be left out.
    x = x.nan_to_num(nan=0.0, posinf=1.0, neginf=-1.0)
    several = len(x) > 1
    figures = score_samples(x, truth, bench.metrics) if several else score(x[0], truth, bench.metrics)
    common = {"task": task.name, "method": method.name, "steps": method.steps, "evaluations": method.evaluations}
    rows = []
    for b, (position, name) in enumerate(zip(positions, names, strict=True)):
        where = {"image": name, "index": position, "seed": bench.options.seed}
        size = {"width": truth.shape[3], "height": truth.shape[2]}
        rows.append(common | where | size | figures[b] | cost)
        if position < bench.options.pictures:
            file = store.file_name(method.name)
            pictures = {store.TRUTH: truth[b], store.MEASUREMENT: shown[b], file: x[0, b]}
            if several:
                pictures[file + store.STD] = x[:, b].std(0).mean(0, keepdim=True) / STD_WHITE * 2 - 1
            folder = store.picture_folder(bench.options.out, task.name, name)
            folder.mkdir(parents=True, exist_ok=True)
            for part, picture in pictures.items():
                write_image(picture, folder / f"{part}.png")
    return rows


def _now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
