"""SIGTERM and SIGINT during a training: noted, so that the loop can finish its step and save before it ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Stopped(Exception):
    """A training ended early by a signal, its state saved. ``signal`` is the signal's number."""

    def __init__(self, number: int, message: str):
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.signal = number


class StopSignals:
    """A context in which SIGTERM and SIGINT only set :attr:`received`; with ``twice``, a second one acts as usual.

    Python lets only the main thread handle signals; in another one nothing is changed.
    """

    def __init__(self, twice: bool = True) -> None:
        self.received = 0  # the signal's number
        self._twice = twice
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if self._twice:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
