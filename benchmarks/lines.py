"""A benchmark's lines, the most important first: each is measured if time allows and written at once."""

from __future__ import annotations

import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from invsolve.images.files import write_atomically

Row = dict[str, object]
NOTES = ("left out", "failed", "warnings")


@dataclass(frozen=True)
class Line:
    """One line of a table, and about how many seconds it takes."""

    table: str
    name: str
    seconds: float
    measure: Callable[[], Row]  # raises ImportError where something is not installed


class Clock:
    """What is left of so many seconds from now on."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())


class Report:
    """What was found so far, printed and in ``summary.json`` and ``summary.md`` of a folder.

    ``good`` as long as no line failed; a row's "ended", if it has one, must be "passed".
    """

    def __init__(self, folder: Path, title: str, about: Row) -> None:
        self.folder, self.title, self.good = folder, title, True
        self.heading = []  # what was printed last above rows
        self.found = {"about": about, "tables": {}, **{kind: {} for kind in NOTES}}
        print("\n".join(f"{name}: {value}" for name, value in about.items()), flush=True)
        self._write()

    def add(self, line: Line, row: Row) -> None:
        rows = self.found["tables"].setdefault(line.table, [])
        rows.append(row)
        *heading, last = [f"\n{line.table}:\n", *markdown(rows)[:2], markdown(rows)[-1]]
        print("\n".join([last] if heading == self.heading else [*heading, last]), flush=True)
        self.heading = heading
        self.good &= row.get("ended", "passed") == "passed"
        self._write()

    def note(self, kind: str, line: Line, why: str) -> None:
        """What is to be said of a line; ``kind`` is one of ``NOTES``."""
        self.found[kind][f"{line.table}: {line.name}"] = why
        print(f"\n{kind}: {line.table}, {line.name}: {why}", flush=True)
        self.heading = []
        self.good &= kind != "failed"
        self._write()

    def _write(self) -> None:
        text = [f"# {self.title}", "", *(f"- {name}: {value}" for name, value in self.found["about"].items())]
        for name, rows in self.found["tables"].items():
            text += ["", f"## {name}", "", *markdown(rows)]
        for kind in NOTES:
            if self.found[kind]:
                text += ["", f"## {kind}", "", *(f"- {line}: {why}" for line, why in self.found[kind].items())]
        for file, content in (("summary.json", json.dumps(self.found, indent=2)), ("summary.md", "\n".join(text))):
            write_atomically(self.folder / file, lambda out, content=content: out.write(content.encode() + b"\n"))


def run(lines: Iterable[Line], report: Report, clock: Clock) -> None:
    """Measure the lines that fit into the time. One that fails is reported, and the next ones go on."""
    for line in lines:
        if line.seconds > clock.left:
            report.note("left out", line, f"takes about {line.seconds:.0f} s, {clock.left:.0f} s were left")
            continue
        try:
            with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", RuntimeWarning)
                row = line.measure()
        except ImportError as error:
            report.note("left out", line, str(error))
        except Exception as error:  # the others may do: time on a GPU is rare
            traceback.print_exc()
            report.note("failed", line, f"{type(error).__name__}: {error}".partition("\n")[0])
        else:
            report.add(line, row)
            if messages := {str(warning.message) for warning in caught if warning.category is RuntimeWarning}:
                report.note("warnings", line, "; ".join(sorted(messages)))


def markdown(rows: list[Row]) -> list[str]:
    """The lines of a table with all columns of the rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *cells)]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "-" if value is None else str(value)
