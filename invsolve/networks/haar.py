"""The orthonormal 2x2 Haar transform, which halves an image's sides and keeps white noise white."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def haar(x: Tensor) -> Tensor:
    """Orthonormal 2x2 Haar transform: ``[B, C, H, W]`` to ``[B, 4 C, H/2, W/2]``. White noise stays white."""
    blocks = F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4))
    a, b, c, d = blocks.unbind(2)
    bands = torch.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=2)
    return bands.flatten(1, 2) / 2


def inverse_haar(x: Tensor) -> Tensor:
    """Inverse (and transpose) of :func:`haar`; the 4x4 matrix is symmetric and its own inverse."""
    a, b, c, d = x.unflatten(1, (-1, 4)).unbind(2)
    pixels = torch.stack([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=2)
    return F.pixel_shuffle(pixels.flatten(1, 2) / 2, 2)
