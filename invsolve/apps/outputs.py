"""What `invsolve run` writes for one picture: pictures and, of a simulation, its metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..images.encoding import write_picture
from ..images.files import STD_WHITE, write_atomically, write_image
from ..specs.options import RunOptions
from .observe import Observation

GAP = 8  # white pixels between the pictures of _comparison.png
UNITS = {"psnr": ("PSNR", ".2f", " dB"), "ssim": ("SSIM", ".3f", ""), "lpips": ("LPIPS", ".3f", "")}

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Result:
    """One restored picture; images are ``[C, H, W]`` in [-1, 1].

    ``truth`` is there for a simulation, ``samples`` ``[K, C, H, W]``, ``mean`` and ``std`` where samples were asked
    for; ``restored`` then is the first of them.
    """

    observed: Observation
    restored: Tensor
    y: Tensor
    truth: Tensor | None = None
    samples: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None


def write_result(result: Result, options: RunOptions, record: Mapping[str, Any]) -> dict[str, Path]:
    """Write the files of a picture (``Job.paths``), each atomically, and return where.

    ``record`` goes into _metrics.json.
    """
    count = None if result.samples is None else len(result.samples)
    paths = result.observed.job.paths(result.truth is not None, count)
    paths["restored"].parent.mkdir(parents=True, exist_ok=True)
    kept = result.observed.kept
    faithful, plain = {"restored": result.restored}, {}
    if result.samples is not None:
        sample_parts = [part for part in paths if part.startswith("sample")]
        faithful |= {"mean": result.mean, **dict(zip(sample_parts, result.samples, strict=True))}
        plain["std"] = result.std.mean(0, keepdim=True) / STD_WHITE * 2 - 1
    if result.truth is not None:
        plain["measurement"] = result.y
        plain["comparison"] = side_by_side([result.truth, result.y, result.restored])
    for part, picture in faithful.items():
        write_picture(picture, paths[part], kept, options.quality)
    for part, picture in plain.items():
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
