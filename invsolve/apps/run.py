"""`invsolve run`: restore pictures from files, and with ``simulate`` degrade clean ones first and measure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..images.metrics import Metric, load_metrics, psnr, ssim
from ..priors.watched import Seen
from ..runtime import printing
from ..runtime.printing import counted, say
from ..runtime.processes import count, own_device, rank
from ..specs.degradations import Blur
from ..specs.options import RunOptions
from ..specs.task import Task
from .chosen_task import choose_task
from .jobs import Job, check_outputs, list_jobs
from .observe import Observation, observe
from .outputs import Result, Scores, describe, write_result
from .restore import Restorer

PENDING = 2**28  # bytes of read pictures that wait for others of their shape

Say = Callable[[str], None]


def run(options: RunOptions, say: Say = say) -> int:
    """Restore every picture of ``options.inputs``, write the results, and ``say`` where; returns the exit code.

    What is wrong with the options is found before the first file is written. A picture that cannot be restored is named
    at the end, on stderr, and does not stop the others: the code is 1 then, or 2 where no picture is left. Pictures of
    one shape, noise level and mask are restored in batches; the noise of a picture is keyed by ``seed`` and its name
    (see ``stream_index``), so its result is the same alone, in any batch and beside any other files. Under ``torchrun``
    a process restores the pictures at the positions rank, rank + count, ... .

    Raises:
        ValueError: the first thing wrong with the options, in one line.
    """
    jobs, work = prepare(options, Voice(options, say))
    due = [job for job in jobs[rank() :: count()] if not (options.skip_existing and job.restored.exists())]
    with tqdm(total=len(due), unit="picture", disable=None if len(due) > 1 and not options.quiet else True) as bar:
        for batch in batches(work.observed(due), work.restorer):
            work.restore(batch, progress=len(due) == 1)
            bar.update(len(work.scores) + len(work.failures) - bar.n)
        bar.update(len(due) - bar.n)  # those that failed last
    work.conclude(len(jobs), len(due))
    if not work.failures:
        return 0
    return 2 if len(work.failures) == len(jobs) else 1


def prepare(options: RunOptions, voice: Voice, seen: Seen | None = None) -> tuple[list[Job], Work]:
    """The pictures of ``options``, and what restores them; nothing is written yet.

    ``seen`` is given each sample of the prior on the way to the restored pictures.

    Raises:
        ValueError: the first thing wrong with the options, in one line.
    """
    task = choose_task(options)
    device = own_device(options.device)
    jobs = list_jobs(options, voice.note)
    check_outputs(jobs, options)
    restorer = Restorer(task, options, device, voice.note, seen)
    metrics = _load_metrics(options, device, voice.note) if options.simulate else {}
    return jobs, Work(options, task, restorer, metrics, voice)


def batches(observed: Iterator[Observation], restorer: Restorer) -> Iterator[list[Observation]]:
    """Pictures of one operator and one noise level, as many as are restored together; the order is else kept.

    Pictures wait for others like them as long as all that wait take no more than ``PENDING`` bytes.
    """
    waiting: dict[Any, list[Observation]] = {}
    size = 0
    for one in observed:
        key = one.key, one.sigma_y
        waiting.setdefault(key, []).append(one)
        size += one.y.nbytes
        if len(waiting[key]) >= restorer.together(restorer.operator_for(one)):
            size -= sum(each.y.nbytes for each in waiting[key])
            yield waiting.pop(key)
        elif size > PENDING:
            yield from waiting.values()
            waiting, size = {}, 0
    yield from waiting.values()


@dataclass
class Work:
    """The pictures of one run: how they are restored, and what has become of them so far."""

    options: RunOptions
    task: Task
    restorer: Restorer
    metrics: Mapping[str, Metric]
    voice: Voice
    scores: list[Scores] = field(default_factory=list)  # one for each restored picture, empty but for simulations
    failures: list[str] = field(default_factory=list)  # one for each picture that could not be restored
    seconds: float = 0.0

    def observed(self, jobs: Sequence[Job]) -> Iterator[Observation]:
        """Each picture as it is read, with an operator that fits it."""
        for job in jobs:
            try:
                found = observe(
                    job, self.task, self.options, self.restorer.noise_level, self.voice.say, self.voice.note
                )
                self.restorer.operator_for(found)
            except ValueError as error:
                self._failed(job, error)
            else:
                yield found

    def restore(self, batch: list[Observation], progress: bool) -> None:
        """Restore pictures of one operator and one noise level, and write their files."""
        start = time.perf_counter()
        results = self.restorer(batch, progress)
        self.seconds += time.perf_counter() - start
        for result in results:
            try:
                self._write(result)
            except ValueError as error:
                self._failed(result.observed.job, error)

    def conclude(self, pictures: int, due: int) -> None:
        """Say what was done in all, and on stderr what was not."""
        options, voice = self.options, self.voice
        if len(self.scores) > 1 and options.simulate:
            means = {name: _mean([score[name] for score in self.scores]) for name in self.metrics}
            voice.say(f"mean of {len(self.scores)} pictures: {describe(means)}")
        skipped = len([*range(rank(), pictures, count())]) - due
        if skipped:
            voice.say(f"{self.task.name}: {counted(skipped, 'picture')} skipped, which had been restored before")
        done = f"{counted(len(self.scores), 'picture')} restored with {counted(options.steps, 'network evaluation')}"
        voice.say(f"{self.task.name}: {done} in {self.seconds:.1f} s on {self.restorer.device.type}")
        for failure in self.failures:
            printing.error(failure)

    def _failed(self, job: Job, error: ValueError) -> None:
        self.failures.append(str(error))
        self.voice.line({"picture": str(job.source), "error": str(error)})

    def _write(self, result: Result) -> None:
        """Measure one result where the truth is known, write its files, and say what and where."""
        job, say, options = result.observed.job, self.voice.say, self.options
        record = {
            "picture": str(job.source),
            "task": self.task.name,
            "sigma_y": result.observed.sigma_y,
            "scale": "noise levels are for images on [-1, 1]",
            "prior": options.prior,
            "steps": options.steps,
            "seed": options.seed,
        }
        if isinstance(self.task.degradation, Blur):
            record["boundary"] = self.task.degradation.boundary
        scores: dict[str, float | None] = {}
        if result.truth is not None:
            scores = _score(result.restored, result.truth, self.metrics)
            record |= scores
            say(f"{job.name}: {describe(scores)}")
            if result.mean is not None:
                record["mean"] = _score(result.mean, result.truth, self.metrics)
                say(f"{job.name}, mean of {options.samples} samples: {describe(record['mean'])}")
        paths = write_result(result, options, record)
        self.scores.append(scores)
        self.voice.line(record | {"files": {part: str(path) for part, path in paths.items()}})
        self.voice.wrote(job.name, paths)


@dataclass(frozen=True)
class Voice:
    """What is printed: for people, with ``--json`` for scripts, with ``--quiet`` errors alone."""

    options: RunOptions
    print: Say

    def say(self, line: str) -> None:
        if not (self.options.json or self.options.quiet):
            self._print(line)

    def wrote(self, name: str, paths: Mapping[str, Path]) -> None:
        self.say(f"{name}: wrote {paths['restored']}")
        beside = [path.name for part, path in paths.items() if part != "restored"]
        if beside:
            self.say(f"{name}: beside it {', '.join(beside)}")

    def line(self, record: Mapping[str, Any]) -> None:
        """With ``--json`` a line for each picture."""
        if self.options.json:
            self._print(json.dumps(record, allow_nan=False))

    def note(self, line: str) -> None:
        if not self.options.quiet:
            with tqdm.external_write_mode():
                printing.note(line)

    def _print(self, line: str) -> None:
        with tqdm.external_write_mode():
            self.print(line)


def _load_metrics(options: RunOptions, device: torch.device, note: Say) -> dict[str, Metric]:
    if options.no_lpips:
        metrics: dict[str, Metric] = {"psnr": psnr, "ssim": ssim}
    else:
        metrics = load_metrics(options.lpips_trunk, device, note)
    return {**metrics, "lpips": metrics.get("lpips", lambda x, truth: [None] * len(x))}


def _score(image: Tensor, truth: Tensor, metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    return {name: metric(image[None], truth[None])[0] for name, metric in metrics.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
