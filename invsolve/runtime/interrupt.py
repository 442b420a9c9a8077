"""Ctrl-C as a KeyboardInterrupt, whatever it interrupts."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def heeding_interrupts() -> Iterator[None]:
    """A context that Ctrl-C leaves as a KeyboardInterrupt which the caller may turn into an exit code.

    Two things are in the way. Code in C that meets the exception may raise another one in its stead: torch takes the
    interrupted ``len()`` of a storage it reads for a wrong argument. And where a string was being executed, as every
    ``@dataclass`` does, CPython keeps a note of the exception, caught or not, and ``python -m`` then ends by the signal
    whatever the exit code; executing the next string erases the note.

    Ctrl-C stays ignored where it was (as in the background of a shell), and outside the main thread, which alone
    handles signals, nothing is changed but the second thing.
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
        if not heard and not isinstance(error, KeyboardInterrupt):
            raise
        exec("")  # erases the note
        raise KeyboardInterrupt from error
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
