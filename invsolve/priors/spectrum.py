"""Radial power spectra of pictures: second-order statistics of a prior, for the Wiener estimate.

The prior's second moments are those of a Gaussian that is stationary between reflecting borders, ``x ~ N(m, C)`` with
``C = D^T diag(P) D``, D the orthonormal two-dimensional DCT-II of each channel. ``P``, the power at each frequency, is
radial and given by its profile: the *spectrum*, a 1-D tensor of ``n`` positive powers at the radial frequencies
``sqrt(1/2) k / (n - 1)`` cycles per pixel, ``k = 0..n-1``, from 0 to the corner of the frequency square. D being
orthonormal, the mean of P over all frequencies is the variance of a pixel, averaged over the image, and a profile
measured on pictures of one size holds at any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch

from ..runtime.device import with_float64

TOP_FREQUENCY = math.sqrt(0.5)  # of the corner (1/2, 1/2), in cycles per pixel


def dct_frequency(height: int, width: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """``|f|`` in cycles per pixel of each coefficient of D, ``[H, W]``: k / 2H and l / 2W along the axes.

    In float64, for a device that lacks it on the CPU.
    """
    device = with_float64(device)
    vertical = torch.arange(height, dtype=torch.float64, device=device) / (2 * height)
    horizontal = torch.arange(width, dtype=torch.float64, device=device) / (2 * width)
    return torch.hypot(vertical[:, None], horizontal)


def power_on_grid(spectrum: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The powers P of a radial spectrum at the frequencies of :func:`dct_frequency`, ``[H, W]``, in its dtype.

    Between two samples the logarithm of the power is interpolated linearly: it spans many orders of magnitude.
    """
    frequency = dct_frequency(height, width, spectrum.device)
    precise = spectrum.to(frequency)
    position = frequency * ((len(spectrum) - 1) / TOP_FREQUENCY)
    left = position.long().clamp(max=len(spectrum) - 2)
    logarithm = precise.log()
    return torch.lerp(logarithm[left], logarithm[left + 1], position - left).exp().to(spectrum)


def radial_spectrum(images: Iterable[torch.Tensor], bins: int = 128) -> torch.Tensor:
    """The average radial power spectrum of pictures, ``[bins]`` in float32, as the module's text defines it.

    From each channel of each picture its mean is subtracted; a Hann window, scaled to mean square 1, keeps the jump
    between opposite borders from leaking into the high frequencies (its side lobes fall faster than the spectrum of
    natural images); ``|F x|²`` is averaged over the frequencies nearest to each sample of the profile. Samples with no
    frequency near them (the first, since the mean is gone; others if all pictures are small) are interpolated.

    Args:
        images: pictures ``[C, H, W]`` or batches ``[B, C, H, W]``, of any sizes from 8x8.
        bins: number of samples of the profile, at least 2.

    Raises:
        ValueError: there are no pictures, one is smaller than 8x8, or all are constant.
    """
    power, count = torch.zeros(2, bins, dtype=torch.float64, device="cpu")
    for image in images:
        height, width = image.shape[-2:]
        if min(height, width) < 8:
            raise ValueError(f"a picture of {height}x{width} is too small to measure a spectrum on: at least 8x8")
        hann = (torch.hann_window(size + 2, dtype=torch.float64, device="cpu")[1:-1] for size in (height, width))
        window = torch.outer(*hann)
        planes = image.detach().cpu().double().reshape(-1, height, width)
        planes = planes - (planes * window).sum(dim=(-2, -1), keepdim=True) / window.sum()
        planes = planes * window / window.square().mean().sqrt()
        energy = torch.fft.fft2(planes, norm="ortho").abs().square().sum(dim=0)
        vertical, horizontal = (torch.fft.fftfreq(size, dtype=torch.float64, device="cpu") for size in (height, width))
        frequency = torch.hypot(vertical[:, None], horizontal)
        nearest = (frequency * ((bins - 1) / TOP_FREQUENCY)).round().long()
        kept = frequency > 0
        power.index_add_(0, nearest[kept], energy[kept])
        count.index_add_(0, nearest[kept], torch.full_like(energy[kept], len(planes)))
    measured = power > 0
    if not measured.any():
        raise ValueError("a spectrum needs pictures, and not only constant ones")
    known = measured.nonzero().flatten().numpy()
    logarithm = np.interp(np.arange(bins), known, (power[measured] / count[measured]).log().numpy())
    return torch.from_numpy(np.exp(logarithm)).float()
