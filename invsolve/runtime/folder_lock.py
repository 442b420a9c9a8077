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
PAUSE = 0.1  # seconds between attempts


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
    for left in reversed(range(1 + round(PATIENCE / PAUSE))):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(PAUSE)
        except OSError:
            return None
    raise ValueError(f"another run is at work in {folder}: wait for its end, or choose another --out")
