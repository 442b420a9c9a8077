"""Colourisation: one brightness is left of the colour channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from operators.base import Gain, LinearOperator
from operators.checks import image_shape
from operators.noise import per_image

REC601 = (0.299, 0.587, 0.114)


class Grayscale(LinearOperator):
    """y = sum_c w_c x_c, one channel.

    `weights` is `mean` (1/C each, as in DDRM and DDNM), `rec601` (the luma of Pillow's convert("L"), for real grey
    photographs) or one number for each channel.

    Raises ValueError for another number of weights, and for weights that are not finite or all zero.
    """

    def __init__(self, in_shape: tuple[int, int, int], weights: str | Sequence[float] = "mean"):
        channels, height, width = image_shape(in_shape)
        if isinstance(weights, str):
            named = {"mean": (1 / channels,) * channels, "rec601": REC601}
            if weights not in named:
                raise ValueError(f"weights is {weights!r} but must be mean, rec601 or one number for each channel")
            weights = named[weights]
        if len(weights) != channels:
            raise ValueError(f"weights has {len(weights)} numbers but the image has {channels} channels")
        super().__init__(in_shape, (1, height, width))
        row = torch.tensor(weights, dtype=torch.float64, device="cpu").reshape(1, channels, 1, 1)
        if not (row.isfinite().all() and row.any()):
            raise ValueError(f"weights is {tuple(weights)} but must be finite and not all zero")
        self.register_exact("weights", row)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weights * x).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.weights * y

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        power = self.weights.square().sum()
        return v + self.weights * ((y - self.forward(v)) / (power + per_image("lam", lam, v)))

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        power = self.weights.square().sum().reshape(1, 1)
        null = gain(torch.zeros_like(power))
        seen = self.adjoint(self.forward(x)) / power  # the part of x along the weights
        return null * x + (gain(power) - null) * seen
