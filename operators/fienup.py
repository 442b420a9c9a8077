"""Images from Fourier magnitudes by alternating projections: hybrid input-output and error reduction (Fienup 1982).

Images g are padded, on [0, 1], `[..., h, w]`; magnitudes are those of `rfft2` with the norm "ortho",
`[..., h, w // 2 + 1]`; `support` `[h, w]` says where the image may differ from 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import irfft2, rfft2

from operators.noise import Noise

BETA = 0.9  # feedback of hybrid input-output
CYCLES, INPUT_OUTPUT, REDUCTION = 4, 100, 20  # so many times, iterations of the one and then of the other
STARTS = 16  # random starts on the coarsest grid
COARSEST, SMALLEST = 4, 32  # times coarser than the image, as long as so many pixels are left
WINDOW = 0.2  # cycles a pixel, the standard deviation of the low-pass of a coarse grid
LOOSE = 1  # pixels of a coarse grid by which the low-pass widens the support


def with_magnitude(g: Tensor, magnitude: Tensor) -> Tensor:
    """The image nearest to g with these magnitudes; what has no phase is given that of a positive number."""
    return irfft2(torch.polar(magnitude, rfft2(g, norm="ortho").angle()), s=g.shape[-2:], norm="ortho")


def input_output(g: Tensor, magnitude: Tensor, support: Tensor) -> Tensor:
    """One iteration of hybrid input-output: where support and range [0, 1] are violated, g minus beta times that."""
    output = with_magnitude(g, magnitude)
    return torch.where((output >= 0) & (output <= 1) & support, output, g - BETA * output)


def error_reduction(g: Tensor, magnitude: Tensor, support: Tensor) -> Tensor:
    """One iteration of error reduction (Gerchberg and Saxton 1972): the nearest image with support and range."""
    return with_magnitude(g, magnitude).clamp(0, 1) * support


def retrieved(g: Tensor, magnitude: Tensor, support: Tensor, cycles: int = CYCLES) -> tuple[Tensor, Tensor]:
    """Of cycles of hybrid input-output and error reduction the result with the least misfit, and that, `[...]`.

    The first cycle is error reduction alone, which stays near a good start. The misfit is the mean square of what the
    magnitudes of the result differ by.
    """
    best, least = g, torch.full_like(g[..., 0, 0], torch.inf)
    for cycle in range(cycles + 1):
        for _ in range(INPUT_OUTPUT if cycle else 0):
            g = input_output(g, magnitude, support)
        result = g
        for _ in range(REDUCTION):
            result = error_reduction(result, magnitude, support)
        misfit = (rfft2(result, norm="ortho").abs() - magnitude).square().mean((-2, -1))
        better = misfit < least
        best, least = torch.where(better[..., None, None], result, best), torch.where(better, misfit, least)
    return best, least


def coarse_to_fine(magnitude: Tensor, support: Tensor, noise: Noise) -> Tensor:
    """Padded images `[B, C, h, w]` for magnitudes `[B, C, ...]`, found on grids that are 4 times and 2 times coarser.

    A coarse grid has the low frequencies alone, where natural images have most of their power: the noise matters less,
    there are fewer local minima, and iterations are cheap, so that of several random starts the one with the least
    misfit can be taken. Its image is one for all channels, which are alike, with the mean of their magnitudes: so they
    are also turned the same way. Each channel, and then a finer grid, goes on from there. What a grid finer than the
    last would tell, of a noisy measurement, is mostly noise.
    """
    full, batch = tuple(support.shape), len(magnitude)
    factors = [f for f in (COARSEST, COARSEST // 2) if min(full) // f >= SMALLEST] or [1]
    size, low, inside = coarse(magnitude, support, factors[0])
    gray = low.mean(1, keepdim=True).expand(batch, STARTS, *low.shape[2:])
    g, misfit = retrieved(noise((STARTS, *size)).abs() * inside, gray, inside)
    g = g[torch.arange(batch, device=g.device), misfit.argmin(1)][:, None]
    g, _ = retrieved(g.expand(batch, low.shape[1], *size), low, inside, cycles=0)
    for factor in factors[1:]:
        size, low, inside = coarse(magnitude, support, factor)
        g, _ = retrieved(resampled(g, size), low, inside, cycles=1)
    return resampled(g, full)


def coarse(magnitude: Tensor, support: Tensor, factor: int) -> tuple[tuple[int, int], Tensor, Tensor]:
    """Size, magnitudes and support on a coarser grid, of the image after a low-pass."""
    full = tuple(support.shape)
    if factor == 1:
        return full, magnitude, support
    rows, columns = (2 * round(n / factor / 2) for n in full)
    vertical = torch.fft.fftfreq(rows, device=magnitude.device)[:, None]
    window = torch.exp(-(vertical**2 + torch.fft.rfftfreq(columns, device=magnitude.device) ** 2) / (2 * WINDOW**2))
    low = cropped(magnitude, rows, columns // 2 + 1) * window * (rows * columns / (full[0] * full[1])) ** 0.5
    y, x = (grown(support.any(1 - i), n) for i, n in enumerate((rows, columns)))
    return (rows, columns), low, y[:, None] & x


def grown(line: Tensor, count: int) -> Tensor:
    """An interval of a line, where it is true, on a grid of fewer points, and a little more."""
    inside, step = line.nonzero(), len(line) / count
    at = torch.arange(count, device=line.device) * step
    return (at >= inside.min() - LOOSE * step) & (at <= inside.max() + LOOSE * step)


def cropped(spectrum: Tensor, rows: int, columns: int) -> Tensor:
    """The low frequencies of half a spectrum."""
    return torch.cat([spectrum[..., : rows // 2, :columns], spectrum[..., -(rows // 2) :, :columns]], -2)


def resampled(g: Tensor, size: tuple[int, int]) -> Tensor:
    """The same band-limited image on a finer grid."""
    rows, columns = g.shape[-2:]
    spectrum = rfft2(g, norm="forward")
    fine = spectrum.new_zeros(*g.shape[:-2], size[0], size[1] // 2 + 1)
    fine[..., : rows // 2, : columns // 2] = spectrum[..., : rows // 2, : columns // 2]
    fine[..., -(rows // 2) + 1 :, : columns // 2] = spectrum[..., -(rows // 2) + 1 :, : columns // 2]
    return irfft2(fine, s=size, norm="forward")
