"""Clipped highlights and shadows."""

from __future__ import annotations

import math

from torch import Tensor

from operators.checks import image_shape
from operators.noise import Noise
from operators.operator import Operator


class Clip(Operator):
    """y = clip(factor x, low, high): more contrast than the sensor, or the file, has room for.

    With the factor 2 on [-1, 1] it is the HDR measurement of DAPS (Zhang et al. 2025).

    Raises:
        ValueError: the factor is not positive, or low is not below high.
    """

    pointwise = True

    def __init__(self, in_shape: tuple[int, int, int], factor: float = 2.0, low: float = -1.0, high: float = 1.0):
        super().__init__(image_shape(in_shape), in_shape)
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"factor is {factor} but must be positive and finite")
        if not low < high:
            raise ValueError(f"low is {low} but must be below high, {high}")
        self.factor, self.low, self.high = float(factor), float(low), float(high)

    def forward(self, x: Tensor) -> Tensor:
        return (self.factor * x).clamp(self.low, self.high)

    def estimate(self, y: Tensor, noise: Noise) -> Tensor:
        return y.clamp(self.low, self.high) / self.factor
