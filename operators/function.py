"""An operator from the user's own functions."""

from __future__ import annotations

import torch
from torch import Tensor

from operators.base import AGREEMENT, LinearOperator
from operators.cg import Map, each
from operators.checks import positive_shape, written
from operators.precision import full_precision


class FunctionOperator(LinearOperator):
    """The linear map that `forward` computes, on batches `[B, *in_shape]`: a function or a `torch.nn.Module`.

    `adjoint` defaults to the derivative of `forward` by autograd (of a linear map, the vector-Jacobian product is the
    adjoint). The operator does not move what the functions hold, unless they are modules.

    `example` is a batch of images `[B, *in_shape]` such as the functions take, of any values: its device and dtype
    become the operator's. By default it is one float32 image on the CPU. Pass `example=torch.zeros(1, *in_shape,
    device="cuda")` for functions on a GPU. With an example in float16 or bfloat16 the functions are called with that
    dtype, while the operator takes and gives float32, or float64 after `.double()`.

    Raises ValueError if `example` has another shape or dtype, or if `forward` is not linear or `adjoint` not its
    adjoint on random images. This test runs without TF32 (see `operators.precision.full_float32`): with its rounding,
    5e-4, a convolution would not count as linear, and conjugate gradients would not converge.
    """

    def __init__(
        self, in_shape: tuple[int, ...], forward: Map, adjoint: Map | None = None, example: Tensor | None = None
    ):
        in_shape = positive_shape("in_shape", in_shape)
        example = torch.zeros(1, *in_shape, device="cpu") if example is None else example
        if tuple(example.shape[1:]) != in_shape or len(example) == 0:
            raise ValueError(f"example has shape {written(example.shape)} but must be {written(('B', *in_shape))}")
        if example.dtype not in AGREEMENT:
            raise ValueError(f"example is {example.dtype} but must be one of {', '.join(map(str, AGREEMENT))}")
        with torch.no_grad(), full_precision(example.device):
            image = forward(torch.zeros_like(example))
        if image.ndim < 2 or len(image) != len(example):
            raise ValueError(f"forward gave {written(image.shape)} for a batch of {len(example)}: expected [B, ...]")
        super().__init__(in_shape, tuple(image.shape[1:]))
        self._example_dtype, self._forward, self._adjoint = example.dtype, forward, adjoint
        own = torch.promote_types(example.dtype, torch.float32)
        self.register_buffer("example", example.new_empty(0, dtype=own), persistent=False)  # tells dtype and device
        self.check(len(example))

    def forward(self, x: Tensor) -> Tensor:
        return self._call(self._forward, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._call(self._adjoint or self._derivative, y)

    def _derivative(self, y: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros(len(y), *self.in_shape, dtype=y.dtype, device=y.device, requires_grad=True)
            image = self._forward(x)
            if not image.requires_grad:
                raise ValueError("autograd cannot differentiate forward: pass adjoint as well")
            return torch.autograd.grad(image, x, y.clone(), create_graph=y.requires_grad)[0]

    def _call(self, function: Map, x: Tensor) -> Tensor:
        """`function` of x, where it takes a half type in that: of each image at a largest value of 1, in its range."""
        if self.half_type is None:
            return function(x)
        largest = x.flatten(1).abs().amax(1)
        scale = torch.where(largest > 0, largest, 1)
        image = function((x / each(scale, x)).to(self.half_type)).to(x)
        return image * each(scale, image)

    @property
    def half_type(self) -> torch.dtype | None:
        """The half type that the functions take, if any: that of their modules, or else of the example."""
        held = (t for module in self.children() for t in (*module.parameters(), *module.buffers()))
        dtype = next((t.dtype for t in held if t.is_floating_point()), self._example_dtype)
        return dtype if dtype in (torch.bfloat16, torch.float16) else None
