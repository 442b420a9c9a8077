"""Motion blur: the trace of a shaking camera as a kernel."""

from __future__ import annotations

import math
import numbers

import numpy as np
import torch
from torch import Tensor

STEPS = 2000  # points of the trajectory: many for each pixel of any usual kernel


def motion_kernel(size: int, intensity: float, seed: int) -> Tensor:
    """Random motion-blur kernel `[size, size]` in float64, not negative, summing to 1.

    A point moves with constant speed; its direction drifts at random and jumps now and then, as a hand-held camera
    does (in the manner of Boracchi and Foi 2012). `intensity` in [0, 1] sets both: 0 is a straight stroke, 1 a knot.
    The path is 0.6 to 1 times `size` long, its centre of mass lies on the centre tap `size // 2` (so that the blur does
    not shift the image), and it is shrunk where it would leave the kernel. The same seed gives the same kernel on
    every platform, up to rounding. Raises ValueError for a size below 3 or an intensity out of range.
    """
    if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 3:
        raise ValueError(f"size of the motion kernel is {size} but must be an integer of at least 3")
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity is {intensity} but must be between 0 and 1")
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
