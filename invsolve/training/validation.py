"""How a training stands, by held-out pictures: figures, and grids for a person to look at.

At every checkpoint the noise is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..data.training_set import HeldOut
from ..images.files import grid, write_image
from ..priors.denoiser import Denoiser, GenerativeDenoiser, classes
from ..runtime.random_streams import NoiseStreams

PSNR_SIGMAS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
SPREAD_SIGMAS = (0.1, 0.3, 1.0, 3.0)
SPREAD_SAMPLES = 8  # of each image
GRID_SIGMAS = (0.2, 0.5, 1.0, 2.0)
GRID_IMAGES = 4
GRID_SAMPLES = 3  # of each noisy image


def normals(images: Tensor, seed: int = 0) -> Tensor:
    return NoiseStreams(seed, range(len(images)), images.device)(images.shape[1:])


@torch.no_grad()
def denoising_psnr(denoiser: Denoiser, x: Tensor, sigma: float, noise: Tensor, labels: Tensor | None = None) -> float:
    """PSNR in dB of the posterior mean at one noise level, mean over the images ``x`` in [-1, 1]."""
    error = denoiser(x + sigma * noise, sigma, **classes(labels)).clamp(-1, 1) - x
    return (10 * torch.log10(4 / error.square().flatten(1).mean(1))).mean().item()


def validate(denoiser: Denoiser, held_out: HeldOut) -> dict[str, float]:
    """Denoising PSNR of the held-out images, if there are any, at each noise level."""
    x, labels = held_out.images, held_out.labels
    sigmas = PSNR_SIGMAS if len(x) else ()
    return {f"psnr_{s:g}": round(denoising_psnr(denoiser, x, s, normals(x), labels), 3) for s in sigmas}


def of_each_source(figures: Callable[[HeldOut], dict[str, float]], held_out: Sequence[HeldOut]) -> dict[str, float]:
    """The ``figures`` of the first source's held-out images, and those of others as ``SOURCE/figure``."""
    first, *others = held_out
    named = [(f"{other.name}/{name}", value) for other in others for name, value in figures(other).items()]
    return figures(first) | dict(named)


@torch.no_grad()
def estimate(generator: Denoiser, u: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
    """A generator's image for ``u`` without over-noising; called like a plain denoiser."""
    return generator(u, sigma, u, sigma, **classes(labels))


@torch.no_grad()
def spread_and_error(
    generator: GenerativeDenoiser,
    held_out: HeldOut,
    sigmas: Sequence[float] = SPREAD_SIGMAS,
    samples: int = SPREAD_SAMPLES,
) -> dict[str, float]:
    """How K samples of each held-out image stand to the truth at each noise level; nothing without images.

    ``spread``: root mean square deviation of the samples from their mean over that of the mean from the truth, times
    ``sqrt(1 + 1/K)``: 1 for true samples. ``error``: the latter. ``outside``: the share of pixels where the truth lies
    outside the samples' range, ``2/(K + 1)`` for true samples.
    """
    x, found = held_out.images, {}
    for sigma in sigmas if len(x) else ():
        u = x + sigma * normals(x)
        drawn = torch.stack([generator(u, sigma, normals(x, k), held_out.labels) for k in range(1, samples + 1)])
        spread, error = drawn.var(0).mean().sqrt().item(), (drawn.mean(0) - x).square().mean().sqrt().item()
        outside = (drawn.amin(0) > x) | (drawn.amax(0) < x)
        found[f"spread_{sigma:g}"] = round(math.sqrt(1 + 1 / samples) * spread / error, 4)
        found[f"error_{sigma:g}"] = round(error, 5)
        found[f"outside_{sigma:g}"] = round(outside.float().mean().item(), 4)
    return found


@torch.no_grad()
def denoised(denoiser: Denoiser, x: Tensor, labels: Tensor | None) -> Tensor:
    """A grid with a row an image of ``x`` ``[B, C, H, W]``: itself, then noisy and denoised at each noise level."""
    columns = [x]
    for sigma in GRID_SIGMAS:
        u = x + sigma * normals(x)
        columns += [u, denoiser(u, sigma, **classes(labels))]
    return grid([list(row) for row in zip(*columns, strict=True)])


@torch.no_grad()
def sampled(generator: GenerativeDenoiser, x: Tensor, labels: Tensor | None) -> Tensor:
    """A grid with two rows an image of ``x``: itself, then noisy and samples of it at the two middle noise levels."""
    rows = []
    for sigma in GRID_SIGMAS[1:3]:
        u = x + sigma * normals(x)
        samples = [generator(u, sigma, normals(x, seed), labels) for seed in range(1, GRID_SAMPLES + 1)]
        rows.append([list(row) for row in zip(x, u, *samples, strict=True)])
    return grid([row for pair in zip(*rows, strict=True) for row in pair])


def write_grid(out: Path, step: int, held_out: HeldOut, kind, model: Denoiser | GenerativeDenoiser) -> None:
    """Write the grid ``kind``, :func:`denoised` or :func:`sampled`, of the first held-out images, if there are any."""
    if len(held_out.images):
        (out / "samples").mkdir(exist_ok=True)
        first = held_out.first(GRID_IMAGES)
        picture = kind(model, first.images, first.labels)
        write_image(picture.cpu(), out / "samples" / f"{step:07d}.png")
