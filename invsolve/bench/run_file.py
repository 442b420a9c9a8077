"""``run.json``: what the figures in a benchmark's directory depend on, so that no later run mixes in others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from ..images.files import write_atomically
from ..images.metrics import TRUNK_VARIABLE
from .pictures import Pictures
from .store import Pair, drop, has_results, read_results

RECORD = "run.json"
GROWING = ("tasks", "methods")  # that a later run in the same directory may add to
TREATMENT = ("size", "reduce")  # options of which only what they come to must stay, see _treatments
NETWORKS = ("prior", "denoiser")
TYPES = dict.fromkeys(GROWING, list) | {"lpips": bool, "device": str}
TYPES |= dict.fromkeys(("degradations", "definitions", "options", "images"), dict)
DIGESTS = {"pictures_sha256": "pictures", "lpips_sha256": "LPIPS trunk"}  # None where torchvision downloads the trunk

Record = dict[str, Any]
Definition = Mapping[str, Any]  # names and values, see :func:`difference`


def open_folder(folder: Path, record: Record, pictures: Pictures, redo: AbstractSet[Pair] = frozenset()) -> None:
    """Make the benchmark's directory, or check that what lies there fits the run, drop ``redo``, write ``run.json``.

    Of ``record`` these must stay as the first run wrote them: ``options`` (but other ones for the size of the pictures
    may come to the same), ``lpips``, the digests of files, and the values of ``degradations`` (task: what defines its
    measurements) and of ``definitions`` (method: task: its settings and a digest of its network, or these by the
    pictures' size) where there are results, see :func:`difference`. A later run may add ``tasks`` and ``methods``, and
    for all of them more ``images``, of which the first are the same (a larger ``limit``); another ``device`` is added
    to the first, because seconds are not comparable then. ``prior`` and ``denoiser`` are those of the last run that
    had one.

    The lines and pictures of ``redo``, (task, method) pairs, are dropped first; their definitions may have changed. An
    interruption at any point leaves a directory that a later run can use.

    Raises:
        ValueError: one line naming the first thing that differs, or a directory that is not a benchmark's.
    """
    before = check_folder(folder, record, pictures, redo)
    folder.mkdir(parents=True, exist_ok=True)
    if before:
        if redo:
            drop(folder, redo)
        record = _grown(before, record)
    if record != before:
        text = json.dumps(record, indent=2) + "\n"
        write_atomically(folder / RECORD, lambda file: file.write(text.encode()))


def check_folder(
    folder: Path, record: Record, pictures: Pictures, redo: AbstractSet[Pair] = frozenset()
) -> Record | None:
    """The record that lies there, None in a new directory. Raises as :func:`open_folder` does; changes nothing."""
    if not (folder / RECORD).is_file():
        if has_results(folder):
            raise ValueError(f"{folder} holds results without {RECORD}: choose another --out")
        return None
    before = _read_record(folder / RECORD)
    few, many = before["images"]["count"], record["images"]["count"]
    if many > few:
        options = {**record["options"], "limit": before["options"].get("limit")}
        _check_same(folder, before, {**record, **pictures_record(pictures, few), "options": options})
        for name in GROWING:
            if lacking := [item for item in before[name] if item not in record[name]]:
                raise ValueError(
                    f"{folder} has the first {few} of these {many} pictures: the others are for all of its {name} "
                    f"alike, so add {','.join(lacking)} to --{name}"
                )
    else:
        _check_same(folder, before, record)
    _check_definitions(folder, before, record, redo)
    return before


def pictures_record(pictures: Pictures, first: int) -> Record:
    """What a record says of the first pictures."""
    names = digest("\n".join(pictures.names[:first]).encode())
    count = {"images": {"count": first, "names_sha256": names}, "pictures_sha256": pictures.digest(first)}
    return count | {"sizes": pictures.file_sizes}


def digest(content: bytes) -> str:
    """The first 12 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:12]


def difference(before: Definition, now: Definition) -> str | None:
    """How two definitions differ, in words; None where they do not.

    The values define a result, not their names: what one alone names may have got another name since, and is the same
    where the values are.
    """
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            return f"{name} was {before[name]} and now is {now[name]}"
    was = {name: before[name] for name in before.keys() - now.keys()}
    is_ = {name: now[name] for name in now.keys() - before.keys()}
    if sorted(map(repr, was.values())) == sorted(map(repr, is_.values())):
        return None
    return f"there were {json.dumps(was, sort_keys=True)} and now are {json.dumps(is_, sort_keys=True)}"


