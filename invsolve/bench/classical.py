"""Classical restoration without a network: total variation, BM3D, non-local means, deconvolution, inpainting.

Images are [B, C, H, W] in [-1, 1]; the libraries have them in [0, 1], where noise is half as large. A method with a
number to tune is made for an operator, a noise level and that number, and maps measurements to images.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from operators import LinearOperator

TV_ITERATIONS = 200
TV_STEP = 20 * 8**-0.5  # of the image
TV_DUAL_STEP = 1 / (8 * TV_STEP)  # the product of both times |gradient|² <= 8 is at most 1
LEAST_NOISE = 1 / 255  # half a gray level of 255: less noise is not told from rounding
PATCH, DISTANCE = 5, 6  # pixels: side of non-local means' patches, and how far away they are sought

Method = Callable[[Tensor], Tensor]


def total_variation(operator: LinearOperator, sigma_y: float, weight: float) -> Method:
    """argmin_u |A u - y|² / 2 + w TV(u), w = ``weight`` times the noise level; any linear operator.

    TV is the sum over the pixels of the norm of the gradient, of all channels together (Rudin, Osher and Fatemi 1992;
    Bresson and Chan 2008). By the primal-dual iteration of Chambolle and Pock (2011), with the operator's exact prox:

        p <- project(p + s grad(2 u - u_before))      each |p| <= w
        u <- prox(u - t grad^T p)                      of |A u - y|² / 2, of step t
    """
    limit = weight * max(sigma_y, LEAST_NOISE)

    def restore(y: Tensor) -> Tensor:
        v = operator.adjoint(y)
        u = operator.prox(torch.zeros_like(v), y, 0.01)
        p, ahead = torch.zeros_like(torch.stack((u, u))), u
        for _ in range(TV_ITERATIONS):
            p = p + TV_DUAL_STEP * _gradient(ahead)
            p = p / (p.square().sum((0, 2), keepdim=True).sqrt() / limit).clamp(min=1)
            before = u
            u = operator.prox(u - TV_STEP * _gradient_adjoint(p), y, 1 / TV_STEP)
            ahead = 2 * u - before
        return u

    return restore


def _gradient(u: Tensor) -> Tensor:
    """Differences to the next pixel, 0 at the end: ``[B, C, H, W]`` -> ``[2, B, C, H, W]``."""
    found = torch.zeros_like(torch.stack((u, u)))
    found[0, ..., :-1, :] = u.diff(dim=-2)
    found[1, ..., :-1] = u.diff(dim=-1)
    return found


def _gradient_adjoint(p: Tensor) -> Tensor:
    found = torch.zeros_like(p[0])
    found[..., :-1, :] -= p[0, ..., :-1, :]
    found[..., 1:, :] += p[0, ..., :-1, :]
    found[..., :-1] -= p[1, ..., :-1]
    found[..., 1:] += p[1, ..., :-1]
    return found


def richardson_lucy(operator: LinearOperator, sigma_y: float, iterations: float) -> Method:
    """u <- u A^T(y / A u) / A^T 1, of images in [0, 1], ``iterations`` times from gray (Richardson 1972, Lucy 1974)."""

    def restore(y: Tensor) -> Tensor:
        total = operator.adjoint(torch.ones_like(y)).clamp(min=LEAST_NOISE)
        u = torch.full_like(total, 0.5)
        y = ((y + operator(torch.ones_like(u))) / 2).clamp(min=LEAST_NOISE)
        for _ in range(round(iterations)):
            u = u * operator.adjoint(y / operator(u).clamp(min=LEAST_NOISE)) / total
        return 2 * u - 1

    return restore


def wiener(operator: LinearOperator, sigma_y: float, balance: float) -> Method:
    """scikit-image's Wiener filter, |A u - y|² + lam |Laplacian of u|² in the Fourier domain; of circular blurs.

    ``lam`` is ``balance`` times the noise's variance.
    """
    from skimage.restoration import wiener as deconvolve

    kernel = circular_kernel(operator)
    lam = balance * max(sigma_y, LEAST_NOISE) ** 2
    return lambda y: _each_channel(y, lambda channel: deconvolve(channel, kernel, lam, clip=False))


def circular_kernel(operator: LinearOperator) -> np.ndarray:
    """The kernel of a circular blur as large as the image, ``[H, W]``, its centre at (H // 2, W // 2).

    Raises ValueError for an operator that is none: another boundary, another size, other kernels per channel.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, *operator.in_shape, generator=generator)
    impulse = torch.zeros_like(x)
    impulse[..., 0, 0] = 1
    device = next((buffer.device for buffer in operator.buffers()), x.device)
    kernel, found = operator(impulse.to(device)).cpu()[:, :1].double(), operator(x.to(device)).cpu()
    if found.shape == x.shape:
        expected = torch.fft.irfft2(torch.fft.rfft2(kernel) * torch.fft.rfft2(x.double()), s=x.shape[2:])
        if (expected - found).abs().max() <= 1e-3 * found.abs().max():
            return np.fft.fftshift(kernel[0, 0].numpy())
    raise ValueError("needs a blur of the whole picture that goes on at its opposite edge (boundary: circular)")


