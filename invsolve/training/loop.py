"""The training loop: samples in order, resumable checkpoints, progress and metrics, an orderly end."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable

from torch import Tensor
from tqdm import tqdm

from ..runtime import processes
from ..runtime.signals import Stopped, StopSignals
from .exports import Exports
from .log import Log, finite_means
from .run import Run
from .samples import Samples, seed_dropout
from .trainee import Trainee, load_state, save_state

LOG_EVERY = 50  # steps
# A training has diverged where, of its last so many updates, so many had gradients that are not finite.
DIVERGED = {20: 20, 100: 50}

Step = Callable[[Samples, int], dict[str, Tensor]]  # updates the trainees on a batch, the number-th; returns metrics
Checkpoint = Callable[[int], dict[str, float]]  # writes weights after so many steps; returns validation figures


def train_loop(
    run: Run, trainees: dict[str, Trainee], step: Step, exports: Exports, checkpoint: Checkpoint, max_minutes: float
) -> None:
    """Train to the last step or the time limit. The same call resumes from ``state.pt`` in ``run.out``.

    What a step samples from torch's global generator (dropout) is a function of the seed and the step's number, so that
    a restart changes nothing.

    The state is saved first. Where a signal or a full disk kept the files after it from being written, the same call
    begins with those that later steps would not write.

    Several processes (see ``processes.py``) share each batch and ``run.out``: its state is read by all, and written,
    like everything else, by the first, from whose weights all start. Without dropout they train as one would, up to
    rounding; with it, as one would with other masks.

    Raises:
        ValueError: ``state.pt`` is damaged or of another training, or not there while ``snapshots`` is, of an earlier
            training; or another run is at work in the folder. FloatingPointError: the training diverged.
        Stopped: SIGTERM or SIGINT came; the step was finished and the state saved.
    """
    c, leads = run.settings, processes.rank() == 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(processes.alone(run.out))
        first = resume(run, trainees)
        log = stack.enter_context(Log(run.out, first))
        if first and leads and exports.missing(first):
            log.write(first, checkpoint(first), "validation")
        if first >= run.steps:
            return
        share = (processes.rank(), processes.count())
        batches = run.crops.batches(first * c.batch, c.batch, c.workers, run.device.type == "cuda", share)
        stack.enter_context(contextlib.closing(batches))
        steps = range(first + 1, run.steps + 1)
        bar = tqdm(steps, initial=first, total=run.steps, unit="step", smoothing=0.05, disable=not leads)
        stack.enter_context(bar)
        # torchrun may send a signal once more itself
        stop = stack.enter_context(StopSignals(twice=processes.count() == 1))
        started, metrics = time.monotonic(), defaultdict(list)
        for number in bar:
            samples = Samples.of(next(batches), c, run.crops.classes, run.device)
            seed_dropout(c.seed, number)  # after the batch, for which a new loader samples a seed
            for name, value in step(samples, number).items():
                metrics[name].append(value.detach())
            check_progress(trainees, number)
            seconds = time.monotonic() - started
            stopped, late = processes.largest([stop.received, seconds > 60 * max_minutes], run.device)
            saves = number % c.checkpoint_every == 0 or number == run.steps or late or stopped
            if number % LOG_EVERY == 0 or saves:
                means = finite_means(metrics) | {f"skipped_{n}": t.skipped for n, t in trainees.items() if t.skipped}
                metrics.clear()
                bar.set_postfix({name: f"{mean:.4g}" for name, mean in means.items()})
                log.write(number, {"seconds": round(seconds, 1), **means})
            if saves:
                if leads:
                    save_state(run.out / "state.pt", trainees, number, run.identity)
                processes.wait(run.device)
                if leads and (not stopped or exports.missing(number)):  # a signal does not wait
                    log.write(number, checkpoint(number), "validation")
            where = f"after step {number} of {run.steps}; the same command goes on from here"
            if stopped:
                processes.wait(run.device)  # for the first, which torchrun would end with the others
                raise Stopped(int(stopped), f"stopped {where}")
            if late:
                if leads:
                    tqdm.write(f"time limit reached {where}")
                return


def resume(run: Run, trainees: dict[str, Trainee]) -> int:
    """Load the state of an earlier call, if there is one; returns the number of steps that are done."""
    run.out.mkdir(parents=True, exist_ok=True)
    first = load_state(run.out / "state.pt", trainees, run.device, run.identity)
    if processes.largest([first, -first], run.device) != [first, -first]:
        raise ValueError(f"{run.out} holds different states for different processes; they must all see one folder")
    snapshots = run.out / "snapshots"
    if not first and any(snapshots.glob("*.safetensors")):  # the averages of both would be mixed
        raise ValueError(f"{snapshots} is of an earlier training, whose state is gone; move it away too to start anew")
    for trainee in trainees.values():
        for network in (trainee.network, *(average.network for average in trainee.averages)):
            processes.align(network)
    return first


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
