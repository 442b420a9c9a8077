"""Ctrl-C and SIGTERM: what they interrupt, and a training that finishes its step first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(Exception):
    """A training ended early by a signal, its state saved. ``signal`` is the signal's number."""

    def __init__(self, number: int, message: str):
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.signal = number


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[None]:
    """A context that Ctrl-C leaves as a KeyboardInterrupt, whatever it interrupts.

    Code in C that meets the exception may raise another one in its stead: torch takes the interrupted ``len()`` of a
    storage it reads for a wrong argument. Ctrl-C stays ignored where it was, as in the background of a shell, and
    outside the main thread, which alone handles signals, nothing is changed.
    """
    heard = False

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard = True
        signal.default_int_handler(number, frame)

    in_main = threading.current_thread() is threading.main_thread()
    ours = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, hear)
    try:
        yield
    except BaseException as error:
        if heard and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


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
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if self._twice:
            self.__exit__()
