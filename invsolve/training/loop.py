"""The training loop: samples in order, resumable checkpoints, progress and metrics, an orderly end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..data.crops import Crops, SampleNoise, seed_of, to_unit
from ..data.labels import dropped, one_hot
from ..runtime import processes
from ..runtime.signals import Stopped, StopSignals
from ..specs.recipe import RunConfig
from .exports import last_step
from .log import Log, finite_means
from .trainee import Trainee, load_state, save_state

LOG_EVERY = 50  # steps
# A training has diverged where, of its last so many updates, so many had gradients that are not finite.
DIVERGED = {20: 20, 100: 50}


@dataclass
class Samples:
    """What a training step gets: pictures ``x`` ``[B, C, H, W]``, scalar normals ``[B, 4]`` and a noise source.

    ``labels`` ``[B, n]`` are their classes, one-hot or, where they are hidden, zeros; None where there are no classes.
    """

    x: Tensor
    normals: Tensor
    noise: SampleNoise
    labels: Tensor | None = None

    def split(self, count: int) -> list[Samples]:
        """``count`` micro-batches of B / count samples each; their noise is what it would have been in the batch."""
        if count == 1:
            return [self]
        labels = [None] * count if self.labels is None else self.labels.chunk(count)
        parts = (self.x.chunk(count), self.normals.chunk(count), self.noise.split(count), labels)
        return [Samples(*part) for part in zip(*parts, strict=True)]


def on_device(batch: list[Tensor], config: RunConfig, classes: int, device: torch.device) -> Samples:
    pictures, normals, indices, labels = batch
    noise = SampleNoise(config.seed, indices.tolist(), device)
    hot = one_hot(dropped(labels, normals[:, -1], config.label_dropout), classes)
    hot = None if hot is None else hot.to(device, non_blocking=True)
    return Samples(to_unit(pictures, device), normals.to(device, non_blocking=True), noise, hot)


def seed_dropout(seed: int, number: int) -> None:
    """Make what step ``number`` draws from torch's global generator its own, and that of this process.

    Each process has other masks for its share of the batch, which are no part of those that one alone would draw.
    """
    torch.manual_seed(seed_of(seed, (number, 2) if processes.rank() == 0 else (number, 2, processes.rank())))


def check_progress(trainees: dict[str, Trainee], number: int) -> None:
    """Raise FloatingPointError where a trainee was not updated 20 times in a row, or in half of the last 100 times."""
    for name, trainee in trainees.items():
        for updates, limit in DIVERGED.items():
            skipped = sum(list(trainee.recent)[-updates:])
            if skipped >= limit:
                raise FloatingPointError(
                    f"the {name}'s training diverged: the gradients of {skipped} of its last {updates} updates, up to "
                    f"step {number}, were not finite; lower its learning rate, or start anew without bad pictures"
                )


def check_fresh(out: Path) -> None:
    """Refuse to begin beside averages of an earlier training, which those of this one would be mixed with."""
    folder = out / "snapshots"
    if any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} is of an earlier training, whose state is gone; move it away too to start anew")


@dataclass(frozen=True)
class Checkpoints:
    """What a training leaves in its folder ``out``.

    ``identity`` (see ``identity.py``) is stored with the state. ``write(step)`` exports weights and returns validation
    figures; ``missing(step)`` says whether it has yet to write files after that step that no later one would.
    """

    out: Path
    identity: dict[str, object]
    write: Callable[[int], dict[str, float]]
    missing: Callable[[int], bool]

    def catch_up(self, number: int) -> None:
        """Write what an earlier run was kept from writing after step ``number``."""
        if number and processes.rank() == 0 and self.missing(number):
            with Log(self.out, number) as log:
                log.write(number, self.write(number), "validation")


def train_loop(
    config: RunConfig,
    crops: Crops,
    trainees: dict[str, Trainee],
    step: Callable[[Samples, int], dict[str, Tensor]],
    checkpoints: Checkpoints,
    device: torch.device,
    max_minutes: float = math.inf,
) -> int:
    """Run until ``config.images`` or the time limit. The same call resumes from ``state.pt`` in ``checkpoints.out``.

    ``step(samples, number)`` updates the trainees and returns metrics; ``checkpoints.write`` is called after each saved
    state. Returns the number of steps done in all. What a step draws from torch's global generator (dropout) is a
    function of ``(config.seed, number)``, so that a restart changes nothing.

    The state is saved first. Where the files after it could not be written, for a signal that nobody waited for or a
    full disk, the same call begins with those that later steps would not write.

    Several processes (see ``processes.py``) share each batch and ``out``, a folder that all of them see: its state is
    read by all, and written, like everything else, by the first, from whose weights all start. Without dropout they
    train as one would, up to rounding; with it, as one would with other masks.

    Raises:
        ValueError: ``out/state.pt`` is damaged or of another training, or not there while ``out/snapshots`` is, of an
            earlier training. FloatingPointError: the training diverged.
        Stopped: SIGTERM or SIGINT came; the step was finished and the state saved.
    """
    out = checkpoints.out
    out.mkdir(parents=True, exist_ok=True)
    first = load_state(out / "state.pt", trainees, device, checkpoints.identity)
    if processes.largest([first, -first], device) != [first, -first]:
        raise ValueError(f"{out} holds different states for different processes; they must all see one folder")
    if not first:
        check_fresh(out)
    for trainee in trainees.values():
        for network in (trainee.network, *(average.network for average in trainee.averages)):
            processes.align(network)
    checkpoints.catch_up(first)
    total = last_step(config)
    if first >= total:
        return first
    started, values, done = time.monotonic(), {}, first
    twice = processes.count() == 1  # torchrun may send the signal once more itself
    with StopSignals(twice) as stop, Log(out, first) as log:
        share = (processes.rank(), processes.count())
        batches = crops.batches(first * config.batch, config.batch, config.workers, device.type == "cuda", share)
        steps = range(first + 1, total + 1)
        progress = tqdm(steps, initial=first, total=total, unit="step", smoothing=0.05, disable=processes.rank() > 0)
        for number in progress:
            seed_dropout(config.seed, number)
            for name, value in step(on_device(next(batches), config, crops.classes, device), number).items():
                values.setdefault(name, []).append(value.detach())
            check_progress(trainees, number)
            done = number
            out_of_time = (time.monotonic() - started) / 60 > max_minutes
            stopped, out_of_time = processes.largest([stop.received, out_of_time], device)
            saves = number % config.checkpoint_every == 0 or number == total or out_of_time or stopped
            if number % LOG_EVERY == 0 or saves:
                means, values = finite_means(values), {}
                means.update(
                    {f"skipped_{name}": trainee.skipped for name, trainee in trainees.items() if trainee.skipped}
                )
                progress.set_postfix({name: f"{mean:.4g}" for name, mean in means.items()})
                log.write(number, {"seconds": round(time.monotonic() - started, 1), **means})
            if saves:
                if processes.rank() == 0:
                    save_state(out / "state.pt", trainees, number, checkpoints.identity)
                processes.wait(device)
                if processes.rank() == 0 and (not stopped or checkpoints.missing(number)):  # a signal does not wait
                    log.write(number, checkpoints.write(number), "validation")
                where = f"after step {number} of {total}; the same command goes on from here"
                if stopped:
                    progress.close()
                    processes.wait(device)  # for the first, which torchrun would end with the others
                    raise Stopped(int(stopped), f"stopped {where}")
            if out_of_time:
                if processes.rank() == 0:
                    tqdm.write(f"time limit reached {where}")
                break
    return done
