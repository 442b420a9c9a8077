"""The Wiener estimate: a first guess from second-order statistics alone, to start the sampler from.

The prior is a stationary Gaussian on the torus, ``x ~ N(m, C)`` with ``C = F^* diag(P) F``, F the orthonormal
two-dimensional DFT of each channel. ``P``, the power at each frequency, is radial and given by its profile: the
*spectrum*, a 1-D tensor of ``n`` positive powers at the radial frequencies ``sqrt(1/2) k / (n - 1)`` cycles per pixel,
``k = 0..n-1``, from 0 to the corner of the frequency square. F being orthonormal, the mean of P over all frequencies is
the variance of a pixel, and a profile measured on pictures of one size holds at any other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch

from operators import LinearOperator, solve_spd

TOP_FREQUENCY = math.sqrt(0.5)  # of the corner (1/2, 1/2), in cycles per pixel
SMALLEST_NOISE = 0.02  # sigma_y is taken to be at least this
PROBES = 4  # random signs that measure the diagonal of A^T A
NEIGHBOURHOOD = 4.0  # pixels, standard deviation of the window that tells a hole from scattered missing pixels


def wiener_estimate(
    y: torch.Tensor,
    operator: LinearOperator,
    sigma_y: float,
    spectrum: torch.Tensor,
    tol: float = 1e-6,
    max_iterations: int = 150,
) -> torch.Tensor:
    """The posterior mean of x given ``y = A x + sigma_y n`` under the stationary Gaussian prior: ``m + d`` with

        (A^T A + sigma_y² C^-1) d = A^T (y - A m),

    m being the mean colour of the measurement (:func:`mean_colour`). Solved by preconditioned conjugate gradients,
    each image by itself; no network is evaluated.

    Args:
        y: measurements ``[B, *operator.out_shape]``.
        operator: a linear operator from images ``[B, C, H, W]``.
        sigma_y: noise level on [-1, 1]. The estimate uses 0.02 if it is less: a start for the sampler is no better for
            a finer one, and the system takes the longer to solve the smaller the noise.
        spectrum: radial power spectrum, as the module's text defines it.
        tol: the relative residual at which an image is finished. A rougher solution would do for a start, but iterates
            on their way amplify rounding errors, which depend on the batch; at 1e-6 the result no longer does.
        max_iterations: where to stop in any case; what has not converged by then is a rougher start, not an error.

    Returns:
        ``[B, C, H, W]``, in y's dtype and on its device.
    """
    height, width = operator.in_shape[-2:]
    power = power_on_grid(spectrum.to(y), height, width)
    variance = max(sigma_y, SMALLEST_NOISE) ** 2

    def normal_matrix(d: torch.Tensor) -> torch.Tensor:
        return operator.adjoint(operator(d)) + variance * filtered(d, 1 / power)

    mean = mean_colour(y, operator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        d, _ = solve_spd(
            normal_matrix,
            operator.adjoint(y - operator(mean)),
            preconditioner(operator, power, variance, like=mean),
            tol=tol,
            max_iterations=max_iterations,
        )
    return mean + d


def mean_colour(y: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
    """The constant image m that explains the measurement best, ``[B, C, H, W]``.

    ``m`` minimises ``|A m - y|²`` over one value per channel; where the measurement leaves some of these open (a
    grayscale one tells only a weighted sum), it is the solution of least norm.
    """
    channels = operator.in_shape[0]
    basis = torch.eye(channels, dtype=y.dtype, device=y.device)[:, None, :, None, None]
    responses = [operator(one.expand(len(y), *operator.in_shape).contiguous()) for one in basis]
    a = torch.stack([response.flatten(1) for response in responses], dim=1)  # [B, C, measurements]
    gram = torch.linalg.pinv((a @ a.mT).double(), rtol=1e-5, hermitian=True)
    colour = (gram @ (a @ y.flatten(1)[:, :, None]).double()).to(y.dtype)
    return colour[..., None].expand(len(y), *operator.in_shape).contiguous()


def preconditioner(
    operator: LinearOperator, power: torch.Tensor, variance: float, like: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """An approximate inverse of ``A^T A + variance C^-1``, symmetric positive definite, the sum of two.

    The first, ``(d0 I + variance C^-1)^-1`` with d0 the mean of the diagonal of ``A^T A``, is all it takes where every
    neighbourhood of the image is measured about as well as another: then ``A^T A`` acts on smooth images as d0. In a
    hole it does not, and the iteration would creep inwards from the border. There ``A^T A`` vanishes and the inverse is
    ``C / variance``: that is the second, between weights w that are 1 in the middle of a hole and 0 wherever the mean
    of the diagonal over a neighbourhood of a few pixels is at least half of d0.
    """
    diagonal = local_diagonal(operator, like)
    d0 = diagonal.mean(dim=(-3, -2, -1), keepdim=True).clamp(min=torch.finfo(like.dtype).tiny)
    window = averaging(NEIGHBOURHOOD, like)
    hole = (1 - 2 * filtered(diagonal, window) / d0).clamp(min=0)
    everywhere, within_holes = power / (d0 * power + variance), power / variance
    if not hole.any():
        return lambda r: filtered(r, everywhere)
    return lambda r: filtered(r, everywhere) + hole * filtered(hole * r, within_holes)


def local_diagonal(operator: LinearOperator, like: torch.Tensor) -> torch.Tensor:
    """The diagonal of ``A^T A``, averaged over channels, ``[B, 1, H, W]``: ``E[z ⊙ A^T A z]`` for random signs z.

    Exact where ``A^T A`` is diagonal; elsewhere right on average over a neighbourhood. The signs are the same for every
    image and every call, so that an estimate does not depend on the batch.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    total = torch.zeros_like(like[:, :1])
    for _ in range(PROBES):
        signs = torch.randint(0, 2, like.shape[1:], generator=generator, device="cpu") * 2 - 1
        signs = signs.to(like).expand_as(like).contiguous()
        total += (signs * operator.adjoint(operator(signs))).mean(dim=1, keepdim=True)
    return total / PROBES


