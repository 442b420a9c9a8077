"""One run at a time in a folder of results: two that append and merge there would undo each other's work."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is claimed
    fcntl = None

PATIENCE = 10.0  # seconds: the data workers of a training that was killed may outlive it by some


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder, if it is not there, and hold it until the end; the system lets go of it when the process dies.

    Leaves no file. File systems without locks are used as they are.

    Raises:
        ValueError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                message = f"another run is at work in {folder}: wait for its end, or choose another --out"
                raise ValueError(message) from None
            time.sleep(0.1)
        except OSError:
            return None
