"""What surrounds the methods of every operator: checks of the arguments, and the digits they are computed with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from operators.precision import full_precision

if TYPE_CHECKING:
    from operators.base import LinearOperator

HALVES = (torch.float16, torch.bfloat16)


def guard_forward(method: Callable) -> Callable:
    @functools.wraps(method)
    def forward(self, x):
        self._check("x", x, self.in_shape)
        operator, wide = widened(self, x)
        return _computed(operator, method, self.out_shape, wide).to(x.dtype)

    return forward


def guard_adjoint(method: Callable) -> Callable:
    @functools.wraps(method)
    def adjoint(self, y):
        self._check("y", y, self.out_shape)
        operator, wide = widened(self, y)
        return _computed(operator, method, self.in_shape, wide).to(y.dtype)

    return adjoint


def guard_prox(method: Callable) -> Callable:
    @functools.wraps(method)
    def prox(self, v, y, lam):
        self._check("v", v, self.in_shape)
        self._check("y", y, self.out_shape, batch_of=v)
        operator, *wide = widened(self, v, y)
        return _computed(operator, method, self.in_shape, *wide, self._per_image("lam", lam, wide[0])).to(v.dtype)

    return prox


def widened(operator: LinearOperator, *data: Tensor) -> tuple:
    """An operator and data of a half type in float32, where its constants are exact; otherwise as they are.

    A closed form needs the digits: with orthonormal factors of 8 bits it solves another problem. (And on the CPU there
    is no FFT of half types.)
    """
    if data[0].dtype in HALVES and operator.is_exact:
        return operator.in_float32(), *(tensor.float() for tensor in data)
    return operator, *data


def _computed(operator: LinearOperator, method: Callable, shape: tuple[int, ...], data: Tensor, *others) -> Tensor:
    """`method` of the operator without autocast and TF32; for no images, which FFTs refuse, no images."""
    if len(data) == 0:
        return data.new_empty(0, *shape)
    with full_precision(data):
        return method(operator, data, *others)
