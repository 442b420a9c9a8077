"""One run at a time in a folder of results: two that append and merge there would undo each other's work."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: folders are used without a lock
    fcntl = None

PATIENCE = 10.0  # seconds: the data workers of a training that was killed may outlive it by some
PAUSE = 0.1  # seconds between attempts


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder, if it is not there, and lock it until the end; the system unlocks it when the process dies.

    Leaves no file. File systems without locks are used as they are.

    Raises:
        ValueError: another run has the lock, and keeps it for longer than ``PATIENCE``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle, deadline = os.open(folder, os.O_RDONLY), time.monotonic() + PATIENCE
    try:
        while not _lock(handle):
            if time.monotonic() >= deadline:
                raise ValueError(f"another run is at work in {folder}: wait for its end, or choose another --out")
            time.sleep(PAUSE)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open folder; False where another process has the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True
