"""What `invsolve run` writes for one picture: PNGs and, of a simulation, its metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..images.files import STD_WHITE, picture_name, write_atomically, write_image
from ..specs.options import RunOptions

GAP = 8  # white pixels between the pictures of _comparison.png
UNITS = {"psnr": ("PSNR", ".2f", " dB"), "ssim": ("SSIM", ".3f", ""), "lpips": ("LPIPS", ".3f", "")}

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Result:
    """One restored picture; images are ``[C, H, W]`` in [-1, 1].

    ``truth`` is there for a simulation, ``samples`` ``[K, C, H, W]``, ``mean`` and ``std`` where samples were asked
    for; ``restored`` then is the first of them.
    """

    name: str
    restored: Tensor
    measurement: Tensor
    truth: Tensor | None = None
    samples: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None


def output_paths(name: str, folder: Path, simulate: bool, samples: int | None) -> dict[str, Path]:
    """Every file that a picture of this name gives, by what it is."""
    parts = ["restored"]
    parts += ["measurement", "comparison"] if simulate else []
    if samples is not None:
        width = len(str(samples))
        parts += ["mean", "std", *(f"sample{k:0{width}d}" for k in range(1, samples + 1))]
    paths = {part: folder / f"{name}_{part}.png" for part in parts}
    if simulate:
        paths["metrics"] = folder / f"{name}_metrics.json"
    return paths


def check_outputs(pictures: Sequence[str | Path], options: RunOptions) -> None:
    """Refuse to write two results, or a result and an input, to the same place, or where nothing can be written.

    Raises:
        ValueError: naming the file, or the folder.
    """
    existing = next(path for path in [options.output, *options.output.resolve().parents] if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        reason = "cannot be written to" if existing.is_dir() else "is not a directory"
        raise ValueError(f"--output {options.output}: {existing} {reason}")
    owners: dict[str, str | Path] = {}
    inputs = {Path(file).resolve() for file in (*pictures, options.mask, options.kernel) if file is not None}
    for source in pictures:
        name = picture_name(source)
        if name in owners:
            raise ValueError(f"{owners[name]} and {source} would both write {name}_restored.png: run them apart")
        owners[name] = source
        for path in output_paths(name, options.output, options.simulate, options.samples).values():
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


def write_result(result: Result, folder: Path, record: Mapping[str, Any]) -> dict[str, Path]:
    """Write the files of ``output_paths``, each atomically, and return where; ``record`` goes into _metrics.json."""
    count = None if result.samples is None else len(result.samples)
    paths = output_paths(result.name, folder, result.truth is not None, count)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"restored": result.restored}
    if result.truth is not None:
        pictures["measurement"] = result.measurement
        pictures["comparison"] = side_by_side([result.truth, result.measurement, result.restored])
    if result.samples is not None:
        pictures["mean"] = result.mean
        pictures["std"] = result.std.mean(0, keepdim=True) / STD_WHITE * 2 - 1
        sample_parts = [part for part in paths if part.startswith("sample")]
        pictures.update(zip(sample_parts, result.samples, strict=True))
    for part, picture in pictures.items():
        write_image(picture, paths[part])
    if result.truth is not None:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        write_atomically(paths["metrics"], lambda file: file.write(text.encode()))
    return paths


def side_by_side(images: list[Tensor]) -> Tensor:
    """Images in a row ``[3, H, W]``, white between them, each enlarged (nearest pixel) to the size of the first."""
    size = images[0].shape[-2:]
    row = [interpolate(image[None].cpu().float(), size)[0].expand(3, -1, -1) for image in images]
    return torch.cat([pad(image, (0, GAP), value=1.0) for image in row[:-1]] + row[-1:], dim=2)


def describe(scores: Scores) -> str:
    """``PSNR 26.51 dB, SSIM 0.784, LPIPS 0.264``, with n/a for what could not be computed."""
    parts = [(*UNITS[name], value) for name, value in scores.items()]
    return ", ".join(
        f"{name} {'n/a' if value is None else f'{value:{digits}}{unit}'}" for name, digits, unit, value in parts
    )
