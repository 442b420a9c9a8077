"""EDM denoising loss with EDM2's learned log-variance weighting (Karras et al. 2022, 2024)."""

from __future__ import annotations

from torch import Tensor

from ..priors.denoiser import Denoiser, classes


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """``(s² + sd²) / (s sd)²``: gives the raw network's output error the same weight at all noise levels."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def weighted_error(error: Tensor, sigma: Tensor, sigma_data: float, log_variance: Tensor) -> Tensor:
    """``w(s) / e^v |error|² + v`` a sample ``[B]``, with ``|.|²`` the mean over the image (EDM2 equation 21)."""
    squared = error.square().flatten(1).mean(1)
    return edm_weight(sigma, sigma_data) / log_variance.exp() * squared + log_variance


def edm_loss(denoiser: Denoiser, x: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
    """Denoising loss a sample ``[B]`` for clean ``x`` ``[B, C, H, W]``, noise levels ``[B]`` and normals like x."""
    error = denoiser(x + sigma[:, None, None, None] * noise, sigma, **classes(labels)) - x
    return weighted_error(error, sigma, denoiser.sigma_data, denoiser.network.log_variance(sigma.log() / 4))
