"""Which pictures `invsolve run` restores, and the names of the files that each gives."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..images.encoding import FORMATS, suffix_for
from ..images.files import list_folder, list_pictures, picture_name
from ..specs.options import RunOptions

RESULT = re.compile(r"(.+)_(restored|measurement|comparison|mean|std|sample\d+)")
AS_RESTORED = ("mean", "sample")  # parts in the format of the restored picture; the others are PNGs


@dataclass(frozen=True)
class Job:
    """A picture to restore and its files: the restored one, others beside it of ``stem`` and what they are."""

    source: str | Path
    restored: Path
    stem: str

    @property
    def name(self) -> str:
        """The picture's, which keys its noise."""
        return picture_name(self.source)

    def paths(self, simulate: bool, samples: int | None) -> dict[str, Path]:
        """Every file that the picture gives, by what it is."""
        parts = ["measurement", "comparison"] if simulate else []
        if samples is not None:
            width = len(str(samples))
            parts += ["mean", "std", *(f"sample{k:0{width}d}" for k in range(1, samples + 1))]
        suffixes = {part: self.restored.suffix if part.startswith(AS_RESTORED) else ".png" for part in parts}
        if simulate:
            suffixes["metrics"] = ".json"
        folder = self.restored.parent
        return {"restored": self.restored} | {
            part: folder / f"{self.stem}_{part}{suffix}" for part, suffix in suffixes.items()
        }


def list_jobs(options: RunOptions, note: Callable[[str], None]) -> list[Job]:
    """The pictures of ``options.inputs`` in order, those of a folder without the results of earlier runs in it.

    With ``recursive`` also those in its sub-folders, whose results lie in sub-folders of the same names.

    Raises:
        ValueError: a path does not exist, a folder has no pictures, or the one file that is named as the output is to
            hold several.
    """
    found: list[tuple[str | Path, Path]] = []  # pictures, and the folders of their results within the output's
    for source in options.inputs:
        if str(source).startswith("skimage:") or not Path(source).is_dir():
            found += [(picture, Path()) for picture in list_pictures([source])]
            continue
        inside = list_folder(Path(source), options.recursive)
        new = _without_results(inside, Path(source), options.output)
        if not new:
            raise ValueError(f"{source}: no pictures in this directory but results of earlier runs")
        if len(new) < len(inside):
            note(f"{source}: left out {len(inside) - len(new)} of {len(inside)} pictures, results of earlier runs")
        found += [(path, path.parent.relative_to(source)) for path in new]
    if not names_a_file(options.output):
        return [_job(picture, options.output / below, options.format) for picture, below in found]
    if len(found) > 1:
        raise ValueError(f"--output {options.output} names one file but there are {len(found)} pictures")
    return [Job(found[0][0], options.output, options.output.stem)]


def names_a_file(output: Path) -> bool:
    """Whether ``--output`` is the restored picture's file, not a folder."""
    return output.suffix.lower() in FORMATS and not output.is_dir()


def _job(picture: str | Path, folder: Path, format: str) -> Job:
    name = picture_name(picture)
    return Job(picture, folder / f"{name}_restored{suffix_for(format, Path(str(picture)).suffix)}", name)


def _without_results(pictures: Sequence[Path], folder: Path, output: Path) -> list[Path]:
    """Without those named as a result of another one beside it, and without those in an output folder further down."""
    known = {(path.parent, path.stem) for path in pictures}
    out, top = output.resolve(), folder.resolve()

    def is_result(path: Path) -> bool:
        named = RESULT.fullmatch(path.stem)
        own = named is not None and (path.parent, named[1]) in known
        return own or (out != top and top in out.parents and out in path.resolve().parents)

    return [path for path in pictures if not is_result(path)]


def check_outputs(jobs: Sequence[Job], options: RunOptions) -> None:
    """Refuse to write two results, or a result and an input, to the same place, or where nothing can be written.

    Raises:
        ValueError: naming the file, or the folder.
    """
    folder = options.output.parent if names_a_file(options.output) else options.output
    existing = next(path for path in [folder, *folder.resolve().parents] if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        reason = "cannot be written to" if existing.is_dir() else "is not a directory"
        raise ValueError(f"--output {options.output}: {existing} {reason}")
    owners: dict[Path, str | Path] = {}
    inputs = {Path(job.source).resolve() for job in jobs}
    inputs |= {path.resolve() for path in (options.mask, options.kernel) if path is not None}
    for job in jobs:
        if job.restored in owners:
            raise ValueError(
                f"{owners[job.restored]} and {job.source} would both write {job.restored.name}: run them apart"
            )
        owners[job.restored] = job.source
        for path in job.paths(options.simulate, options.samples).values():
            if path.resolve() in inputs:
                raise ValueError(f"{path} is an input and would be overwritten: choose another --output")
            if path.is_dir():
                raise ValueError(f"{path} is a directory and would be overwritten: choose another --output")
            try:
                os.lstat(existing / path.name)
            except FileNotFoundError:
                pass
            except OSError as error:  # as of a name that is too long
                raise ValueError(f"{path} cannot be written: {error.strerror}") from None
