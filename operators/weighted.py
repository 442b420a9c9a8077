"""An operator whose measurements are weighted: noise of another level at each value becomes noise of one level."""

from __future__ import annotations

import torch
from torch import Tensor

from operators.base import LinearOperator, damped_inverse
from operators.cg import Map, each
from operators.checks import expands, written
from operators.noise import per_image


class Weighted(LinearOperator):
    """x -> w ⊙ A x, for weights w that are positive and expand to the measurements, `[B|1, ...]`.

    With `w = 1 / sigma` noise of level `sigma`, a map, becomes white noise of level 1. The prox is closed where w is
    one number for each image and A's is, and where A's rows are orthogonal (`row_power`); else conjugate gradients,
    preconditioned as A is for the mean weight.

    Raises:
        ValueError: the weights do not expand to the measurements, or are not positive and finite.
    """

    def __init__(self, inner: LinearOperator, weights: Tensor):
        images = len(weights) if weights.ndim == len(inner.out_shape) + 1 else 1
        if not expands(weights, (images, *inner.out_shape)):
            raise ValueError(f"weights are {written(weights.shape)} but must expand to {inner.out_shape}")
        if weights.device.type == "cpu" and not (weights > 0).logical_and(weights < torch.inf).all():
            raise ValueError("weights must be positive and finite")
        if inner.batch_size is not None and images not in (1, inner.batch_size):
            raise ValueError(f"weights are for {images} images but the operator is for {inner.batch_size}")
        super().__init__(
            inner.in_shape, inner.out_shape, inner.batch_size or images, ("weights",) if images > 1 else ()
        )
        self.inner = inner
        self.complex_measurements, self.pointwise = inner.complex_measurements, inner.pointwise
        self.register_buffer(
            "weights", weights.reshape((1,) * (len(inner.out_shape) + 1 - weights.ndim) + weights.shape)
        )

    @property
    def uniform(self) -> bool:
        """Whether the weights of an image are one number."""
        return self.weights[0].numel() == 1

    def forward(self, x: Tensor) -> Tensor:
        return self.weights * self.inner.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.weights * y)

    def observed(self, y: Tensor) -> Tensor:
        return self.inner.observed(y)

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        lam = per_image("lam", lam, v)
        if self.uniform:
            weights = each(self.weights.flatten(), v)
            return self.inner.prox(v, y / each(weights, y), lam / weights**2)
        power = self.inner.row_power
        if power is None:
            return super().prox(v, y, lam)
        lam = each(lam, y) if isinstance(lam, Tensor) else lam
        residual = self.weights * self.observed(y - self.forward(v))
        return v + self.inner.adjoint(residual * damped_inverse(power * self.weights**2, lam))

    def preconditioner(self, lam: float | Tensor) -> Map | None:
        power = self.weights.square().mean()
        inverse = self.inner.preconditioner(lam / power)
        return None if inverse is None else lambda residual: inverse(residual) / power

    def _select(self, indices: list[int] | Tensor) -> Weighted:
        index = torch.as_tensor(indices, dtype=torch.long, device="cpu").to(self.weights.device)
        weights = self.weights if len(self.weights) == 1 else self.weights[index]
        return Weighted(self.inner.select(indices), weights)
