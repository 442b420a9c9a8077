"""Masks and blur kernels from files: pictures or NumPy arrays."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch

from .files import read_image

GRAY_SHARE = 0.1  # of a mask's pixels that may be neither black nor white (edges, JPEG); with more it is a photograph
DAMAGE = (OSError, ValueError, EOFError, TypeError, SyntaxError, TokenError, MemoryError)  # in NumPy, on a bad header


def read_mask(path: Path) -> torch.Tensor:
    """A mask file as ``[H, W]`` of 1 (white: observed) and 0 (black: missing).

    White is 1 in an array, or 255 where that is its largest value and all are whole numbers.

    Raises:
        ValueError: unreadable, not black and white, or black all over.
    """
    values = torch.from_numpy(read_values(path))
    low, high = values.min().item(), values.max().item()
    if high == 255 and low >= 0 and torch.equal(values, values.round()):
        values = values / 255
    elif low < 0 or high > 1:
        wanted = "values must lie in 0..1, or be whole numbers up to 255"
        raise ValueError(f"mask {path}: {wanted}; found {low:g}..{high:g}")
    gray = ((values > 0.1) & (values < 0.9)).float().mean().item()
    if gray > GRAY_SHARE:
        raise ValueError(f"mask {path}: expected black (missing) and white (observed) pixels; {gray:.0%} are neither")
    mask = (values >= 0.5).float()
    if not mask.any():
        raise ValueError(f"mask {path}: no pixel is white (observed)")
    return mask


def read_kernel(path: Path) -> torch.Tensor:
    """A blur kernel file as ``[h, w]`` float64, scaled to sum to 1. Raises ValueError where its sum is not positive."""
    kernel = torch.from_numpy(read_values(path)).double()
    if not kernel.sum() > 0:
        raise ValueError(f"kernel {path}: its sum is {kernel.sum().item():g} but must be positive")
    return kernel / kernel.sum()


def read_values(path: str | Path) -> np.ndarray:
    """Read a mask or a kernel: a picture (as gray, black 0 and white 1) or a 2-D ``.npy`` array; float32 ``[H, W]``.

    What is transparent in a picture is black: missing in a mask, zero in a kernel.

    Raises:
        ValueError: the file is missing or unreadable, or no 2-D array of real numbers that are finite as float32.
    """
    path = Path(path)
    if path.suffix.lower() != ".npy":
        return ((read_image(path, channels=1, background="black", keep_profile=True)[0] + 1) / 2).numpy()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(f"{path}: cannot be read as a NumPy array ({error})") from None
    if values.ndim != 2 or values.dtype.kind not in "biuf" or 0 in values.shape:
        raise ValueError(f"{path}: expected a 2-D array of real numbers, found {values.dtype} of shape {values.shape}")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: expected finite real numbers, below {np.finfo(np.float32).max:.2g}")
    return values
