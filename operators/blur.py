"""Gaussian blur, and the choice of the operator that blurs with a given kernel."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from operators.base import LinearOperator
from operators.boundary import BOUNDARIES, VALID, fold
from operators.checks import check_choice, image_shape
from operators.convolution import CircularConvolution, Convolution
from operators.kernels import gaussian_taps
from operators.separable import SeparableOperator, check_maps


class GaussianBlur(SeparableOperator):
    """Gaussian blur of standard deviation `std` pixels by `size` x `size` taps, with an exact prox at any boundary.

    `size` is `2 ceil(4 std) + 1` unless given, and may exceed the image; `boundary` is reflect, replicate, zero,
    circular or valid (see `operators.boundary`).

    Raises ValueError for what cannot be, and for images of so long a side that the dense maps would take more than
    4 GiB (`operators.separable.check_maps`).
    """

    def __init__(self, in_shape: tuple[int, int, int], std: float, size: int | None = None, boundary: str = "reflect"):
        _, height, width = image_shape(in_shape)
        check_maps((height, height), (width, width))
        taps = gaussian_taps(std, 2 * math.ceil(4 * std) + 1 if size is None else size).numpy()
        vertical = blur_matrix(height, taps, boundary)
        super().__init__(in_shape, vertical, vertical if width == height else blur_matrix(width, taps, boundary))


def blur_matrix(size: int, taps: np.ndarray, boundary: str) -> np.ndarray:
    """Convolution of a signal of `size` samples with `taps`, centred on tap `len(taps) // 2`, as a square matrix.

    With boundary `valid` its rows are those of the samples whose whole neighbourhood is in the signal. Raises
    ValueError where there is none.
    """
    if check_choice("boundary", boundary, (*BOUNDARIES, VALID)) == VALID:
        if len(taps) > size:
            raise ValueError(f"kernel has {len(taps)} taps but the image only {size} pixels a side")
        rows = np.arange(size - len(taps) + 1)[:, None]
        matrix = np.zeros((len(rows), size))
        matrix[rows, rows + np.arange(len(taps))[::-1]] = taps
        return matrix
    rows = np.arange(size)[:, None]
    columns, present = fold(rows - np.arange(len(taps)) + len(taps) // 2, size, boundary)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.broadcast_to(rows, columns.shape), columns), present * taps)
    return matrix


def blur(in_shape: tuple[int, int, int], kernel: Tensor, boundary: str = "circular") -> LinearOperator:
    """The operator that blurs by `kernel`: by FFT and exactly when circular, else with conjugate gradients."""
    if check_choice("boundary", boundary, (*BOUNDARIES, VALID)) == "circular":
        return CircularConvolution(in_shape, kernel)
    return Convolution(in_shape, kernel, boundary)
