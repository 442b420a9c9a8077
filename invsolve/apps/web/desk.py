"""Restores one picture after the other in a thread of its own, and shows how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from torch import Tensor

from ...priors.watched import Seen
from ...specs.options import RunOptions
from ..run import Voice, prepare


class Cancelled(Exception):
    """Nobody waits for the picture any more."""


@dataclass(frozen=True)
class Progress:
    """A picture on its way."""

    image: Tensor  # [C, H, W], the prior's last sample
    done: int  # network evaluations
    total: int  # of all samples


@dataclass(frozen=True)
class Restored:
    """What was written for one picture, by what it is (see ``Job.paths``), and what `invsolve run` says of it."""

    paths: dict[str, Path]
    said: list[str]


class PageVoice(Voice):
    """What is said and noted goes to the page, but for where files are: it shows them."""

    def wrote(self, name: str, paths: Mapping[str, Path]) -> None:
        pass

    def note(self, line: str) -> None:
        self.print(f"note: {line}")


class Desk:
    """One thread that restores what several users ask for, in turn."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "restore")
        self._closed = Event()

    def restore(self, options: RunOptions) -> Iterator[Progress | Restored]:
        """The progress of the one picture of ``options`` after each network evaluation, and in the end its files.

        An iterator that is closed before ends the restoration after the evaluation that it is at.

        Raises:
            ValueError: as `invsolve run` does, and where it would say that the picture could not be restored.
        """
        samples, cancelled = SimpleQueue(), Event()

        def seen(x: Tensor) -> None:
            if cancelled.is_set() or self._closed.is_set():
                raise Cancelled
            samples.put(x)

        restored = self._thread.submit(_restore, options, seen)
        restored.add_done_callback(lambda _: samples.put(None))
        done, total = 0, options.steps * (options.samples or 1)
        try:
            for x in iter(samples.get, None):
                done += len(x)
                yield Progress(x[0], done, total)
            yield restored.result()
        finally:
            cancelled.set()

    def close(self) -> None:
        """End what is going on, after the evaluation that it is at."""
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)


def _restore(options: RunOptions, seen: Seen) -> Restored:
    said: list[str] = []
    (job,), work = prepare(options, PageVoice(options, said.append), seen)
    observed = list(work.observed([job]))
    if observed:
        work.restore(observed, progress=False)
    if work.failures:
        raise ValueError(work.failures[0])
    return Restored(job.paths(options.simulate, options.samples), said)
