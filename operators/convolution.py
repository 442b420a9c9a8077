"""Blur by any kernel: circular (exact prox by FFT), or with another rule at the boundary (conjugate gradients)."""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.fft import irfft2, rfft2

from operators.base import LinearOperator, damped_inverse
from operators.boundary import check_boundary, pad, pad_adjoint
from operators.cg import Map
from operators.kernels import check_kernel


class CircularConvolution(LinearOperator):
    """y[i] = sum_j k[j] x[i - j + c], indices modulo the image size, c = (h // 2, w // 2) the centre of the kernel.

    `kernel` is `[h, w]`, `[1|C, h, w]`, or `[B, 1|C, h, w]` for a kernel of its own for each image, of odd or even
    size, at most as large as the image. A convolution, not a correlation: a kernel with one bright tap below its
    centre moves the image down.
    """

    def __init__(self, in_shape: tuple[int, int, int], kernel: Tensor):
        kernel = check_kernel(kernel, in_shape)
        super().__init__(in_shape, in_shape, len(kernel) if len(kernel) > 1 else None, ("spectrum",))
        self.register_exact("spectrum", torch.view_as_real(centred_spectrum(kernel, in_shape[1:])))

    def forward(self, x: Tensor) -> Tensor:
        return self._real(rfft2(x) * self._complex())

    def adjoint(self, y: Tensor) -> Tensor:
        return self._real(rfft2(y) * self._complex().conj())

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        spectrum = self._complex()
        gain = spectrum.conj() * damped_inverse(self._power(), lam)
        return v + self._real(gain * (rfft2(y) - spectrum * rfft2(v)))

    def _complex(self) -> Tensor:
        return torch.view_as_complex(self.spectrum)

    def _power(self) -> Tensor:
        return self.spectrum.square().sum(-1)

    def _real(self, spectrum: Tensor) -> Tensor:
        return irfft2(spectrum, s=self.in_shape[1:])


class Convolution(LinearOperator):
    """Blur by `kernel` of an image that goes on beyond its edges as `boundary` says: reflect, replicate or zero.

    Same kernels and centre as `CircularConvolution`. y = A x pads and takes the valid part of the convolution (an FFT
    of the padded size); the prox runs conjugate gradients.
    """

    def __init__(self, in_shape: tuple[int, int, int], kernel: Tensor, boundary: str = "reflect"):
        kernel = check_kernel(kernel, in_shape)
        super().__init__(in_shape, in_shape, len(kernel) if len(kernel) > 1 else None, ("spectrum",))
        self.boundary = check_boundary(boundary, ("reflect", "replicate", "zero"))
        taps = kernel.shape[2:]
        self.margins = tuple((k - 1 - k // 2, k // 2) for k in taps)
        padded = [n + k - 1 for n, k in zip(in_shape[1:], taps, strict=True)]
        self.grid = tuple(next_fast_len(n, real=True) for n in padded)
        self.register_exact("spectrum", torch.view_as_real(rfft2(kernel, s=self.grid)))

    def forward(self, x: Tensor) -> Tensor:
        for dim, margins in zip((2, 3), self.margins, strict=True):
            x = pad(x, margins, dim, self.boundary)
        full = irfft2(rfft2(x, s=self.grid) * torch.view_as_complex(self.spectrum), s=self.grid)
        return full[self._valid()]

    def adjoint(self, y: Tensor) -> Tensor:
        full = y.new_zeros(*y.shape[:2], *self.grid)
        full[self._valid()] = y
        full = irfft2(rfft2(full) * torch.view_as_complex(self.spectrum).conj(), s=self.grid)
        for dim, margins in zip((2, 3), self.margins, strict=True):
            full = pad_adjoint(full.narrow(dim, 0, self.in_shape[dim - 1] + sum(margins)), margins, dim, self.boundary)
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

    def _valid(self) -> tuple:
        """Where the circular convolution on the padded grid does not wrap around."""
        return ..., *(
            slice(sum(margins), sum(margins) + size)
            for margins, size in zip(self.margins, self.in_shape[1:], strict=True)
        )


def centred_spectrum(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Half spectrum `[B, 1|C, H, W // 2 + 1]` of a kernel put on the image grid with its centre at pixel (0, 0)."""
    rows, columns = kernel.shape[2:]
    grid = kernel.new_zeros(*kernel.shape[:2], *size)
    grid[..., :rows, :columns] = kernel
    return rfft2(grid.roll((-(rows // 2), -(columns // 2)), (2, 3)))
