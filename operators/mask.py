"""Inpainting: some pixels are observed, the others are not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from operators.base import Gain, LinearOperator
from operators.checks import check_number, check_pixels, image_shape
from operators.noise import per_image


class Mask(LinearOperator):
    """y = m x, with m = 1 on the observed pixels and 0 on the missing ones.

    `mask` is `[H, W]`, `[1|C, H, W]`, or `[B, 1|C, H, W]` for a mask of its own for each image; boolean, or a number
    type with no other values than 0 and 1. The operator is on its device. Raises ValueError for another size or other
    values.

    Missing pixels of `y` are ignored, whatever they hold, NaN too; `measure` leaves them at 0, without noise.
    """

    pointwise = True
    row_power = 1.0

    def __init__(self, in_shape: tuple[int, int, int], mask: Tensor):
        binary = check_mask(mask, in_shape)
        super().__init__(in_shape, in_shape, len(binary), ("mask",))
        self.register_buffer("mask", binary, persistent=False)
        self.to(mask.device)

    def forward(self, x: Tensor) -> Tensor:
        return self.observed(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.observed(y)

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        return v + self.observed(y - v) / (1 + per_image("lam", lam, v))

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        return gain(self.mask) * x

    def observed(self, y: Tensor) -> Tensor:
        return torch.where(self.mask > 0, y, 0)  # a product would keep NaN


def check_mask(mask: Tensor, in_shape: tuple[int, int, int]) -> Tensor:
    """A 0/1 mask `[H, W]`, `[1|C, H, W]` or `[B, 1|C, H, W]` as a float tensor `[B, 1|C, H, W]`, or ValueError."""
    mask = check_pixels("mask", mask, in_shape)
    _, height, width = image_shape(in_shape)
    if mask.shape[2:] != (height, width):
        raise ValueError(f"mask is {mask.shape[2]}x{mask.shape[3]} but the image is {height}x{width}")
    if not torch.logical_or(mask == 0, mask == 1).all():
        raise ValueError("mask has values other than 0 (missing) and 1 (observed)")
    return mask.to(torch.get_default_dtype())


def box_mask(size: tuple[int, int], box: tuple[int, int] = (128, 128), corner: tuple[int, int] | None = None) -> Tensor:
    """Mask `[1, H, W]` with a missing rectangle of `box` pixels, its first pixel at `corner` (default: centred).

    Raises ValueError for a box that is empty or not inside the image.
    """
    (height, width), (rows, columns) = size, box
    top, left = ((height - rows) // 2, (width - columns) // 2) if corner is None else corner
    if min(rows, columns) < 1 or min(top, left) < 0 or top + rows > height or left + columns > width:
        raise ValueError(f"a box of {rows}x{columns} at ({top}, {left}) is not inside the image of {height}x{width}")
    mask = torch.ones(1, height, width, device="cpu")
    mask[:, top : top + rows, left : left + columns] = 0
    return mask


def random_mask(size: tuple[int, int], fraction: float, seed: int) -> Tensor:
    """Mask `[1, H, W]` with exactly `round(fraction H W)` missing pixels at random places, the same in all channels.

    Raises ValueError for a fraction that is not between 0 and 1.
    """
    check_number("fraction of missing pixels", fraction, most=1)
    pixels = size[0] * size[1]
    order = np.argsort(np.random.default_rng(seed).random(pixels), kind="stable")
    mask = torch.ones(pixels, device="cpu")
    mask[torch.from_numpy(order[: round(fraction * pixels)])] = 0
    return mask.reshape(1, *size)
