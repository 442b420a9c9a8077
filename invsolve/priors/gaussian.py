"""Priors whose denoising posterior is known in closed form: a Gaussian and a mixture of Gaussians.

Both are everything a prior can be at once, exactly: a posterior-mean denoiser (``prior(u, sigma)``), a posterior
sampler (``sample``), a score and a density of the noisy image, at any noise level. They serve to test samplers and
distillation, and to see what either should have done.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from .denoiser import Noise


class GaussianPrior(nn.Module):
    """``x ~ N(m, C)``, so that with ``u = x + sigma n`` and the eigendecomposition ``C = V diag(l) V^T``

        p(u)     = N(m, C + sigma² I)
        p(x | u) = N(m + C (C + sigma² I)^-1 (u - m),  sigma² C (C + sigma² I)^-1)
                 = N(m + V diag(l / (l + sigma²)) V^T (u - m),  V diag(l sigma² / (l + sigma²)) V^T).

    Args:
        mean: ``[C, H, W]``.
        covariance: ``[n, n]`` with ``n = C H W``, symmetric and positive semi-definite, in the order of ``flatten()``.

    In every method ``u`` is ``[B, C, H, W]`` and ``sigma`` its noise level: a float or a tensor ``[B]``. ``sigma``
    may be 0 wherever ``l + sigma²`` stays positive.

    Raises:
        ValueError: the covariance has not the mean's size, or is not a covariance.
    """

    evaluations = 1

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        super().__init__()
        n = mean.numel()
        if mean.ndim != 3:
            raise ValueError(f"the mean is one image [C, H, W], not of shape {list(mean.shape)}")
        if covariance.shape != (n, n):
            raise ValueError(f"the covariance is {list(covariance.shape)} but the mean has {n} pixels")
        if not torch.allclose(covariance, covariance.T, rtol=1e-5, atol=1e-6 * covariance.abs().max().item()):
            raise ValueError("the covariance is not symmetric")
        variances, axes = torch.linalg.eigh(covariance)
        if variances[0] < -1e-5 * variances[-1].abs():
            raise ValueError(f"the covariance is not positive semi-definite: it has an eigenvalue {variances[0]:.3g}")
        self.register_buffer("mean", mean.clone())
        self.register_buffer("variances", variances.clamp(min=0))  # l: variance along each principal axis
        self.register_buffer("axes", axes)  # V: principal axes, one per column

    def forward(self, u: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        """The posterior mean ``E[x | u]``, ``[B, C, H, W]``."""
        gain = self.variances / (self.variances + variance_column(sigma, u))
        return self.mean + self._from_axes(gain * self._to_axes(u))

    def sample(self, u: torch.Tensor, sigma: float | torch.Tensor, noise: Noise) -> torch.Tensor:
        """An exact sample of ``p(x | u)``, ``[B, C, H, W]``."""
        noise_variance = variance_column(sigma, u)
        gain = self.variances / (self.variances + noise_variance)
        spread = (gain * noise_variance).sqrt() * noise(u.shape[1:]).flatten(1)
        return self.mean + self._from_axes(gain * self._to_axes(u) + spread)

    def log_density(self, u: torch.Tensor, sigma: float | torch.Tensor = 0.0) -> torch.Tensor:
        """``log p(u)`` at noise level ``sigma`` (0: of the prior itself), ``[B]``."""
        total = self.variances + variance_column(sigma, u)
        return -0.5 * (self._to_axes(u).square() / total + (2 * math.pi * total).log()).sum(dim=1)

    def score(self, u: torch.Tensor, sigma: float | torch.Tensor = 0.0) -> torch.Tensor:
        """``grad log p(u) = -(C + sigma² I)^-1 (u - m)``, ``[B, C, H, W]``."""
        return -self._from_axes(self._to_axes(u) / (self.variances + variance_column(sigma, u)))

    def _to_axes(self, u: torch.Tensor) -> torch.Tensor:
        """Coordinates of ``u - m`` along the principal axes, ``[B, n]``."""
        return (u - self.mean).flatten(1) @ self.axes

    def _from_axes(self, coordinates: torch.Tensor) -> torch.Tensor:
        return (coordinates @ self.axes.T).unflatten(1, self.mean.shape)


class GaussianMixturePrior(nn.Module):
    """``x ~ sum_k w_k N(m_k, C_k)``. Given ``u = x + sigma n``, its posterior is again a mixture of Gaussians,

        p(x | u) = sum_k r_k(u) p_k(x | u),   r_k(u) = w_k p_k(u) / sum_j w_j p_j(u),

    ``p_k`` being the densities of :class:`GaussianPrior` for component k, and ``r_k`` its responsibility for ``u``.

    Args:
        weights: ``[K]``, positive; normalised to sum 1.
        means: ``[K, C, H, W]``.
        covariances: ``[K, n, n]``, ``n = C H W``.

    ``u`` and ``sigma`` are as in :class:`GaussianPrior`.

    Raises:
        ValueError: the numbers of components differ, a weight is not positive, or a component is no Gaussian.
    """

    evaluations = 1

    def __init__(self, weights: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor) -> None:
        super().__init__()
        if not len(weights) == len(means) == len(covariances):
            raise ValueError(f"{len(weights)} weights, {len(means)} means and {len(covariances)} covariances")
        if not (weights > 0).all():
            raise ValueError(f"the weights of a mixture are positive, not {weights.tolist()}")
        self.register_buffer("weights", weights / weights.sum())
        self.components = nn.ModuleList(map(GaussianPrior, means, covariances))

    def responsibilities(self, u: torch.Tensor, sigma: float | torch.Tensor = 0.0) -> torch.Tensor:
        """The probability of each component given ``u``, ``[B, K]``."""
        return self._log_joint(u, sigma).softmax(dim=1)

    def forward(self, u: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        """The posterior mean ``E[x | u]``, ``[B, C, H, W]``."""
        means = torch.stack([component(u, sigma) for component in self.components], dim=1)
        return torch.einsum("bk,bkchw->bchw", self.responsibilities(u, sigma), means)

    def sample(self, u: torch.Tensor, sigma: float | torch.Tensor, noise: Noise) -> torch.Tensor:
        """An exact sample of ``p(x | u)``, ``[B, C, H, W]``: choose a component, then sample its posterior."""
        uniform = torch.special.ndtr(noise((1,)))
        below = uniform > self.responsibilities(u, sigma).cumsum(dim=1)[:, :-1]
        chosen = below.sum(dim=1)
        image_noise = noise(u.shape[1:])
        samples = torch.stack(
            [component.sample(u, sigma, lambda _: image_noise) for component in self.components], dim=1
        )
        return samples[torch.arange(len(u), device=u.device), chosen]

    def log_density(self, u: torch.Tensor, sigma: float | torch.Tensor = 0.0) -> torch.Tensor:
        """``log p(u)`` at noise level ``sigma`` (0: of the prior itself), ``[B]``."""
        return self._log_joint(u, sigma).logsumexp(dim=1)

    def score(self, u: torch.Tensor, sigma: float | torch.Tensor = 0.0) -> torch.Tensor:
        """``grad log p(u) = sum_k r_k(u) grad log p_k(u)``, ``[B, C, H, W]``."""
        scores = torch.stack([component.score(u, sigma) for component in self.components], dim=1)
        return torch.einsum("bk,bkchw->bchw", self.responsibilities(u, sigma), scores)

    def _log_joint(self, u: torch.Tensor, sigma: float | torch.Tensor) -> torch.Tensor:
        """``log w_k + log p_k(u)``, ``[B, K]``."""
        densities = torch.stack([component.log_density(u, sigma) for component in self.components], dim=1)
        return self.weights.log() + densities


def variance_column(sigma: float | torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """``sigma²`` as a column that broadcasts against ``[B, n]``: ``[1, 1]``, or ``[B, 1]`` for a level per image."""
    return torch.as_tensor(sigma, dtype=u.dtype, device=u.device).reshape(-1, 1).square()
