"""Blur kernels: Gaussian, and motion. The centre of a kernel of K taps is tap K // 2, odd or even."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from operators.checks import check_integer, check_number, check_pixels, image_shape

STEPS = 2000  # points of the trajectory of a motion: many for each pixel of any usual kernel


def check_kernel(kernel: Tensor, in_shape: tuple[int, int, int]) -> Tensor:
    """A kernel `[h, w]`, `[1|C, h, w]` or `[B, 1|C, h, w]` as a float64 tensor `[B, 1|C, h, w]`, or ValueError."""
    kernel = check_pixels("kernel", kernel, in_shape)
    (_, height, width), (rows, columns) = image_shape(in_shape), kernel.shape[2:]
    if rows > height or columns > width:
        raise ValueError(f"kernel is {rows}x{columns} but the image is only {height}x{width}")
    if not kernel.isfinite().all():
        raise ValueError("kernel has values that are not finite")
    if (kernel == 0).flatten(1).all(1).any():
        raise ValueError("kernel is zero everywhere")
    return kernel


def without_zero_border(kernel: Tensor) -> Tensor:
    """A kernel `[h, w]` without the rows and columns of zeros that its rim has on both sides: its centre stays."""
    for dim in (0, 1):
        used = (kernel != 0).any(1 - dim).nonzero()[:, 0]
        size = kernel.shape[dim]
        rim = min(int(used[0]), size - 1 - int(used[-1])) if len(used) else 0
        kernel = kernel.narrow(dim, rim, size - 2 * rim)
    return kernel


def gaussian_taps(std: float, size: int) -> Tensor:
    """Sampled Gaussian `[size]` in float64, centred on tap `size // 2`, summing to 1. `std` is in pixels."""
    check_number("std of the blur", std, positive=True)
    check_integer("size of the blur kernel", size)
    offset = torch.arange(size, dtype=torch.float64, device="cpu") - size // 2
    taps = torch.exp(-0.5 * (offset / std) ** 2)
    return taps / taps.sum()


def gaussian_kernel(size: int, std: float) -> Tensor:
    """Gaussian kernel `[size, size]` in float64, summing to 1. Raises ValueError unless both are positive."""
    taps = gaussian_taps(std, size)
    return torch.outer(taps, taps)


def motion_kernel(size: int, intensity: float, seed: int) -> Tensor:
    """Random motion-blur kernel `[size, size]` in float64, not negative, summing to 1: the trace of a shaking camera.

    A point moves with constant speed; its direction drifts at random and jumps now and then, as a hand-held camera
    does (in the manner of Boracchi and Foi 2012). `intensity` in [0, 1] sets both: 0 is a straight stroke, 1 a knot.
    The path is 0.6 to 1 times `size` long, its centre of mass lies on the centre tap `size // 2` (so that the blur does
    not shift the image), and it is shrunk where it would leave the kernel. The same seed gives the same kernel on
    every platform, up to rounding. Raises ValueError for a size below 3 or an intensity out of range.
    """
    check_integer("size of the motion kernel", size, 3)
    check_number("intensity", intensity, most=1)
    rng = np.random.default_rng(seed)
    path = _trajectory(intensity, rng) * size * rng.uniform(0.6, 1.0)
    path -= path.mean(0)
    centre = size // 2
    room = size - 1 - centre - 1e-6  # taps on the shorter side of the centre
    path *= min(1.0, room / np.abs(path).max())
    return torch.from_numpy(_rasterise(path + centre, size))


def _trajectory(intensity: float, rng: np.random.Generator) -> np.ndarray:
    """A path of length 1 as points `[STEPS, 2]` at equal times."""
    drift = rng.standard_normal(STEPS) * 2 * math.pi * intensity / math.sqrt(STEPS)
    jumps = (rng.random(STEPS) < 4 * intensity / STEPS) * rng.uniform(-math.pi, math.pi, STEPS)
    direction = rng.uniform(0, 2 * math.pi) + np.cumsum(drift + jumps)
    return np.cumsum(np.stack([np.sin(direction), np.cos(direction)], 1), 0) / STEPS


def _rasterise(points: np.ndarray, size: int) -> np.ndarray:
    """Spread each point over its four nearest taps (bilinear weights, which keep the centre of mass)."""
    kernel = np.zeros((size, size))
    corner = np.floor(points).astype(np.int64).clip(0, size - 2)
    part = points - corner
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - part[:, 0]) * np.abs(1 - column - part[:, 1])
            np.add.at(kernel, (corner[:, 0] + row, corner[:, 1] + column), weight)
    return kernel / kernel.sum()