def filtered(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """``F^* diag(gain) F x`` for a real, even gain at the frequencies of ``rfft2``."""
    return torch.fft.irfft2(gain * torch.fft.rfft2(x), s=x.shape[-2:])


def averaging(deviation: float, like: torch.Tensor) -> torch.Tensor:
    """The gain, at the frequencies of ``rfft2``, of a mean over a Gaussian neighbourhood of so many pixels."""
    return torch.exp(-2 * (math.pi * deviation * radial_frequency(*like.shape[-2:])) ** 2).to(like)


def radial_frequency(height: int, width: int) -> torch.Tensor:
    """``|f|`` in cycles per pixel at each frequency of ``rfft2``, ``[H, W // 2 + 1]``, float64."""
    vertical = torch.fft.fftfreq(height, dtype=torch.float64, device="cpu")
    horizontal = torch.fft.rfftfreq(width, dtype=torch.float64, device="cpu")
    return torch.hypot(vertical[:, None], horizontal)


def power_on_grid(spectrum: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The powers P of a radial spectrum at the frequencies of ``rfft2``, ``[H, W // 2 + 1]``, in the spectrum's dtype.

    Between two samples the logarithm of the power is interpolated linearly: it spans many orders of magnitude.
    """
    frequency = radial_frequency(height, width).to(spectrum.device)
    position = frequency * ((len(spectrum) - 1) / TOP_FREQUENCY)
    left = position.long().clamp(max=len(spectrum) - 2)
    logarithm = spectrum.double().log()
    return torch.lerp(logarithm[left], logarithm[left + 1], position - left).exp().to(spectrum.dtype)


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
        energy = torch.fft.rfft2(planes, norm="ortho").abs().square().sum(dim=0)
        frequency = radial_frequency(height, width)
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
