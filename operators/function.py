"""An operator from the user's own functions."""

from __future__ import annotations

import torch
from torch import Tensor

from operators.base import LinearOperator
from operators.cg import Map
from operators.precision import full_float32, full_precision
from operators.shapes import positive_shape, written

AGREEMENT = {  # relative error that rounding may explain
    torch.bfloat16: 5e-2,
    torch.float16: 5e-3,
    torch.float32: 1e-4,
    torch.float64: 1e-10,
}


class FunctionOperator(LinearOperator):
    """The linear map that `forward` computes, on batches `[B, *in_shape]`.

    `adjoint` defaults to the derivative of `forward` by autograd (for a linear map, its vector-Jacobian product *is*
    the adjoint). The functions are tried on the dtype and device of `example`, an image batch `[B, *in_shape]` of any
    values (default: one float32 image on the CPU); tensors that they hold are theirs to move. A `torch.nn.Module` may
    be passed as a function. They run without autocast and TF32, which a GPU's convolutions have by default: with its
    rounding, 5e-4, a convolution would not count as linear, and conjugate gradients would not converge.

    Raises ValueError if `forward` is not linear, or `adjoint` not its adjoint, on random images, or if `example` has
    another shape or is not of a floating-point type.
    """

    def __init__(
        self, in_shape: tuple[int, ...], forward: Map, adjoint: Map | None = None, example: Tensor | None = None
    ):
        in_shape = positive_shape("in_shape", in_shape)
        example = torch.zeros(1, *in_shape, device="cpu") if example is None else example
        if tuple(example.shape[1:]) != in_shape or len(example) == 0:
            raise ValueError(f"example has shape {tuple(example.shape)} but must be {written(('B', *in_shape))}")
        if example.dtype not in AGREEMENT:
            raise ValueError(f"example is {example.dtype} but must be one of {', '.join(map(str, AGREEMENT))}")
        generator = torch.Generator("cpu").manual_seed(0)
        a, b = torch.randn(2, *example.shape, generator=generator, device="cpu").to(example)
        with torch.no_grad(), full_precision(example), full_float32():
            image_a, image_b, image_sum = forward(a), forward(b), forward(2 * a - 3 * b)
        if image_a.ndim < 2 or len(image_a) != len(example):
            raise ValueError(
                f"forward gave shape {tuple(image_a.shape)} for a batch of {len(example)}: expected [B, ...]"
            )
        agreement = AGREEMENT[example.dtype]
        wide_a, wide_b = _summable(image_a), _summable(image_b)
        defect, size = (_summable(image_sum) - 2 * wide_a + 3 * wide_b).norm(), wide_a.norm() + wide_b.norm()
        if not defect <= agreement * size:
            raise ValueError(
                f"forward is not linear: A(2a - 3b) differs from 2 A(a) - 3 A(b) by {defect / size:.1e} of their size"
            )
        super().__init__(in_shape, tuple(image_a.shape[1:]))
        self.register_buffer("example", example.new_empty(0), persistent=False)  # tells the dtype and the device
        self._forward, self._adjoint = forward, adjoint
        back = self.adjoint(image_b)
        inner, outer = (wide_a * wide_b).sum(), (_summable(a) * _summable(back)).sum()
        if not (inner - outer).abs() <= agreement * wide_a.norm() * wide_b.norm():
            raise ValueError(
                f"adjoint is not the adjoint of forward: <A a, y> = {inner:.6g} but <a, A^T y> = {outer:.6g}"
            )

    def forward(self, x: Tensor) -> Tensor:
        with full_float32():
            return self._forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        if self._adjoint is not None:
            with full_float32():
                return self._adjoint(y)
        with torch.inference_mode(False), torch.enable_grad(), full_float32():
            x = torch.zeros(len(y), *self.in_shape, dtype=y.dtype, device=y.device, requires_grad=True)
            image = self._forward(x)
            if not image.requires_grad:
                raise ValueError("autograd cannot differentiate forward: pass adjoint as well")
            return torch.autograd.grad(image, x, y.clone(), create_graph=y.requires_grad)[0]


def _summable(x: Tensor) -> Tensor:
    """Of a half type in float32: sums over an image ask for it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
