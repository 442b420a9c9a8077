"""The contract of a linear degradation: `y = A x`, its adjoint, its proximal map and exact conditional draws."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from operators.cg import solve_least_squares

Noise = Callable[[tuple[int, ...]], Tensor]


class LinearOperator(torch.nn.Module):
    """A linear map from images `x [B, *in_shape]` to measurements `y [B, *out_shape]`.

    A subclass passes both shapes to `__init__` and writes `forward` (A x) and `adjoint` (A^T y); it writes `prox` too
    where a closed form exists. Everything else follows. The shapes, dtypes and devices of the arguments are checked
    before a subclass's method runs (`ValueError`), and `lam` then reaches `prox` as a float or as `[B, 1, 1, 1]`.

    State is buffers only, so `.to(device)` and `.double()` are all there is to moving an operator. Constants go
    through `register_exact`, which keeps them correct to the last digit in every dtype. `batch_size` is the number of
    images of an operator that has parameters of its own for each image, and None otherwise.
    """

    def __init__(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...], batch_size: int | None = None):
        super().__init__()
        self.in_shape = _positive_shape("in_shape", in_shape)
        self.out_shape = _positive_shape("out_shape", out_shape)
        self.batch_size = batch_size
        self._exact: dict[str, Tensor] = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, check in _CHECKS.items():
            if name in vars(cls):
                setattr(cls, name, check(vars(cls)[name]))

    def forward(self, x: Tensor) -> Tensor:
        """A x: `[B, *in_shape]` -> `[B, *out_shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y: `[B, *out_shape]` -> `[B, *in_shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define adjoint")

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        """argmin_u |A u - y|² + lam |u - v|², that is (A^T A + lam I)^-1 (A^T y + lam v).

        `lam >= 0` is a float or a tensor `[B]`. Solved for the increment u - v, so `lam = 0` is the limit
        v + A^+ (y - A v): among the least-squares solutions, the one nearest to `v`. This generic version runs
        conjugate gradients, preconditioned by `preconditioner` where there is one.
        """
        self._check("v", v, self.in_shape)
        self._check("y", y, self.out_shape, batch_of=v)
        lam = self._per_image("lam", lam, v)
        precondition = _only_where_damped(self.preconditioner(lam), lam)
        increment, _ = solve_least_squares(self.forward, self.adjoint, y - self.forward(v), lam, precondition)
        return v + increment

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y, the least-squares solution of least norm: `[B, *out_shape]` -> `[B, *in_shape]`."""
        return self.prox(y.new_zeros(len(y), *self.in_shape), y, 0.0)

    def measure(self, x: Tensor, sigma_y: float | Tensor, noise: Noise) -> Tensor:
        """A x + sigma_y n. `noise(out_shape)` gives standard normals `[B, *out_shape]`; `sigma_y` is in units of x."""
        y = self(x)
        return y + self._per_image("sigma_y", sigma_y, y) * noise(self.out_shape)

    def draw(self, x: Tensor | float, y: Tensor, sigma_y: float | Tensor, rho: float | Tensor, noise: Noise) -> Tensor:
        """One exact sample of p(u | x, y) ∝ exp(-|A u - y|² / 2 sigma_y² - |u - x|² / 2 rho²).

        Perturb and solve (Papandreou and Yuille 2010): the prox of a perturbed `x` and a perturbed `y` is distributed
        as N(mu, (A^T A / sigma_y² + I / rho²)^-1). `sigma_y = 0` conditions on A u = y. `x` may be a number, for a
        constant image. `noise` is called twice, first with `in_shape`, then with `out_shape`.
        """
        self._check("y", y, self.out_shape)
        if isinstance(x, Tensor):
            self._check("x", x, self.in_shape, batch_of=y)
        if not isinstance(rho, Tensor) and not rho > 0:
            raise ValueError(f"rho is {rho} but must be positive")
        v = x + self._per_image("rho", rho, y, len(self.in_shape)) * noise(self.in_shape)
        y = y + self._per_image("sigma_y", sigma_y, y) * noise(self.out_shape)
        return self.prox(v, y, (sigma_y / rho) ** 2)

    def preconditioner(self, lam: float | Tensor) -> Callable[[Tensor], Tensor] | None:
        """A cheap symmetric positive approximation of (A^T A + lam I)^-1 for the generic `prox`, if one is known."""
        return None

    def select(self, indices: list[int] | Tensor) -> LinearOperator:
        """The operator for the images `indices` of its batch; itself when all images share its parameters."""
        if self.batch_size is None:
            return self
        index = torch.as_tensor(indices, dtype=torch.long)
        chosen = copy.copy(self)
        chosen.batch_size = len(index)
        chosen._buffers = {
            name: buffer[index.to(buffer.device)] if len(buffer) == self.batch_size else buffer
            for name, buffer in self._buffers.items()
        }
        chosen._exact = {
            name: value[index] if len(value) == self.batch_size else value for name, value in self._exact.items()
        }
        return chosen

    def register_exact(self, name: str, value: Tensor) -> None:
        """Register a real float64 constant as a buffer of the default dtype.

        The float64 value is kept beside it, so that `.double()` restores every digit instead of promoting rounded ones.
        Complex constants are registered as `torch.view_as_real`: `Module.to(dtype)` would drop their imaginary part.
        The first dimension of a constant of its own for each image is `batch_size`; of a shared one it is 1 (see
        `select`).
        """
        self._exact[name] = value.detach().to("cpu", torch.float64)
        self.register_buffer(name, self._exact[name].to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        for name, value in self._exact.items():
            self._buffers[name] = value.to(self._buffers[name])
        return self

    def __matmul__(self, inner: LinearOperator) -> LinearOperator:
        """`A @ B`: apply B, then A."""
        from operators.composition import Composition  # a subclass of this class, hence not at the top

        return Composition(self, inner)

    def extra_repr(self) -> str:
        return f"{self.in_shape} -> {self.out_shape}"

    def _check(self, name: str, value: Tensor, shape: tuple[int, ...], batch_of: Tensor | None = None) -> None:
        kind = type(self).__name__
        if not isinstance(value, Tensor) or not value.is_floating_point():
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} is {found} but {kind} takes a floating-point tensor")
        if tuple(value.shape[1:]) != shape or value.ndim != len(shape) + 1:
            raise ValueError(f"{name} has shape {_shape(value.shape)} but {kind} expects {_shape(('B', *shape))}")
        if self.batch_size not in (None, len(value)):
            raise ValueError(f"{name} holds {len(value)} images but {kind} has parameters for {self.batch_size}")
        if batch_of is not None and len(value) != len(batch_of):
            raise ValueError(f"{name} holds {len(value)} images but {len(batch_of)} were expected")
        own = next((b for b in self.buffers() if b.is_floating_point()), value)
        if (own.dtype, own.device) != (value.dtype, value.device):
            raise ValueError(
                f"{name} is {value.dtype} on {value.device} but {kind} is {own.dtype} on {own.device}: "
                "move one of them with .to()"
            )

    def _per_image(self, name: str, value: float | Tensor, like: Tensor, dims: int | None = None) -> float | Tensor:
        """A number as it is; a tensor `[B]` with the trailing dimensions it needs to multiply `like`."""
        if not isinstance(value, Tensor):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value} but must be finite and not negative")
            return float(value)
        if value.numel() not in (1, len(like)):
            raise ValueError(f"{name} has {value.numel()} values but there are {len(like)} images")
        return value.to(like).reshape(-1, *[1] * (like.ndim - 1 if dims is None else dims))


def damped_inverse(power: Tensor, lam: float | Tensor) -> Tensor:
    """1 / (power + lam) for squared singular values `power`, and 0 where both vanish to working precision.

    Below a relative singular value of 100 eps a component counts as lost: rounding errors of the data then come back
    at a hundredth of its size or less. For any `lam` above that floor nothing is cut.
    """
    denominator = power + lam
    floor = power.amax(dim=(-3, -2, -1), keepdim=True) * (100 * torch.finfo(power.dtype).eps) ** 2
    return torch.where(denominator > floor, denominator, torch.inf).reciprocal()


def _only_where_damped(
    precondition: Callable[[Tensor], Tensor] | None, lam: float | Tensor
) -> Callable[[Tensor], Tensor] | None:
    """A preconditioner changes which of many solutions the iteration finds: leave it out where lam = 0."""
    if precondition is None or (not isinstance(lam, Tensor) and lam == 0):
        return None
    if not isinstance(lam, Tensor):
        return precondition
    return lambda residual: torch.where(lam > 0, precondition(residual), residual)


def _positive_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(shape)
    if not shape or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"{name} is {shape} but must be positive integers such as (3, 256, 256)")
    return shape


def _shape(sizes: tuple) -> str:
    return "[" + ", ".join(str(n) for n in sizes) + "]"


def _check_forward(method: Callable) -> Callable:
    @functools.wraps(method)
    def forward(self, x):
        self._check("x", x, self.in_shape)
        return method(self, x)

    return forward


def _check_adjoint(method: Callable) -> Callable:
    @functools.wraps(method)
    def adjoint(self, y):
        self._check("y", y, self.out_shape)
        return method(self, y)

    return adjoint


def _check_prox(method: Callable) -> Callable:
    @functools.wraps(method)
    def prox(self, v, y, lam):
        self._check("v", v, self.in_shape)
        self._check("y", y, self.out_shape, batch_of=v)
        return method(self, v, y, self._per_image("lam", lam, v))

    return prox


_CHECKS = {"forward": _check_forward, "adjoint": _check_adjoint, "prox": _check_prox}
