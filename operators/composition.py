"""The product of two operators."""

from __future__ import annotations

from torch import Tensor

from operators.base import LinearOperator, Noise


class Composition(LinearOperator):
    """`outer @ inner`: x -> outer(inner(x)), for example `Mask(...) @ CircularConvolution(...)`.

    Raises ValueError when the output of `inner` is not the input of `outer`.
    """

    def __init__(self, outer: LinearOperator, inner: LinearOperator):
        if not (isinstance(outer, LinearOperator) and isinstance(inner, LinearOperator)):
            raise TypeError(f"cannot compose {type(outer).__name__} @ {type(inner).__name__}: both must be operators")
        if outer.in_shape != inner.out_shape:
            raise ValueError(
                f"cannot compose: {type(inner).__name__} gives {inner.out_shape} "
                f"but {type(outer).__name__} takes {outer.in_shape}"
            )
        sizes = {op.batch_size for op in (outer, inner)} - {None}
        if len(sizes) > 1:
            raise ValueError(f"cannot compose: one operator is for {min(sizes)} images, the other for {max(sizes)}")
        super().__init__(inner.in_shape, outer.out_shape, max(sizes, default=None))
        self.outer, self.inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def observed(self, y: Tensor) -> Tensor:
        return self.outer.observed(y)

    def measure(self, x: Tensor, sigma_y: float | Tensor, noise: Noise | None = None) -> Tensor:
        """As `outer` measures, `inner(x)` being its image."""
        return self.outer.measure(self.inner(x), sigma_y, noise)

    def select(self, indices: list[int] | Tensor) -> Composition:
        return Composition(self.outer.select(indices), self.inner.select(indices))
