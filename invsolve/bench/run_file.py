"""``run.json``: what the figures in a benchmark's directory depend on, so that no later run mixes in others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from ..images.files import write_atomically
from .store import Pair, drop, has_results
from .store_reading import read_results

RECORD = "run.json"
GROWING = ("tasks", "methods")  # that a later run in the same directory may add to
PICTURES = ("images", "pictures_sha256")
NETWORKS = ("prior", "denoiser")
DIGESTS = {"pictures_sha256": "pictures", "lpips_sha256": "LPIPS trunk"}  # what they are of; older records have none

Record = dict[str, Any]
Definition = Mapping[str, Any]  # names and values, see :func:`difference`
FirstPictures = Callable[[int], Record]  # what a record says of the first N pictures alone


def open_folder(
    folder: Path, record: Record, first_pictures: FirstPictures, redo: AbstractSet[Pair] = frozenset()
) -> None:
    """Make the benchmark's directory, or check that what lies there fits the run, drop ``redo``, write ``run.json``.

    ``record`` holds

    ``tasks``, ``methods``
        which a later run may add to;
    ``options``, ``lpips``
        which must stay;
    ``degradations`` (task: what defines its measurements)
        whose values must stay, see :func:`difference`;
    ``images`` (their count, digest of their names)
        which must stay, or be the first ones of now, with a lower ``limit`` among the options, where this run has all
        tasks and methods: all of them must end with the same pictures;
    ``pictures_sha256``, ``lpips_sha256``
        digests of files, which must stay where both records have them; of the pictures that both have;
    ``definitions`` (method: task: its settings and a digest of its network)
        whose values must stay where there are results, except those of ``redo``, (task, method) pairs: their lines and
        pictures are dropped first, and an interruption at any point leaves a directory that a later run can use;
    ``device``
        to which others are added where a later run is on another: seconds are not comparable then;
    ``prior``, ``denoiser``
        the networks of the last run that had one; those of each result are in its definition;

    and whatever else, kept as the first run wrote it.

    Raises:
        ValueError: one line naming the first thing that differs, or a directory that is not a benchmark's.
    """
    before = check_folder(folder, record, first_pictures, redo)
    folder.mkdir(parents=True, exist_ok=True)
    if before:
        if redo:
            drop(folder, redo)
        record = _grown(before, record)
    if record != before:
        text = json.dumps(record, indent=2) + "\n"
        write_atomically(folder / RECORD, lambda file: file.write(text.encode()))


def check_folder(
    folder: Path, record: Record, first_pictures: FirstPictures, redo: AbstractSet[Pair] = frozenset()
) -> Record | None:
    """The record that lies there, None in a new directory. Raises as :func:`open_folder` does; changes nothing."""
    path = folder / RECORD
    if path.is_file():
        before = _read_record(path)
        more = _has_more_pictures(before, record)
        common = record
        if more:
            common = _with_pictures(record, first_pictures(before["images"]["count"]), before["options"]["limit"])
        _check_same(folder, before, common)
        if more:
            _check_all_named(folder, before, record)
        _check_definitions(folder, before, record, redo)
        return before
    if has_results(folder):
        raise ValueError(f"{folder} holds results without {RECORD}: choose another --out")
    return None


def _has_more_pictures(before: Record, now: Record) -> bool:
    return now["images"]["count"] > before["images"]["count"]


def _with_pictures(record: Record, pictures: Record, limit: int | None) -> Record:
    """A record with other pictures, and the limit that they were taken with."""
    options = {**record["options"], "limit": limit}
    return {**record, **{name: pictures[name] for name in PICTURES}, "options": options}


def _check_all_named(folder: Path, before: Record, now: Record) -> None:
    """Refuse more pictures for some of the tasks and methods alone."""
    for name in GROWING:
        lacking = [item for item in before[name] if item not in now[name]]
        if lacking:
            few, many = before["images"]["count"], now["images"]["count"]
            raise ValueError(
                f"{folder} has the first {few} of these {many} pictures: the others are for all of its {name} alike, "
                f"so add {','.join(lacking)} to --{name}"
            )


def difference(before: Definition, now: Definition) -> str | None:
    """How two definitions differ, in words; None where they do not.

    The values define a result, not their names: what one alone names may have got another name since, and is the same
    where the values are.
    """
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            return f"{name} was {before[name]} and now is {now[name]}"
    was, is_ = (
        {name: one[name] for name in one.keys() - other.keys()} for one, other in ((before, now), (now, before))
    )
    if sorted(map(repr, was.values())) == sorted(map(repr, is_.values())):
        return None
    return f"there were {json.dumps(was, sort_keys=True)} and now are {json.dumps(is_, sort_keys=True)}"


def _fixed(record: Record) -> dict[str, Any]:
    fixed = {**record["options"], "images": record["images"], "lpips": record["lpips"]}
    return fixed | {f"digest of the {what}": record[name] for name, what in DIGESTS.items() if record.get(name)}


def _check_same(folder: Path, before: Record, now: Record) -> None:
    was, is_ = _fixed(before), _fixed(now)
    changes = [
        f"its {name} was {json.dumps(was[name])} and now is {json.dumps(is_[name])}"
        for name in was
        if name in is_ and is_[name] != was[name]
    ]
    for task, definition in before["degradations"].items():
        change = difference(definition, now["degradations"].get(task, definition))
        changes += [f"at {task} its {change}"] if change else []
    if changes:
        hint = "repeat the options of that run, or choose another --out"
        raise ValueError(f"{folder} holds another run: {changes[0]}; {hint}")


def _check_definitions(folder: Path, before: Record, now: Record, redo: AbstractSet[Pair]) -> None:
    """Refuse the methods of this run that have results by another definition, those of ``redo`` apart."""
    present = {(task, method) for task, method, _ in read_results(folder)} - redo
    changed = [
        (method, task, change)
        for method, tasks in now["definitions"].items()
        for task, definition in tasks.items()
        if (task, method) in present
        and (change := difference(before["definitions"].get(method, {}).get(task, {}), definition))
    ]
    if changed:
        method, task, change = changed[0]
        methods = ",".join(dict.fromkeys(name for name, *_ in changed))
        raise ValueError(
            f"{folder} holds results of {method} at {task} by other settings or weights ({change}): "
            f"--redo {methods} computes them again, or choose another --out"
        )


def _grown(before: Record, now: Record) -> Record:
    names = {name: list(dict.fromkeys([*before[name], *now[name]])) for name in GROWING}
    degradations = {**before["degradations"], **now["degradations"]}
    definitions = {
        method: {**before["definitions"].get(method, {}), **now["definitions"].get(method, {})}
        for method in names["methods"]
    }
    networks = {
        name: now[name]
        for name in NETWORKS
        if name in now and now[name]["sha256"] != before.get(name, {}).get("sha256")
    }
    if _has_more_pictures(before, now):
        before = _with_pictures(before, now, now["options"]["limit"])
    grown = {**names, "degradations": degradations, "definitions": definitions, "device": _devices(before, now)}
    return {**now, **before, **grown, **networks}


def _devices(before: Record, now: Record) -> str:
    """Of all runs, each once, separated by semicolons."""
    known = str(before.get("device", now["device"])).split("; ")
    return "; ".join(dict.fromkeys([*known, now["device"]]))


def _read_record(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        definitions = {method: {**tasks} for method, tasks in record["definitions"].items()}
        each = [
            *record["degradations"].values(),
            *(value for tasks in definitions.values() for value in tasks.values()),
        ]
        if not all(isinstance(definition, dict) for definition in each):
            raise ValueError(f"{path} is of an older form, with digests for definitions: choose another --out")
        _fixed(record), int(record["images"]["count"]), record["options"]["limit"]
        return {**record, "definitions": definitions, **{name: list(record[name]) for name in GROWING}}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is not the record of a benchmark: choose another --out") from None
