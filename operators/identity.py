"""Denoising: the measurement is the image itself."""

from __future__ import annotations

from torch import Tensor

from operators.base import Gain, LinearOperator
from operators.noise import per_image


class Identity(LinearOperator):
    """A = I."""

    pointwise = True
    row_power = 1.0

    def __init__(self, in_shape: tuple[int, int, int]):
        super().__init__(in_shape, in_shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()  # a caller may change the result in place

    def adjoint(self, y: Tensor) -> Tensor:
        return y.clone()

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        return v + (y - v) / (1 + per_image("lam", lam, v))

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        return gain(x.new_ones(1, 1)) * x
