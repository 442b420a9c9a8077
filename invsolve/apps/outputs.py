"""What `invsolve run` writes for one picture: PNGs and, of a simulation, its metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..images.files import STD_WHITE, write_atomically, write_image

GAP = 8  # white pixels between the pictures of _comparison.png

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


def check_writable(path: Path, existing: Path) -> None:
    """Refuse a file that could not be written: ``existing`` is its folder, or the nearest above it that is there.

    Raises:
        ValueError: its name is too long for the file system, or it is a directory.
    """
    try:
        os.lstat(existing / path.name)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None
    if path.is_dir():
        raise ValueError(f"{path} is a directory and would be overwritten: choose another --output")


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
    units = {"psnr": ("PSNR", "{:.2f} dB"), "ssim": ("SSIM", "{:.3f}"), "lpips": ("LPIPS", "{:.3f}")}
    return ", ".join(
        f"{units[name][0]} {'n/a' if value is None else units[name][1].format(value)}" for name, value in scores.items()
    )
