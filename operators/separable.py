"""Products of a vertical and a horizontal one-dimensional map, solved exactly through two small SVDs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from operators.base import Gain, LinearOperator, damped_inverse
from operators.checks import image_shape
from operators.noise import per_image

LARGEST = 2**32  # bytes of an operator's maps: 4:3 images of 310 megapixels reduced by 4, or of 58 blurred
ELEMENT = 8 + 4  # bytes: every number is held in float64 and in float32


class SeparableOperator(LinearOperator):
    """A = A_v ⊗ A_h on every channel: y = A_v x A_h^T with `vertical` A_v `[h, H]` and `horizontal` A_h `[w, W]`.

    With A_v = U_v S_v V_v^T and A_h = U_h S_h V_h^T, the singular values of A are the products of those of the two
    maps, and in the coordinates (U_v, U_h) and (V_v, V_h) the prox divides by s_v² s_h² + lam: exact for any filter,
    size and boundary rule, at the price of six small matrix products. The matrices are dense and limited, see
    `check_maps`. Raises ValueError for maps that do not fit the image, or are too large.
    """

    def __init__(self, in_shape: tuple[int, int, int], vertical: np.ndarray, horizontal: np.ndarray):
        channels, height, width = image_shape(in_shape)
        vertical, horizontal = np.asarray(vertical, np.float64), np.asarray(horizontal, np.float64)
        for name, matrix, size in (("vertical", vertical, height), ("horizontal", horizontal, width)):
            if matrix.ndim != 2 or matrix.shape[1] != size:
                raise ValueError(f"{name} map has shape {matrix.shape} but must be [any, {size}] for this image")
        check_maps(vertical.shape, horizontal.shape)
        super().__init__(in_shape, (channels, len(vertical), len(horizontal)))
        self.register_exact("vertical", torch.from_numpy(vertical))
        self.register_exact("horizontal", torch.from_numpy(horizontal))
        u_v, s_v, vt_v = of_vertical = np.linalg.svd(vertical, full_matrices=False)
        u_h, s_h, vt_h = of_vertical if horizontal is vertical else np.linalg.svd(horizontal, full_matrices=False)
        for name, value in {"u_v": u_v, "vt_v": vt_v, "u_h": u_h, "vt_h": vt_h, "singular": np.outer(s_v, s_h)}.items():
            self.register_exact(name, torch.from_numpy(value))

    def forward(self, x: Tensor) -> Tensor:
        return self.vertical @ x @ self.horizontal.mT

    def adjoint(self, y: Tensor) -> Tensor:
        return self.vertical.mT @ y @ self.horizontal

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        residual = self.u_v.mT @ y @ self.u_h - self.singular * (self.vt_v @ v @ self.vt_h.mT)
        gain = self.singular * damped_inverse(self.singular.square()[None, None], per_image("lam", lam, v))
        return v + self.vt_v.mT @ (gain * residual) @ self.vt_h

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        power = self.singular.square()
        null = gain(torch.zeros_like(power[:1, :1]))
        seen = self.vt_v @ x @ self.vt_h.mT
        return null * x + self.vt_v.mT @ ((gain(power) - null) * seen) @ self.vt_h


def check_maps(vertical: tuple[int, int], horizontal: tuple[int, int]) -> None:
    """Refuse maps of shapes `[h, H]` and `[w, W]` that with their singular vectors would take more than 4 GiB.

    Raises ValueError. They grow with the square of the image's longer side, however few pixels it has; making them
    takes about twice as much for a while.
    """
    size = ELEMENT * sum(m * n + min(m, n) * (m + n) for m, n in (vertical, horizontal))
    if size > LARGEST:
        raise ValueError(
            f"the maps of a {vertical[1]}x{horizontal[1]} image would take {-(-size // 2**30)} GiB but may take "
            f"{LARGEST // 2**30}: crop the picture, or cut it into tiles"
        )
