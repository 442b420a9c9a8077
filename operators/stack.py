"""Several measurements of one image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from operators.base import LinearOperator, common_batch_size
from operators.noise import Noise, NoiseModel, normals, torch_noise


class Stack(LinearOperator):
    """y = (A_1 x, A_2 x, ...), for example `Stack([Resize((3, 64, 64), 4), Mask((3, 64, 64), mask)])`.

    The measurements are put one after the other: in the first dimension (channels) where all others agree, else as
    flat vectors, `out_shape = (m,)`. `joined` puts measurements together so, `parts` takes them apart.

    An operator has one noise level. Where that of the measurements differs, `whitened` makes it the same.

    Raises ValueError for no operators, and for operators on different images or for different numbers of images.
    """

    def __init__(self, operators: Sequence[LinearOperator]):
        operators = list(operators)
        if not operators or not all(isinstance(operator, LinearOperator) for operator in operators):
            found = ", ".join(type(operator).__name__ for operator in operators)
            raise ValueError(f"a stack of [{found}] cannot be: it takes at least one operator, and only operators")
        if len({operator.in_shape for operator in operators}) > 1:
            shapes = ", ".join(str(operator.in_shape) for operator in operators)
            raise ValueError(f"cannot stack: the operators take {shapes} but must take the same images")
        if len({operator.complex_measurements for operator in operators}) > 1:
            raise ValueError("cannot stack: some operators give complex values, others real ones")
        shapes = [operator.out_shape for operator in operators]
        if len({shape[1:] for shape in shapes}) == 1:
            out_shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        else:
            out_shape = (sum(math.prod(shape) for shape in shapes),)
        super().__init__(operators[0].in_shape, out_shape, common_batch_size(operators))
        self.operators = torch.nn.ModuleList(operators)
        self.complex_measurements = operators[0].complex_measurements

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Measurements `[B, *out_shape]`, one of each operator, as one y `[B, *out_shape]`."""
        flat = len(self.out_shape) == 1
        return torch.cat([part.flatten(1) if flat else part for part in parts], 1)

    def parts(self, y: Tensor) -> list[Tensor]:
        """y `[B, *out_shape]` as the measurements `[B, *out_shape]` of each operator."""
        shapes = [operator.out_shape for operator in self.operators]
        rest = math.prod(self.out_shape[1:])
        pieces = y.split([math.prod(shape) // rest for shape in shapes], 1)
        return [piece.reshape(len(y), *shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        return self.joined([operator.forward(x) for operator in self.operators])

    def adjoint(self, y: Tensor) -> Tensor:
        pairs = zip(self.operators, self.parts(y), strict=True)
        return sum(operator.adjoint(part) for operator, part in pairs)

    def observed(self, y: Tensor) -> Tensor:
        pairs = zip(self.operators, self.parts(y), strict=True)
        return self.joined([operator.observed(part) for operator, part in pairs])

    def measure(
        self,
        x: Tensor,
        sigma_y: float | Tensor | NoiseModel | Sequence[float | Tensor | NoiseModel],
        noise: Noise | None = None,
    ) -> Tensor:
        """As each operator measures, with one noise level or model for all or a sequence of one for each."""
        self.check_input("x", x, self.in_shape)
        noise = torch_noise(x) if noise is None else noise
        n = normals(noise, x.new_empty(0, *self.out_shape, dtype=self.measurement_dtype(x.dtype)))
        parts = [torch.view_as_real(part) if part.is_complex() else part for part in self.parts(n)]
        each = zip(self.operators, self._levels(sigma_y), parts, strict=True)
        return self.joined([operator.measure(x, level, lambda _, n=n: n) for operator, level, n in each])

    def whitened(self, y: Tensor, sigma_y: Sequence[float]) -> tuple[Stack, Tensor, float]:
        """The stack and its measurement with one noise level, from noise of `sigma_y[i]` in part i, all positive.

        Part i and its operator are multiplied by `sigma_y[0] / sigma_y[i]`; the law of x given y stays the same. So
        `operator, y, level = stack.whitened(y, (0.05, 0.2))` is what to give to `sample` or to a solver.
        """
        levels = self._levels(sigma_y)
        if not all(level > 0 for level in levels):
            raise ValueError(f"sigma_y is {tuple(levels)} but all must be positive")
        factors = [levels[0] / level for level in levels]
        scaled = [factor * operator for factor, operator in zip(factors, self.operators, strict=True)]
        parts = [factor * part for factor, part in zip(factors, self.parts(y), strict=True)]
        return Stack(scaled), self.joined(parts), levels[0]

    def _select(self, indices: list[int] | Tensor) -> Stack:
        return Stack([operator.select(indices) for operator in self.operators])

    def _levels(self, sigma_y: float | Tensor | Sequence[float | Tensor]) -> Sequence[float | Tensor]:
        if not isinstance(sigma_y, Sequence):
            return [sigma_y] * len(self.operators)
        if len(sigma_y) != len(self.operators):
            raise ValueError(f"sigma_y has {len(sigma_y)} levels but there are {len(self.operators)} operators")
        return sigma_y
