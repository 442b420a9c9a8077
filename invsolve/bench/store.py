"""What a benchmark leaves on disk: a line per restored image, safe from interruption and shared by processes.

A run of one process appends to ``results.jsonl``. With several, which may be on several machines with one file system,
each appends to a ``results.rankN.jsonl`` of its own: no locks, no messages, nothing to hang when one dies. Whoever
writes the last missing line merges all into ``results.jsonl``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, BinaryIO

from ..images.files import write_atomically
from .store_reading import RESULTS, Row, part_path, part_paths, read_results, result_paths

TRUTH, MEASUREMENT = "truth", "measurement"  # files of a picture's folder beside those of the methods, without .png
STD = "_std"  # what follows a method's name in that of its standard deviation's file

Pair = tuple[str, str]  # task, method


def file_name(method: str) -> str:
    """The name of a method's pictures, without the suffix."""
    return method.replace(":", "_")


def picture_folders(folder: Path, task: str) -> list[Path]:
    """The folders of a task's pictures, one per image, those that have a truth."""
    return sorted(path.parent for path in (folder / "pictures" / task).glob(f"*/{TRUTH}.png"))


def own_path(folder: Path, rank: int, count: int) -> Path:
    """Where the process of a rank, one of ``count``, appends its lines."""
    return folder / RESULTS if count == 1 else part_path(folder, rank)


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add lines and wait until they are on the disk; what an interruption left of a last line is cut off first."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    with open(path, "a+b") as file:
        _cut_unfinished_line(file)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def is_last_writer(folder: Path, own: Path) -> bool:
    """Whether no process has written a line since this one did, so that it is the one to finish the benchmark."""
    times = {}
    for path in result_paths(folder):
        try:
            times[path] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return own in times and times[own] == max(times.values())


def merge(folder: Path) -> None:
    """Put the lines of all processes into ``results.jsonl``, in the order of task, method and index.

    Nobody may be adding lines. Of processes that merge at the same time each writes the same, all lines, since
    ``read_results`` finds those that another has just merged.
    """
    parts = part_paths(folder)
    if not parts:
        return
    _write(folder, sorted(read_results(folder).values(), key=lambda row: (row["task"], row["method"], row["index"])))
    for part in parts:
        part.unlink(missing_ok=True)


def drop(folder: Path, pairs: AbstractSet[Pair]) -> None:
    """Remove the lines of some methods at some tasks, all at once, and then their pictures; nothing else changes.

    No other process may be reading or writing.
    """
    merge(folder)
    rows = list(read_results(folder).values())
    kept = [row for row in rows if (row["task"], row["method"]) not in pairs]
    if len(kept) < len(rows):
        _write(folder, kept)
    for task, method in pairs:
        for pictures in picture_folders(folder, task):
            for name in (file_name(method), file_name(method) + STD):
                (pictures / f"{name}.png").unlink(missing_ok=True)


def has_results(folder: Path) -> bool:
    """Whether any process has left lines here."""
    return bool(result_paths(folder))


def _write(folder: Path, rows: Iterable[Row]) -> None:
    """Replace ``results.jsonl``; the lines are on the disk before the file has its name, and so before parts go."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)

    def write(file: BinaryIO) -> None:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())

    write_atomically(folder / RESULTS, write)


def _cut_unfinished_line(file) -> None:
    """Leave the position at the end of the last whole line, and nothing after it."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    file.truncate(end)
    file.seek(end)
