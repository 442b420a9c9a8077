"""Incomplete measurements in an orthonormal transform domain: magnetic resonance imaging, compressed sensing."""

from __future__ import annotations

import torch
from scipy.linalg import hadamard
from torch import Tensor
from torch.fft import fft2, ifft2, irfft2, rfft2

from operators.base import Gain, LinearOperator, damped_inverse
from operators.checks import image_shape
from operators.mask import check_mask
from operators.noise import per_image


def mean_of_opposites(values: Tensor) -> Tensor:
    """The mean at k and -k: values on the grid of `fft2` `[..., H, W]` -> on that of `rfft2` `[..., H, W // 2 + 1]`."""
    opposite = values.flip(-2, -1).roll((1, 1), (-2, -1))
    return ((values + opposite) / 2)[..., : values.shape[-1] // 2 + 1]


class MaskedFourier(LinearOperator):
    """Some coefficients of the orthonormal two-dimensional DFT of each channel, real parts first: `[B, 2C, H, W]`.

    `mask` is as in `Mask`, on the frequency grid of `torch.fft.fft2` (frequency zero at the corner); coefficients
    that are not observed are 0 in `y`. For a real image, k and -k carry the same information: A^T A is the circular
    convolution whose spectrum is (m(k) + m(-k)) / 2, and the prox is exact.

    Raises ValueError for a mask as `Mask` does.
    """

    def __init__(self, in_shape: tuple[int, int, int], mask: Tensor):
        channels, height, width = image_shape(in_shape)
        binary = check_mask(mask, in_shape)
        super().__init__(in_shape, (2 * channels, height, width), len(binary), ("mask", "power"))
        self.register_buffer("mask", binary, persistent=False)
        self.register_buffer("power", mean_of_opposites(binary), persistent=False)
        self.to(mask.device)

    def forward(self, x: Tensor) -> Tensor:
        coefficients = self.mask * fft2(x, norm="ortho")
        return torch.cat([coefficients.real, coefficients.imag], 1)

    def adjoint(self, y: Tensor) -> Tensor:
        real, imaginary = self.observed(y).chunk(2, 1)
        return ifft2(torch.complex(real, imaginary), norm="ortho").real

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        gradient = rfft2(self.adjoint(y - self.forward(v)))
        return v + irfft2(gradient * damped_inverse(self.power, per_image("lam", lam, v)), s=self.in_shape[1:])

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        return irfft2(gain(self.power) * rfft2(x), s=self.in_shape[1:])

    def observed(self, y: Tensor) -> Tensor:
        return torch.cat([torch.where(self.mask > 0, part, 0) for part in y.chunk(2, 1)], 1)


class MaskedHadamard(LinearOperator):
    """Some coefficients of the orthonormal two-dimensional Walsh-Hadamard transform of each channel, 0 elsewhere.

    `mask` is as in `Mask`, in the natural (Sylvester) order of `scipy.linalg.hadamard`. Raises ValueError
    for a mask as `Mask` does, and unless both sizes are powers of 2.
    """

    row_power = 1.0

    def __init__(self, in_shape: tuple[int, int, int], mask: Tensor):
        binary = check_mask(mask, in_shape)
        super().__init__(in_shape, in_shape, len(binary), ("mask",))
        self.register_buffer("mask", binary, persistent=False)
        for name, size in zip(("vertical", "horizontal"), in_shape[1:], strict=True):
            if size & (size - 1):
                raise ValueError(f"image is {in_shape[1]}x{in_shape[2]} but a Hadamard transform needs powers of 2")
            self.register_exact(name, torch.from_numpy(hadamard(size, dtype=float))[None] / size**0.5)
        self.to(mask.device)

    def forward(self, x: Tensor) -> Tensor:
        return self.mask * self._transform(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._transform(self.observed(y))

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        return v + self._transform(self.observed(y - self._transform(v)) / (1 + per_image("lam", lam, v)))

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        return self._transform(gain(self.mask) * self._transform(x))

    def observed(self, y: Tensor) -> Tensor:
        return torch.where(self.mask > 0, y, 0)

    def _transform(self, x: Tensor) -> Tensor:
        return self.vertical @ x @ self.horizontal  # symmetric and orthonormal: its own inverse
