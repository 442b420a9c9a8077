"""Super-resolution: reduce by an integer factor with an antialiasing filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from operators.boundary import fold
from operators.checks import check_choice, check_integer, image_shape
from operators.separable import SeparableOperator, check_maps


class Resize(SeparableOperator):
    """Reduction of both dimensions by an integer `factor`, output size `ceil(H / factor)` by `ceil(W / factor)`.

    `filter` is `cubic`, `lanczos3` or `area`, stretched by the factor (antialiasing). Output pixel i is centred at
    `(i + 1/2) factor - 1/2`; beyond the edges the image is reflected (edge pixel repeated), and the weights of every
    output pixel sum to 1. Where the factor does not divide the size, the last output pixel reaches over the edge.

    `cubic` is the Keys filter with a = -0.5: the measurement is that of MATLAB's `imresize` with antialiasing, edges
    included. Pillow's BICUBIC and torch's antialiased bicubic have the same weights but cut and renormalise them at
    the edges instead of reflecting, so they agree in the interior alone. (torch's bicubic *without* antialiasing and
    OpenCV's use a = -0.75 and do not stretch the filter.)

    Raises ValueError for a factor or a filter that cannot be, and for images of so long a side that the dense maps
    would take more than 4 GiB (`operators.separable.check_maps`).
    """

    def __init__(self, in_shape: tuple[int, int, int], factor: int, filter: str = "cubic"):
        _, height, width = image_shape(in_shape)
        check_maps(*((_reduced(size, factor), size) for size in (height, width)))
        vertical = resize_matrix(height, factor, filter)
        horizontal = vertical if width == height else resize_matrix(width, factor, filter)
        super().__init__(in_shape, vertical, horizontal)
        self.factor = int(factor)


def resize_matrix(size: int, factor: int, filter: str = "cubic") -> np.ndarray:
    """The reduction of a signal of `size` samples as a matrix `[ceil(size / factor), size]`; see `Resize`."""
    rows = _reduced(size, factor)
    kernel, radius = FILTERS[check_choice("filter", filter, FILTERS)]
    reach = int(np.ceil(radius * factor))
    matrix = np.zeros((rows, size))
    for row in range(rows):
        centre = (row + 0.5) * factor - 0.5
        index = np.arange(int(centre) - reach, int(centre) + reach + 2)
        weights = kernel((index - centre) / factor)
        np.add.at(matrix[row], fold(index, size, "reflect")[0], weights / weights.sum())
    return matrix


def _reduced(size: int, factor: int) -> int:
    return -(-size // check_integer("factor", factor, 1, size))


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys 1981, equation 15 (a = -1/2)."""
    t = np.abs(t)
    return np.where(t <= 1, (1.5 * t - 2.5) * t**2 + 1, np.where(t < 2, ((-0.5 * t + 2.5) * t - 4) * t + 2, 0.0))


FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {  # name -> filter, radius of its support
    "cubic": (_cubic, 2.0),
    "lanczos3": (lambda t: np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0.0), 3.0),
    "area": (lambda t: (np.abs(t) < 0.5).astype(np.float64), 0.5),
}