def _check_same(folder: Path, before: Record, now: Record) -> None:
    """Refuse other options, pictures or degradations, and figures with and without LPIPS."""
    if before["lpips"] and not now["lpips"]:
        give = f"give AlexNet's weights by --lpips-trunk FILE or {TRUNK_VARIABLE}, or choose another --out"
        raise ValueError(f"{folder} has LPIPS of every restoration, and this run cannot compute it: {give}")
    if now["lpips"] and not before["lpips"]:
        raise ValueError(f"{folder} has no LPIPS, which this run can compute: choose another --out")
    was, is_ = (
        {
            "noise": 1,
            **{name: v for name, v in one["options"].items() if name not in TREATMENT},
            "images": one["images"],
        }
        | {f"digest of the {what}": one[name] for name, what in DIGESTS.items() if before.get(name) and now.get(name)}
        for one in (before, now)
    )
    changes = [
        f"its {name} was {json.dumps(was[name])} and now is {json.dumps(is_[name])}"
        for name in was
        if name in is_ and is_[name] != was[name]
    ]
    for size, treatment in _treatments(before["options"], now["sizes"]).items():
        if treatment != (today := _treatments(now["options"], [size])[size]):
            changes.append(f"its pictures of {size} pixels were {treatment} and now are {today}")
    for task in before["degradations"].keys() & now["degradations"].keys():
        change = difference(before["degradations"][task], now["degradations"][task])
        changes += [f"at {task} its {change}"] if change else []
    if changes:
        hint = "repeat the options of that run, or choose another --out"
        raise ValueError(f"{folder} holds another run: {changes[0]}; {hint}")


def _treatments(options: Mapping[str, Any], sizes: Iterable[str]) -> Mapping[str, str]:
    """What is done to files of each size, in words, whatever the options that say so.

    Records without ``reduce`` are of a time when square pictures were averaged over blocks down to ``size``.
    """
    found = {}
    for size in sizes:
        sides = [int(side) for side in size.split("x")]
        reduce = options.get("reduce", min(sides) // (options["size"] or min(sides)))
        width, height = (options["size"] or side // reduce for side in sides)
        found[size] = f"restored at {width}x{height}" + (f" after --reduce {reduce}" if reduce > 1 else "")
    return found


def _check_definitions(folder: Path, before: Record, now: Record, redo: AbstractSet[Pair]) -> None:
    """Refuse the methods of this run that have results by another definition, those of ``redo`` apart."""
    present = {(task, method) for task, method, _ in read_results(folder)} - redo
    changed = [
        (method, task, change)
        for method, tasks in now["definitions"].items()
        for task, definition in tasks.items()
        if (task, method) in present
        and (change := _change(before["definitions"].get(method, {}).get(task, {}), definition))
    ]
    if changed:
        method, task, change = changed[0]
        methods = ",".join(dict.fromkeys(name for name, *_ in changed))
        raise ValueError(
            f"{folder} holds results of {method} at {task} by other settings or weights ({change}): "
            f"--redo {methods} computes them again, or choose another --out"
        )


def _change(before: Definition, now: Definition) -> str | None:
    """How a definition differs, of which either may be by the size of the pictures; later runs may have more sizes."""
    was, is_ = _by_size(before), _by_size(now)
    for size, definition in was.items():
        changes = [difference(definition, other) for other in ([is_[size]] if size in is_ else is_.values())]
        if all(changes):
            return changes[0]
    return None


def _by_size(definition: Definition) -> Mapping[str, Definition]:
    sized = definition and all(isinstance(value, Mapping) for value in definition.values())
    return definition if sized else {"": definition}


def _grown(before: Record, now: Record) -> Record:
    """The record of both runs."""
    grown = {name: list(dict.fromkeys([*before[name], *now[name]])) for name in GROWING}
    grown["degradations"] = before["degradations"] | now["degradations"]
    grown["definitions"] = {
        method: before["definitions"].get(method, {}) | now["definitions"].get(method, {})
        for method in grown["methods"]
    }
    grown["cut"] = before.get("cut", {}) | now["cut"]
    grown["device"] = "; ".join(dict.fromkeys([*before["device"].split("; "), now["device"]]))
    for name in NETWORKS:
        if name in now and now[name]["sha256"] != before.get(name, {}).get("sha256"):
            grown[name] = now[name]
    if now["images"]["count"] > before["images"]["count"]:
        grown |= {name: now[name] for name in ("images", "pictures_sha256", "sizes", "options")}
    return {**now, **before, **grown}


def _read_record(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(record[name], kind) for name, kind in TYPES.items()) and "count" in record["images"]:
            return record
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path} is not the record of a benchmark: choose another --out")
