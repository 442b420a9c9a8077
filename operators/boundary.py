"""What lies beyond the edges of an image.

zero       0 0 0 | a b c d | 0 0 0
replicate  a a a | a b c d | d d d
reflect    c b a | a b c d | d c b     (the edge pixel is repeated: SciPy's "reflect", NumPy's "symmetric")
circular   b c d | a b c d | a b c

Blurred images may also be `valid`: what lies beyond the edges is part of the image and unknown. Only pixels whose whole
neighbourhood lies inside are measured, so y is smaller than x by the size of the kernel minus 1 (see `margins`).
"""

from __future__ import annotations

import numpy as np

BOUNDARIES = ("reflect", "replicate", "zero", "circular")  # of images measured as large as they are
VALID = "valid"


def fold(index: np.ndarray, size: int, boundary: str) -> tuple[np.ndarray, np.ndarray]:
    """Where in 0..size-1 an index outside the image finds its value, and whether there is one (zero: no)."""
    inside = (index >= 0) & (index < size)
    if boundary == "circular":
        return index % size, np.ones_like(inside)
    if boundary == "reflect":
        period = index % (2 * size)
        return np.minimum(period, 2 * size - 1 - period), np.ones_like(inside)
    return index.clip(0, size - 1), np.ones_like(inside) if boundary == "replicate" else inside


def margins(taps: int) -> tuple[int, int]:
    """By how many pixels an image reaches beyond its valid measurement, before it and behind, for so many taps."""
    return taps - 1 - taps // 2, taps // 2
