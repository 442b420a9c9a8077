"""The Fréchet distance of two sets of pictures: of normal laws fitted to their features (Heusel et al. 2017, FID).

FID takes Inception's features. Here they are AlexNet's, whose weights LPIPS needs anyway: the means over the picture of
its last convolution's 256 channels. The distances of both are no more comparable than those of two numbers of pictures:
fewer pictures give larger ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .metrics import alexnet_for_lpips

Features = Callable[[Tensor], np.ndarray]


def load_features(trunk: str | Path | None = None, device: torch.device | str = "cpu") -> Features:
    """A function from images ``[B, C, H, W]`` in [-1, 1], in colour or gray, to features ``[B, 256]``.

    Raises what :func:`invsolve.images.metrics.load_lpips` does.
    """
    network = alexnet_for_lpips(trunk, device)

    def features(x: Tensor) -> np.ndarray:
        with torch.no_grad():
            x = x.to(device, torch.float32).clamp(-1, 1).expand(-1, 3, -1, -1)
            return network.net(network.scaling_layer(x)).relu5.mean((2, 3)).cpu().double().numpy()

    return features


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """``|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of features ``[N, D]`` and ``[M, D]``, two or more of each.

    ``m`` and ``C`` are their means and covariances; the trace of the root is the sum of the singular values of
    ``C1^(1/2) C2^(1/2)``.
    """
    means = [each.mean(0) for each in (first, second)]
    covariances = [np.atleast_2d(np.cov(each, rowvar=False)) for each in (first, second)]
    roots = [_root(covariance) for covariance in covariances]
    overlap = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    return float(np.sum((means[0] - means[1]) ** 2) + sum(map(np.trace, covariances)) - 2 * overlap)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T
