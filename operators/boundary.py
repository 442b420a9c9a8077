"""What lies beyond the edge of an image: one rule for an index, and padding with its exact adjoint.

zero       0 0 0 | a b c d | 0 0 0
replicate  a a a | a b c d | d d d
reflect    c b a | a b c d | d c b     (the edge pixel is repeated: SciPy's "reflect", NumPy's "symmetric")
circular   b c d | a b c d | a b c
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BOUNDARIES = ("reflect", "replicate", "zero", "circular")


def check_boundary(boundary: str, allowed: tuple[str, ...] = BOUNDARIES) -> str:
    if boundary not in allowed:
        raise ValueError(f"boundary is {boundary!r} but must be one of {', '.join(allowed)}")
    return boundary


def fold(index: np.ndarray, size: int, boundary: str) -> tuple[np.ndarray, np.ndarray]:
    """Where in 0..size-1 an index outside the image finds its value, and whether there is one (zero: no)."""
    inside = (index >= 0) & (index < size)
    if boundary == "circular":
        return index % size, np.ones_like(inside)
    if boundary == "reflect":
        period = index % (2 * size)
        return np.minimum(period, 2 * size - 1 - period), np.ones_like(inside)
    return index.clip(0, size - 1), np.ones_like(inside) if boundary == "replicate" else inside


def pad(x: Tensor, margins: tuple[int, int], dim: int, boundary: str) -> Tensor:
    """Extend `x` along `dim` by `margins` = (before, after), each at most the size of that dimension."""
    before, after = margins
    size = x.shape[dim]
    if boundary == "reflect":
        left, right = x.narrow(dim, 0, before).flip(dim), x.narrow(dim, size - after, after).flip(dim)
    else:
        shape = [-1] * x.ndim
        shape[dim] = before
        left = x.narrow(dim, 0, 1).expand(shape)
        shape[dim] = after
        right = x.narrow(dim, size - 1, 1).expand(shape)
        if boundary == "zero":
            left, right = torch.zeros_like(left), torch.zeros_like(right)
    return torch.cat([left, x, right], dim)


def pad_adjoint(z: Tensor, margins: tuple[int, int], dim: int, boundary: str) -> Tensor:
    """The adjoint of `pad`: what the margins hold is added to the pixels it was copied from."""
    before, after = margins
    size = z.shape[dim] - before - after
    left, x, right = z.split([before, size, after], dim)
    if boundary == "zero":
        return x
    x = x.clone()
    if boundary == "reflect":
        x.narrow(dim, 0, before).add_(left.flip(dim))
        x.narrow(dim, size - after, after).add_(right.flip(dim))
    else:
        x.narrow(dim, 0, 1).add_(left.sum(dim, keepdim=True))
        x.narrow(dim, size - 1, 1).add_(right.sum(dim, keepdim=True))
    return x