def bm3d(operator: LinearOperator, sigma_y: float, sigma_factor: float) -> Method:
    """BM3D (Dabov et al. 2007) by the package bm3d, taking the noise for ``sigma_factor`` times as large as it is.

    Colours are denoised as luminance and two differences, with the blocks that match in luminance; of a gray
    measurement all colours become its gray.
    """
    package = _import_bm3d()
    sigma = sigma_factor * max(sigma_y, LEAST_NOISE) / 2

    def one(image: np.ndarray) -> np.ndarray:
        image = scipy.fft.dct(image, axis=2, norm="ortho")  # luminance first; an orthonormal change of colours
        return scipy.fft.idct(np.atleast_3d(package.bm3d(image, sigma)), axis=2, norm="ortho")

    return lambda y: _each_image(y, one).expand(-1, operator.in_shape[0], -1, -1)


def _import_bm3d() -> ModuleType:
    try:
        import bm3d
    except ImportError:
        raise ValueError('needs the package bm3d: pip install "invsolve[bm3d]"') from None
    return bm3d


def non_local_means(operator: LinearOperator, sigma_y: float, strength: float) -> Method:
    """scikit-image's non-local means (Buades et al. 2005), whose cut-off distance is ``strength`` times the noise.

    Of a gray measurement all colours become its gray.
    """
    from skimage.restoration import denoise_nl_means

    sigma = max(sigma_y, LEAST_NOISE) / 2
    how = {"patch_size": PATCH, "patch_distance": DISTANCE, "h": strength * sigma, "sigma": sigma, "channel_axis": -1}
    return lambda y: _each_image(y, lambda image: denoise_nl_means(image, **how)).expand(
        -1, operator.in_shape[0], -1, -1
    )


def biharmonic(y: Tensor, operator: LinearOperator) -> Tensor:
    """scikit-image's inpainting by biharmonic functions (Damelin and Hoang 2018); observed pixels stay as they are."""
    from skimage.restoration import inpaint_biharmonic

    missing = (operator.mask == 0).expand(len(y), y.shape[1], -1, -1).cpu().numpy()
    images = _pixels(y)
    for image, holes in zip(images, missing, strict=True):
        if (holes == holes[:1]).all():
            image[:] = inpaint_biharmonic(image, holes[0], channel_axis=0)
        else:
            for channel, hole in zip(image, holes, strict=True):
                channel[:] = inpaint_biharmonic(channel, hole)
    return _as_images(images, y)


def _pixels(y: Tensor) -> np.ndarray:
    """Images as float64 in [0, 1], beyond it where noise is."""
    return (y.double().cpu().numpy() + 1) / 2


def _as_images(pixels: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(2 * pixels - 1).to(like)


def _each_image(y: Tensor, restore: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """A function of pictures ``[H, W, C]`` on each of a batch."""
    images = [np.atleast_3d(restore(image.transpose(1, 2, 0))).transpose(2, 0, 1) for image in _pixels(y)]
    return _as_images(np.stack(images), y)


def _each_channel(y: Tensor, restore: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """A function of pictures ``[H, W]`` on each channel of a batch."""
    height, width = y.shape[2:]
    channels = [restore(channel) for channel in _pixels(y).reshape(-1, height, width)]
    return _as_images(np.stack(channels).reshape(y.shape), y)
