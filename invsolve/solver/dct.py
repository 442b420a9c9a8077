"""Filters between borders that reflect: functions diagonal in the two-dimensional cosine transform.

D, the orthonormal DCT-II of each channel, is the Fourier transform of the image continued by its mirror images. The DFT
has opposite borders meet, in an edge that is not in the picture; here each border meets its own mirror image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import scipy.fft
import torch
from torch import Tensor


def cosine_transform(x: Tensor) -> Tensor:
    """The orthonormal DCT-II of each channel, ``D x``, of images ``[..., H, W]``."""
    if _for_scipy(x):
        return torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho", workers=torch.get_num_threads()))
    height, width = x.shape[-2:]
    z = _packing(height, width, x.device, x.dtype).pack(x)
    after = z.imag[..., 1 : width - width // 2].flip(-1)
    coefficients = torch.cat([z.real, -after], dim=-1).mul_(2 / math.sqrt(height * width))
    coefficients[..., 0, :] *= math.sqrt(0.5)
    coefficients[..., 0] *= math.sqrt(0.5)
    return coefficients


def inverse_cosine_transform(c: Tensor) -> Tensor:
    """The images ``D^T c`` of coefficients ``[..., H, W]``: the inverse of :func:`cosine_transform`."""
    if _for_scipy(c):
        return torch.from_numpy(
            scipy.fft.idctn(c.numpy(), axes=(-2, -1), norm="ortho", workers=torch.get_num_threads())
        )
    height, width = c.shape[-2:]
    c = c * (math.sqrt(height * width) / 2)
    c[..., 0, :] *= math.sqrt(2)
    c[..., 0] *= math.sqrt(2)
    half = width // 2 + 1
    after = torch.cat([torch.zeros_like(c[..., :1]), c[..., width - half + 1 :].flip(-1)], dim=-1)
    return _packing(height, width, c.device, c.dtype).unpack(torch.complex(c[..., :half], -after))


def cosine_filter(gain: Tensor) -> Callable[[Tensor], Tensor]:
    """The map ``x -> D^T diag(gain) D x`` of images ``[..., H, W]``, on gain's device and in its dtype.

    ``gain [..., H, W]`` holds a factor for each frequency of :func:`dct_frequency`.
    """
    return lambda x: inverse_cosine_transform(gain * cosine_transform(x))


def _for_scipy(x: Tensor) -> bool:
    """Whether SciPy's transform, faster by half on a CPU, can take a tensor."""
    return x.device.type == "cpu" and not x.requires_grad


@lru_cache(maxsize=8)
def _packing(height: int, width: int, device: torch.device, dtype: torch.dtype) -> _Packing:
    """The tables of the sizes in use are made once."""
    return _Packing(height, width, device, dtype)


class _Packing:
    """Images of one size to their cosine transforms, up to scale, and back, each by one real DFT of that size.

    The DFT V is that of the image with its even rows and columns first and then its odd ones in reverse (Makhoul 1980).
    With ``a = exp(-iπk / 2H)`` and ``b = exp(-iπl / 2W)``, it and the coefficients C are related by

        C(k, l) - i C(k, W - l) = b (a V(k, l) + a* V(-k, l)) / 2 =: Z(k, l),
        V(k, l) = a* b* (Z(k, l) - i Z(H - k, l)),

    where coefficients beyond the last one are 0. Z, ``[..., H, W // 2 + 1]``, is the packed form.
    """

    def __init__(self, height: int, width: int, device: torch.device, dtype: torch.dtype) -> None:
        vertical = torch.arange(height, dtype=torch.float64, device="cpu")[:, None] / (2 * height)
        horizontal = torch.arange(width // 2 + 1, dtype=torch.float64, device="cpu") / (2 * width)
        self.direct, self.mirrored = (
            torch.polar(torch.ones_like(turns), -math.pi * turns).to(device, dtype.to_complex())
            for turns in (horizontal + vertical, horizontal - vertical)
        )  # a b and a* b
        self.mirror = -torch.arange(height, device=device) % height  # the rows -k
        self.width = width

    def pack(self, x: Tensor) -> Tensor:
        v = torch.fft.rfft2(_odd_ones_last(x))
        return v.index_select(-2, self.mirror).mul_(self.mirrored).addcmul_(self.direct, v).mul_(0.5)

    def unpack(self, z: Tensor) -> Tensor:
        beyond = z.index_select(-2, self.mirror)
        beyond[..., 0, :] = 0  # Z(H, l)
        v = beyond.mul_(-1j).add_(z).mul_(self.direct.conj())
        return _as_they_were(torch.fft.irfft2(v, s=(z.shape[-2], self.width)))


def _odd_ones_last(x: Tensor) -> Tensor:
    """Along both axes the elements 0, 2, 4, ..., 5, 3, 1."""
    rows = torch.cat([x[..., ::2, :], x[..., 1::2, :].flip(-2)], dim=-2)
    return torch.cat([rows[..., ::2], rows[..., 1::2].flip(-1)], dim=-1)


def _as_they_were(v: Tensor) -> Tensor:
    """The inverse of ``_odd_ones_last``."""
    height, width = v.shape[-2:]
    rows, x = torch.empty_like(v), torch.empty_like(v)
    rows[..., ::2], rows[..., 1::2] = v[..., : (width + 1) // 2], v[..., (width + 1) // 2 :].flip(-1)
    x[..., ::2, :], x[..., 1::2, :] = rows[..., : (height + 1) // 2, :], rows[..., (height + 1) // 2 :, :].flip(-2)
    return x
