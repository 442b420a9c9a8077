"""Magnetic resonance imaging: some Fourier coefficients of an image as several receiver coils see it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import fft2, ifft2, irfft2, rfft2

from operators.base import LinearOperator, damped_inverse
from operators.cg import Map
from operators.checks import image_shape, written
from operators.mask import check_mask
from operators.noise import per_image
from operators.transform import mean_of_opposites


class MultiCoilFourier(LinearOperator):
    """y_k = M F (s_k x) for each coil k, complex: F is the orthonormal two-dimensional DFT, M the observed frequencies.

    `maps` are the coils' sensitivities s_k, `[K, H, W]`, or `[B, K, H, W]` of their own for each image, real or
    complex; without them there is one coil with a sensitivity of 1. `mask` is as in `Mask`, on the frequency grid of
    `torch.fft.fft2` (frequency zero at the corner). Each channel of the image is measured by every coil, one channel
    after the other: y is `[B, C * K, H, W]`, complex, and 0 where nothing is observed. Noise of level sigma_y is that
    of the real and of the imaginary part each.

    The prox is closed for sensitivities that are constant over the image, else by conjugate gradients with the
    circulant preconditioner nearest to A^T A (T. Chan 1988): its spectrum is the diagonal of F A^T A F^H,
    ``q(l) = sum_k sum_l' m(l') |(F s_k)(l' - l)|² / (H W)``.

    Raises:
        ValueError: a mask as `Mask` does; maps of another size, or not finite.
    """

    complex_measurements = True

    def __init__(self, in_shape: tuple[int, int, int], mask: Tensor, maps: Tensor | None = None):
        channels, height, width = image_shape(in_shape)
        binary = check_mask(mask, in_shape)
        maps = torch.ones(1, height, width, device="cpu") if maps is None else maps.detach()
        if maps.ndim not in (3, 4) or tuple(maps.shape[-2:]) != (height, width):
            expected = f"[coils, {height}, {width}] or [B, coils, {height}, {width}]"
            raise ValueError(f"maps are {written(maps.shape)} but must be {expected}")
        maps = maps.to("cpu", torch.complex128).reshape(-1, *maps.shape[-3:])
        if not maps.abs().isfinite().all():
            raise ValueError("maps have values that are NaN or infinite")
        if len(binary) > 1 and len(maps) not in (1, len(binary)):
            raise ValueError(f"maps are for {len(maps)} images but the mask is for {len(binary)}")
        sizes = {"mask": len(binary), "maps": len(maps), "power": max(len(binary), len(maps))}
        own = [name for name, size in sizes.items() if size > 1]
        super().__init__(in_shape, (channels * maps.shape[1], height, width), sizes["power"], own)
        self.constant = bool((maps == maps[..., :1, :1]).all())
        self.register_buffer("mask", binary[:, :, None], persistent=False)  # [B|1, C|1, 1, H, W]
        self.register_exact("maps", torch.view_as_real(maps[:, None]))  # [B|1, 1, K, H, W, 2]
        self.register_exact("power", spectrum_of(binary.double(), maps, self.constant))
        self.to(mask.device)

    def forward(self, x: Tensor) -> Tensor:
        return (self.mask * fft2(self._maps() * x[:, :, None], norm="ortho")).flatten(1, 2)

    def adjoint(self, y: Tensor) -> Tensor:
        coils = self.observed(y).unflatten(1, (self.in_shape[0], -1))
        return (self._maps().conj() * ifft2(coils, norm="ortho")).sum(2).real

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        if not self.constant:
            return super().prox(v, y, lam)
        return v + self._filtered(self.adjoint(y - self.forward(v)), per_image("lam", lam, v))

    def preconditioner(self, lam: float | Tensor) -> Map:
        return lambda residual: self._filtered(residual, lam)

    def observed(self, y: Tensor) -> Tensor:
        coils = y.unflatten(1, (self.in_shape[0], -1))
        return torch.where(self.mask > 0, coils, 0).flatten(1, 2)

    def _filtered(self, x: Tensor, lam: float | Tensor) -> Tensor:
        """(Q + lam I)^-1 x, Q the circulant matrix nearest to A^T A."""
        return irfft2(rfft2(x) * damped_inverse(self.power, lam), s=self.in_shape[1:])

    def _maps(self) -> Tensor:
        return torch.view_as_complex(self.maps)


def spectrum_of(mask: Tensor, maps: Tensor, constant: bool) -> Tensor:
    """The mean response at l and -l to a wave of frequency l, `[B, C|1, H, W // 2 + 1]`; see `MultiCoilFourier`.

    Of maps that are constant it is 0, without rounding errors, at what is not observed.
    """
    if constant:
        power = mask * maps[..., :1, :1].abs().square().sum(1, keepdim=True)
    else:
        spread = fft2(maps, norm="forward").abs().square().sum(1, keepdim=True)
        power = ifft2(fft2(mask) * fft2(spread).conj()).real.clamp(min=0)
    return mean_of_opposites(power)
