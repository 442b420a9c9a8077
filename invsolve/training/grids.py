"""Pictures of how a training stands, for a person to look at: one PNG a checkpoint, the same noise every time."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..images.files import grid, write_image
from ..priors.denoiser import Denoiser, GenerativeDenoiser, classes
from ..runtime.random_streams import NoiseStreams

LEVELS = (0.2, 0.5, 1.0, 2.0)
DRAWS = 3  # of each noisy picture
PICTURES = 4


@torch.no_grad()
def denoised(denoiser: Denoiser, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """A row a picture of ``images`` ``[B, C, H, W]``: itself, then noisy and denoised at each level."""
    columns = [images]
    for sigma in LEVELS:
        u = images + sigma * normals(images)
        columns += [u, denoiser(u, sigma, **classes(labels))]
    return grid([list(row) for row in zip(*columns, strict=True)])


@torch.no_grad()
def drawn(generator: GenerativeDenoiser, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Two rows a picture of ``images`` ``[B, C, H, W]``: itself, then noisy and drawn at the two middle levels."""
    rows = []
    for sigma in LEVELS[1:3]:
        u = images + sigma * normals(images)
        draws = [generator(u, sigma, normals(images, draw), labels) for draw in range(1, DRAWS + 1)]
        rows.append([list(row) for row in zip(images, u, *draws, strict=True)])
    return grid([row for pair in zip(*rows, strict=True) for row in pair])


def normals(images: Tensor, draw: int = 0) -> Tensor:
    return NoiseStreams(draw, range(len(images)), images.device)(images.shape[1:])


def write_grid(out: Path, step: int, pictures: Tensor) -> None:
    """Write a grid as ``out/samples/STEP.png``."""
    (out / "samples").mkdir(exist_ok=True)
    write_image(pictures.cpu(), out / "samples" / f"{step:07d}.png")
