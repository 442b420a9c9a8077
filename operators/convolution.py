"""Blur by any kernel: circular (exact prox by FFT), or with another rule at the boundary (conjugate gradients)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.fft import irfft2, rfft2

from operators.base import Gain, LinearOperator, damped_inverse
from operators.boundary import VALID, fold, margins
from operators.cg import Map
from operators.checks import check_choice
from operators.kernels import check_kernel
from operators.noise import per_image


class CircularConvolution(LinearOperator):
    """y[i] = sum_j k[j] x[i - j + c], indices modulo the image size, c = (h // 2, w // 2) the centre of the kernel.

    `kernel` is `[h, w]`, `[1|C, h, w]`, or `[B, 1|C, h, w]` for a kernel of its own for each image, of odd or even
    size, at most as large as the image. A convolution, not a correlation: a kernel with one bright tap below its
    centre moves the image down. The operator is on the kernel's device.
    """

    def __init__(self, in_shape: tuple[int, int, int], kernel: Tensor):
        taps = check_kernel(kernel, in_shape)
        super().__init__(in_shape, in_shape, len(taps), ("spectrum",))
        self.register_exact("spectrum", torch.view_as_real(centred_spectrum(taps, in_shape[1:])))
        self.to(kernel.device)

    def forward(self, x: Tensor) -> Tensor:
        return self._real(rfft2(x) * self._complex())

    def adjoint(self, y: Tensor) -> Tensor:
        return self._real(rfft2(y) * self._complex().conj())

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        spectrum = self._complex()
        gain = spectrum.conj() * damped_inverse(self._power(), per_image("lam", lam, v))
        return v + self._real(gain * (rfft2(y) - spectrum * rfft2(v)))

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        return self._real(gain(self._power()) * rfft2(x))

    def _power(self) -> Tensor:
        return self.spectrum.square().sum(-1)

    def _complex(self) -> Tensor:
        return torch.view_as_complex(self.spectrum)

    def _real(self, spectrum: Tensor) -> Tensor:
        return irfft2(spectrum, s=self.in_shape[1:])


class Convolution(LinearOperator):
    """Blur by `kernel` of an image that goes on beyond its edges as `boundary` says: reflect, replicate or zero.

    Same kernels, centre and device as `CircularConvolution`. y = A x pads and takes the valid part of the convolution
    (an FFT of the padded size); the prox runs conjugate gradients. With boundary `valid` nothing is padded, and y is
    smaller than x: `[C, H - h + 1, W - w + 1]` for a kernel of `h` x `w` (see `operators.boundary.margins`).
    """

    def __init__(self, in_shape: tuple[int, int, int], kernel: Tensor, boundary: str = "reflect"):
        taps = check_kernel(kernel, in_shape)
        check_choice("boundary", boundary, ("reflect", "replicate", "zero", VALID))
        kept = [n - k + 1 if boundary == VALID else n for n, k in zip(in_shape[1:], taps.shape[2:], strict=True)]
        super().__init__(in_shape, (in_shape[0], *kept), len(taps), ("spectrum",))
        self.grid, valid = (), []
        for name, size, k in zip(("rows", "columns"), self.in_shape[1:], taps.shape[2:], strict=True):
            before, after = margins(k) if boundary in ("reflect", "replicate") else (0, 0)
            source = fold(np.arange(-before, size + after), size, boundary)[0]
            self.register_buffer(name, torch.from_numpy(source), persistent=False)  # where padded pixels come from
            self.grid += (next_fast_len(size + k - 1, real=True),)
            first = k - 1 if boundary == VALID else before + k // 2
            valid.append(slice(first, first + (size - k + 1 if boundary == VALID else size)))
        self._valid = ..., *valid  # where the circular convolution on the padded grid does not wrap around
        self.register_exact("spectrum", torch.view_as_real(rfft2(taps, s=self.grid)))
        self.to(kernel.device)

    def forward(self, x: Tensor) -> Tensor:
        padded = x.index_select(2, self.rows).index_select(3, self.columns)
        spectrum = rfft2(padded, s=self.grid) * torch.view_as_complex(self.spectrum)
        return irfft2(spectrum, s=self.grid)[self._valid]

    def adjoint(self, y: Tensor) -> Tensor:
        full = y.new_zeros(*y.shape[:2], *self.grid)
        full[self._valid] = y
        full = irfft2(rfft2(full) * torch.view_as_complex(self.spectrum).conj(), s=self.grid)
        for dim, source in ((2, self.rows), (3, self.columns)):
            folded = full.new_zeros(*full.shape[:dim], self.in_shape[dim - 1], *full.shape[dim + 1 :])
            full = folded.index_add(dim, source, full.narrow(dim, 0, len(source)))
        return full

    def preconditioner(self, lam: float | Tensor) -> Map:
        """The inverse filter on the padded grid, damped by 1 % of the largest power or more.

        It divides the iterations by 2 to 4. What lies beyond the edges hides the weak frequencies, and undamped their
        inverses would cost more iterations than they save.
        """
        power = self.spectrum.square().sum(-1)
        least = 0.01 * power.amax((-3, -2, -1), keepdim=True)
        gain = 1 / (power + least.clamp(min=lam))
        height, width = self.in_shape[1:]
        return lambda residual: irfft2(rfft2(residual, s=self.grid) * gain, s=self.grid)[..., :height, :width]


def centred_spectrum(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Half spectrum `[B, 1|C, H, W // 2 + 1]` of a kernel put on the image grid with its centre at pixel (0, 0)."""
    rows, columns = kernel.shape[2:]
    grid = kernel.new_zeros(*kernel.shape[:2], *size)
    grid[..., :rows, :columns] = kernel
    return rfft2(grid.roll((-(rows // 2), -(columns // 2)), (2, 3)))
