"""A perceptual distance from a denoiser's own features (Lin and Yang 2024, arXiv 2401.00110).

A network that denoises must know what pictures look like, so that its features compare two of them much as people do,
and no other network has to be brought along. As with LPIPS (Zhang et al. 2018, arXiv 1801.03924) the features of every
place are scaled to one length before their difference is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..priors.denoiser import Denoiser, classes

SMALLEST = 1e-6  # added to squared lengths


def features(denoiser: Denoiser, u: Tensor, sigma: float, labels: Tensor | None = None) -> list[Tensor]:
    """What every block of the encoder puts out for noisy images ``u`` ``[B, C, H, W]``, unit length at every place."""
    level = u.new_full((len(u),), sigma)
    c_in = (sigma**2 + denoiser.sigma_data**2) ** -0.5
    found, _ = denoiser.network.encoder(u * c_in, level.log() / 4, **classes(labels))
    found = [f.to(torch.promote_types(f.dtype, torch.float32)) for f in found[1:]]  # the first is no block's
    return [f * (f.square().mean(1, keepdim=True) + SMALLEST).rsqrt() for f in found]


def perceptual_distance(
    denoiser: Denoiser, x: Tensor, reference: Tensor, sigma: float, noise: Tensor, labels: Tensor | None = None
) -> Tensor:
    """Mean squared difference of the features of both images, a sample ``[B]``, over places, channels and blocks.

    The denoiser sees ``x`` and ``reference`` ``[B, C, H, W]`` under the same ``noise``, normals like them, of the small
    level ``sigma``: it knows noisy images only. Differentiable in ``x``; ``reference`` is taken as fixed.
    """
    with torch.no_grad():
        expected = features(denoiser, reference + sigma * noise, sigma, labels)
    found = features(denoiser, x + sigma * noise, sigma, labels)
    each = [(a - b).square().flatten(1).mean(1) for a, b in zip(found, expected, strict=True)]
    return torch.stack(each).mean(0)
