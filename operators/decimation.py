"""Super-resolution as blur and decimation, with the exact prox by the aliasing identity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import fft2, irfft2, rfft2

from operators.base import Gain, LinearOperator, damped_inverse, rounding_floor
from operators.checks import check_integer, image_shape
from operators.convolution import centred_spectrum
from operators.kernels import check_kernel
from operators.noise import per_image


class BlurDecimate(LinearOperator):
    """y = the circular convolution of x by `kernel`, every `factor`-th pixel of it, starting at pixel (0, 0).

    Kernels as in `CircularConvolution`, one or one for each image. `factor` must divide both image sizes.

    Decimation folds the spectrum, so A A^T is itself a circular convolution of the small image; its eigenvalues are
    the means of |K|² over the factor² frequencies that alias to one (Zhao et al. 2016, "Fast single image
    super-resolution using a new analytical solution for l2-l2 problems"). The increment of the prox is
    A^T (A A^T + lam I)^-1 (y - A v).

    Raises ValueError for a kernel as `CircularConvolution` does, and for a factor that cannot be.
    """

    def __init__(self, in_shape: tuple[int, int, int], kernel: Tensor, factor: int):
        channels, height, width = image_shape(in_shape)
        factor = check_integer("factor", factor)
        if height % factor or width % factor:
            raise ValueError(f"factor {factor} does not divide the image size {height}x{width}")
        taps = check_kernel(kernel, in_shape)
        small = (height // factor, width // factor)
        super().__init__(in_shape, (channels, *small), len(taps), ("spectrum", "folded_power"))
        self.factor = factor
        spectrum = centred_spectrum(taps, (height, width))
        power = fft2(irfft2(spectrum, s=(height, width))).abs().square()
        aliases = power.reshape(*power.shape[:2], factor, small[0], factor, small[1])
        self.register_exact("spectrum", torch.view_as_real(spectrum))
        self.register_exact("folded_power", aliases.mean((2, 4))[..., : small[1] // 2 + 1])
        self.to(kernel.device)

    def forward(self, x: Tensor) -> Tensor:
        blurred = irfft2(rfft2(x) * torch.view_as_complex(self.spectrum), s=self.in_shape[1:])
        return blurred[..., :: self.factor, :: self.factor]

    def adjoint(self, y: Tensor) -> Tensor:
        spread = y.new_zeros(len(y), *self.in_shape)
        spread[..., :: self.factor, :: self.factor] = y
        return irfft2(rfft2(spread) * torch.view_as_complex(self.spectrum).conj(), s=self.in_shape[1:])

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        gain = damped_inverse(self.folded_power, per_image("lam", lam, v))
        return v + self.adjoint(irfft2(rfft2(y - self.forward(v)) * gain, s=self.out_shape[1:]))

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        """`f(0) x + A^T g(A A^T) A x` with `g(p) = (f(p) - f(0)) / p`."""
        power, null = self.folded_power, gain(torch.zeros_like(self.folded_power[..., :1, :1]))
        known = power > rounding_floor(power)
        ratio = torch.where(known, (gain(power) - null) / torch.where(known, power, 1), 0)
        return null * x + self.adjoint(irfft2(ratio * rfft2(self.forward(x)), s=self.out_shape[1:]))
