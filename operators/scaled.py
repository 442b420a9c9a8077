"""A multiple of an operator."""

from __future__ import annotations

import math

from torch import Tensor

from operators.base import LinearOperator
from operators.cg import Map


class Scaled(LinearOperator):
    """`factor * inner`: x -> factor inner(x), for a number that is finite and not 0 (ValueError).

    The prox is that of `inner` at y / factor and lam / factor².
    """

    def __init__(self, factor: float, inner: LinearOperator):
        if not math.isfinite(factor) or factor == 0:
            raise ValueError(f"the factor of {type(inner).__name__} is {factor} but must be finite and not 0")
        super().__init__(inner.in_shape, inner.out_shape, inner.batch_size)
        self.factor, self.inner = float(factor), inner

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inner.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.factor * self.inner.adjoint(y)

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        return self.inner.prox(v, y / self.factor, lam / self.factor**2)

    def preconditioner(self, lam: float | Tensor) -> Map | None:
        inverse = self.inner.preconditioner(lam / self.factor**2)
        return None if inverse is None else lambda residual: inverse(residual) / self.factor**2

    def observed(self, y: Tensor) -> Tensor:
        return self.inner.observed(y)

    def select(self, indices: list[int] | Tensor) -> Scaled:
        return Scaled(self.factor, self.inner.select(indices))

    def extra_repr(self) -> str:
        return f"{self.factor:g}, {super().extra_repr()}"
