"""Measurements `y = A(x)` of images: the base class of all operators, linear or not."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from operators.checks import positive_shape, written
from operators.noise import Gaussian, Noise, NoiseModel, torch_noise
from operators.precision import COMPLEX, real_type, without_autocast


class Operator(torch.nn.Module):
    """A map A from images `x [B, *in_shape]` to measurements `y [B, *out_shape]`, in float32 or float64.

    A subclass passes both shapes to `__init__` and writes `forward`, in operations that autograd differentiates:
    samples of the likelihood follow its gradient. `operator(x)` and `measure` check their arguments and run without
    autocast; `forward` trusts its own and runs in the caller's context (see `operators.precision`).

    Constants are buffers, which `.to(device)` and `.double()` move; `register_exact` keeps all their digits.
    An operator with parameters of their own for each image says for how many by `batch_size` (None or 1: one set of
    parameters serves any number of images) and names the buffers that hold them, one image after the other in the
    first dimension, by `per_image` (see `select`).
    """

    complex_measurements = False  # y is complex64 or complex128; x is real all the same
    curvature: float | None = None  # c, where the second derivatives of |y - A(x)|² / 2 are at most c; None: not known
    pointwise = False  # each value of y depends on the value of x at its place alone

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        batch_size: int | None = None,
        per_image: Sequence[str] = (),
    ):
        super().__init__()
        self.in_shape = positive_shape("in_shape", in_shape)
        self.out_shape = positive_shape("out_shape", out_shape)
        self.batch_size = None if batch_size == 1 else batch_size
        self._names_per_image = tuple(per_image)
        self._exact: dict[str, Tensor] = {}  # constants in float64 on the CPU

    def __call__(self, x: Tensor) -> Tensor:
        """A(x), without autocast. Raises TypeError or ValueError for an x that does not fit the operator."""
        self.check_input("x", x, self.in_shape)
        if len(x) == 0:  # which FFTs refuse
            return x.new_empty(0, *self.out_shape, dtype=self.measurement_dtype(x.dtype))
        with without_autocast(x.device):
            return super().__call__(x)

    def forward(self, x: Tensor) -> Tensor:
        """A(x): `[B, *in_shape]` -> `[B, *out_shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def observed(self, y: Tensor) -> Tensor:
        """y with 0 in place of entries that nothing measures: these may hold anything, NaN too."""
        return y

    def blank(self, y: Tensor) -> Tensor:
        """Gray images `[B, *in_shape]`, 0, for measurements y."""
        return torch.zeros(len(y), *self.in_shape, dtype=real_type(y.dtype), device=y.device)

    def viewed(self, y: Tensor) -> Tensor:
        """Measurements as images to look at, `[B, 1|3, h, w]` on [-1, 1]; of what is no image the first one."""
        is_image = y.ndim == 4 and not y.is_complex() and y.shape[1] in (1, 3)
        return y if is_image else self.first_image(y)

    def first_image(self, y: Tensor) -> Tensor:
        """`estimate`, without noise; gray where there is none."""
        found = self.estimate(y, lambda shape: self.blank(y).new_zeros(len(y), *shape))
        return self.blank(y) if found is None else found

    def estimate(self, y: Tensor, noise: Noise) -> Tensor | None:
        """A first image `[B, *in_shape]` for the sampler to start near; None where the class knows none."""
        return None

    def measure(self, x: Tensor, sigma_y: float | Tensor | NoiseModel, noise: Noise | None = None) -> Tensor:
        """A measurement of x: A(x) with noise, and 0 where nothing is measured.

        `sigma_y` is the noise level of white noise in units of x, a number or one for each image; or a noise model.
        `noise(shape)` gives standard normals `[B, *shape]`; without it they are torch's.
        """
        y = self(x)
        model = sigma_y if isinstance(sigma_y, NoiseModel) else Gaussian(sigma_y)
        return self.observed(model.sample(y, torch_noise(y) if noise is None else noise))

    def measurement_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The type of measurements of images of type `dtype`."""
        return COMPLEX[dtype] if self.complex_measurements else dtype

    def check_measurement(self, y: Tensor, images: int | None = None) -> None:
        """`check_input` of a measurement."""
        self.check_input("y", y, self.out_shape, images, self.complex_measurements)

    def check_input(
        self, name: str, value: Tensor, shape: tuple[int, ...], images: int | None = None, is_complex: bool = False
    ) -> None:
        """Raise TypeError or ValueError unless `value` is `[B, *shape]` of the operator's dtype, on its device.

        B must be the number of images that the operator has parameters for, if any, and `images` if given. Where
        `is_complex`, the dtype is the complex one of the same precision.
        """
        kind = type(self).__name__
        types = (torch.complex64, torch.complex128) if is_complex else (torch.float32, torch.float64)
        if not isinstance(value, Tensor) or value.dtype not in types:
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            expected = "measures complex64 or complex128" if is_complex else "computes in float32 or float64"
            raise TypeError(f"{name} is {found} but {kind} {expected} (solve takes half types too)")
        if tuple(value.shape[1:]) != shape or value.ndim != len(shape) + 1:
            raise ValueError(f"{name} has shape {written(value.shape)} but {kind} expects {written(('B', *shape))}")
        if self.batch_size not in (None, len(value)):
            raise ValueError(f"{name} holds {len(value)} images but {kind} has parameters for {self.batch_size}")
        if images not in (None, len(value)):
            raise ValueError(f"{name} holds {len(value)} images but {images} were expected")
        own = next(self._float_buffers(), value)
        if (real_type(own.dtype), own.device) != (real_type(value.dtype), value.device):
            raise ValueError(
                f"{name} is {value.dtype} on {value.device} but {kind} is {own.dtype} on {own.device}: "
                "move one of them with .to()"
            )

    def select(self, indices: list[int] | Tensor) -> Operator:
        """The operator for the images `indices` of its batch; itself when all images share its parameters."""
        return self if self.batch_size is None else self._select(indices)

    def _select(self, indices: list[int] | Tensor) -> Operator:
        """`select` of an operator with parameters of their own for each image."""
        if not self._names_per_image:
            raise ValueError(f"{type(self).__name__} is for {self.batch_size} images but names no buffers per_image")
        index = torch.as_tensor(indices, dtype=torch.long, device="cpu")
        chosen = copy.copy(self)
        chosen.batch_size = None if len(index) == 1 else len(index)
        for store in ("_buffers", "_exact"):
            values = dict(getattr(self, store))
            own = values.keys() & set(self._names_per_image)
            setattr(chosen, store, values | {name: values[name][index.to(values[name].device)] for name in own})
        return chosen

    def register_exact(self, name: str, value: Tensor) -> None:
        """Register a real float64 constant as a buffer of the default dtype.

        The float64 value is kept beside it: `.double()`, or `.half().float()`, gives all its digits again. Complex
        constants are registered as `torch.view_as_real`: `Module.to(dtype)` would drop their imaginary part.
        """
        self._exact[name] = value.detach().to("cpu", torch.float64)
        self.register_buffer(name, self._exact[name].to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn, recurse=True):  # what .to(), .double(), .cuda() go through
        super()._apply(fn, recurse)
        for name, value in self._exact.items():
            self._buffers[name] = value.to(self._buffers[name])
        return self

    def extra_repr(self) -> str:
        return f"{self.in_shape} -> {self.out_shape}"

    def _float_buffers(self) -> Iterator[Tensor]:
        return (buffer for buffer in self.buffers() if buffer.is_floating_point())
