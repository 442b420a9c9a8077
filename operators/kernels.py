"""Blur kernels: their checks, and the Gaussian. The centre of a kernel of K taps is tap K // 2, odd or even."""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

from operators.shapes import image_shape


def check_kernel(kernel: Tensor, in_shape: tuple[int, int, int]) -> Tensor:
    """A kernel `[h, w]`, `[1|C, h, w]` or `[B, 1|C, h, w]` as a float64 tensor of four dimensions, or ValueError."""
    channels, height, width = image_shape(in_shape)
    if not isinstance(kernel, Tensor) or kernel.ndim not in (2, 3, 4):
        found = f"a tensor of {kernel.ndim} dimensions" if isinstance(kernel, Tensor) else f"a {type(kernel).__name__}"
        raise ValueError(f"kernel is {found} but must be a tensor [h, w], [1|C, h, w] or [B, 1|C, h, w]")
    kernel = kernel.detach().to("cpu", torch.float64).reshape((1,) * (4 - kernel.ndim) + tuple(kernel.shape))
    _, kernel_channels, rows, columns = kernel.shape
    if rows > height or columns > width:
        raise ValueError(f"kernel is {rows}x{columns} but the image is only {height}x{width}")
    if kernel_channels not in (1, channels):
        raise ValueError(f"kernel has {kernel_channels} channels but the image has {channels}")
    if not kernel.isfinite().all():
        raise ValueError("kernel has values that are not finite")
    if (kernel == 0).flatten(1).all(1).any():
        raise ValueError("kernel is zero everywhere")
    return kernel


def gaussian_taps(std: float, size: int) -> Tensor:
    """Sampled Gaussian `[size]` in float64, centred on tap `size // 2`, summing to 1. `std` is in pixels."""
    if not 0 < std < math.inf:
        raise ValueError(f"std of the blur is {std} but must be positive")
    if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
        raise ValueError(f"size of the blur kernel is {size} but must be a positive integer")
    offset = torch.arange(size, dtype=torch.float64, device="cpu") - size // 2
    taps = torch.exp(-0.5 * (offset / std) ** 2)
    return taps / taps.sum()


def gaussian_kernel(size: int, std: float) -> Tensor:
    """Gaussian kernel `[size, size]` in float64, summing to 1. Raises ValueError unless both are positive."""
    taps = gaussian_taps(std, size)
    return torch.outer(taps, taps)
