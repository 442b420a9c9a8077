"""What a benchmark leaves on disk: a line per restored image, safe from interruption and shared by processes.

A run of one process appends to ``results.jsonl``. With several, which may be on several machines with one file system,
each appends to a ``results.rankN.jsonl`` of its own: no locks, no messages, nothing to hang when one dies. Whoever
writes the last missing line merges all into ``results.jsonl``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..image import write_atomically
from .report_data import read_rows

RECORD, RESULTS = "run.json", "results.jsonl"
PARTS = "results.rank*.jsonl"
GROWING = ("tasks", "methods")  # that a later run in the same directory may add to
DEFINITIONS = "definitions"
NETWORKS = ("prior", "denoiser")

Key = tuple[str, str, str]  # task, method, image


def own_path(folder: Path, rank: int, count: int) -> Path:
    """Where the process of a rank, one of ``count``, appends its lines."""
    return folder / (RESULTS if count == 1 else f"results.rank{rank}.jsonl")


def read_results(folder: Path) -> dict[Key, Mapping[str, Any]]:
    """All processes' lines by (task, method, image); a last line that was cut off is as if it were not there."""
    rows = {}
    for path in _paths(folder):
        try:
            lines = read_rows(path)
        except FileNotFoundError:  # merged and removed by another process just now
            continue
        rows |= {(row["task"], row["method"], row["image"]): row for row in lines}
    return rows


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
    for path in _paths(folder):
        try:
            times[path] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return own in times and times[own] == max(times.values())


def merge(folder: Path) -> None:
    """Put the lines of all processes into ``results.jsonl``, in the order of task, method and index."""
    parts = list(folder.glob(PARTS))
    if not parts:
        return
    rows = sorted(read_results(folder).values(), key=lambda row: (row["task"], row["method"], row["index"]))
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_atomically(folder / RESULTS, lambda file: file.write(text.encode()))
    for part in parts:
        part.unlink(missing_ok=True)


def open_folder(folder: Path, record: dict[str, Any]) -> None:
    """Make the benchmark's directory, or check that what lies there is of the same run, and write ``run.json``.

    ``record`` holds ``tasks`` and ``methods``, which a later run may add to; ``options``, ``images`` and ``lpips``,
    ``definitions`` (a digest of each task) and of the networks in use ``prior`` and ``denoiser`` with their ``sha256``,
    which must stay; and whatever else.

    Raises:
        ValueError: one line naming the first thing that differs, or a directory that is not a benchmark's.
    """
    path = folder / RECORD
    folder.mkdir(parents=True, exist_ok=True)
    strays = _paths(folder)
    if path.is_file():
        before = _read_record(path)
        _check_same(folder, _fixed(before), _fixed(record))
        names = {name: list(dict.fromkeys([*before[name], *record[name]])) for name in GROWING}
        record = {**record, **before, **names, DEFINITIONS: {**record[DEFINITIONS], **before[DEFINITIONS]}}
        if record == before:
            return
    elif strays:
        raise ValueError(f"{folder} holds results without {RECORD}: choose another --out")
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _fixed(record: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {**record["options"], "images": record["images"], "lpips": record["lpips"]}
    fixed |= {f"definition of {task}": digest for task, digest in record[DEFINITIONS].items()}
    return fixed | {name: record[name]["sha256"][:12] for name in NETWORKS if name in record}


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in before:
        if name in now and now[name] != before[name]:
            was, is_ = json.dumps(before[name]), json.dumps(now[name])
            what = f"its {name} was {was} and now is {is_}"
            raise ValueError(
                f"{folder} holds another run: {what}; repeat the options of that run, or choose another --out"
            )


def _paths(folder: Path) -> list[Path]:
    return [*folder.glob(RESULTS), *sorted(folder.glob(PARTS))]


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _fixed(record)
        return {**record, **{name: list(record[name]) for name in GROWING}}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is not the record of a benchmark: choose another --out") from None


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
