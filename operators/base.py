"""The contract of a linear degradation: `y = A x`, its adjoint, its proximal map and exact conditional draws."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from operators.cg import Map, solve_least_squares
from operators.guard import HALVES, guard_adjoint, guard_forward, guard_prox
from operators.shapes import positive_shape, written

Noise = Callable[[tuple[int, ...]], Tensor]


class LinearOperator(torch.nn.Module):
    """A linear map from images `x [B, *in_shape]` to measurements `y [B, *out_shape]`.

    A subclass passes both shapes to `__init__` and writes `forward` (A x) and `adjoint` (A^T y); it writes `prox` too
    where a closed form exists. Everything else follows. The shapes, dtypes and devices of the arguments are checked
    before a subclass's method runs (`ValueError`), and `lam` then reaches `prox` as a float or as `[B, 1, 1, 1]`. The
    methods run without autocast and TF32 (see `operators.precision`), and not at all for an empty batch.

    State is buffers only, so `.to(device)` and `.double()` are all there is to moving an operator. Constants go
    through `register_exact`, which keeps them correct to the last digit in every dtype. `batch_size` is the number of
    images of an operator that has parameters of its own for each image, and None otherwise; `per_image` names the
    buffers that hold these, one entry of the first dimension for each image (see `select`).
    """

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
        self.batch_size = batch_size
        self._names_per_image = tuple(per_image)
        self._exact: dict[str, Tensor] = {}  # in float64 on the CPU
        self._float32: dict[str, Tensor] = {}  # beside the buffers of a half type

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, guard in _GUARDS.items():
            if name in vars(cls):
                setattr(cls, name, guard(vars(cls)[name]))

    def forward(self, x: Tensor) -> Tensor:
        """A x: `[B, *in_shape]` -> `[B, *out_shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y: `[B, *out_shape]` -> `[B, *in_shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define adjoint")

    @guard_prox
    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        """argmin_u |A u - y|² + lam |u - v|², that is (A^T A + lam I)^-1 (A^T y + lam v).

        `lam >= 0` is a float or a tensor `[B]`. Solved for the increment u - v, so `lam = 0` is the limit
        v + A^+ (y - A v): among the least-squares solutions, the one nearest to `v`. This generic version runs
        conjugate gradients, preconditioned by `preconditioner` where there is one.
        """
        precondition = _only_where_damped(self.preconditioner(lam), lam)
        residual = self.observed(y) - self.forward(v)
        increment, _ = solve_least_squares(self.forward, self.adjoint, residual, lam, precondition)
        return v + increment

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y, the least-squares solution of least norm: `[B, *out_shape]` -> `[B, *in_shape]`."""
        return self.prox(y.new_zeros(len(y), *self.in_shape), y, 0.0)

    def observed(self, y: Tensor) -> Tensor:
        """y with 0 in place of entries that nothing measures: these may hold anything, NaN too."""
        return y

    def measure(self, x: Tensor, sigma_y: float | Tensor, noise: Noise | None = None) -> Tensor:
        """A x + sigma_y n, and 0 where nothing is measured; `sigma_y` is in units of x.

        `noise(out_shape)` gives standard normals `[B, *out_shape]`; without it they are torch's.
        """
        y = self(x)
        noise = torchs_noise(y) if noise is None else noise
        return self.observed(y + self._per_image("sigma_y", sigma_y, y) * noise(self.out_shape))

    def sample(
        self, x: Tensor | float, y: Tensor, sigma_y: float | Tensor, rho: float | Tensor, noise: Noise | None = None
    ) -> Tensor:
        """One exact sample of p(u | x, y) ∝ exp(-|A u - y|² / 2 sigma_y² - |u - x|² / 2 rho²).

        Perturb and solve (Papandreou and Yuille 2010): the prox of a perturbed `x` and a perturbed `y` is distributed
        as N(mu, (A^T A / sigma_y² + I / rho²)^-1). `sigma_y = 0` conditions on A u = y. `x` may be a number, for a
        constant image. `noise`, by default torch's, is called twice, first with `in_shape`, then with `out_shape`.
        """
        self._check("y", y, self.out_shape)
        if isinstance(x, Tensor):
            self._check("x", x, self.in_shape, batch_of=y)
        _check_range("rho", rho, positive=True)
        noise = torchs_noise(y) if noise is None else noise
        v = x + self._per_image("rho", rho, y, len(self.in_shape)) * noise(self.in_shape)
        y = y + self._per_image("sigma_y", sigma_y, y) * noise(self.out_shape)
        sigma_y, rho = (s.flatten() if isinstance(s, Tensor) else s for s in (sigma_y, rho))
        return self.prox(v, y, (sigma_y / rho) ** 2)

    def preconditioner(self, lam: float | Tensor) -> Map | None:
        """A cheap symmetric positive approximation of (A^T A + lam I)^-1 for the generic `prox`, if one is known."""
        return None

    def select(self, indices: list[int] | Tensor) -> LinearOperator:
        """The operator for the images `indices` of its batch; itself when all images share its parameters."""
        if self.batch_size is None:
            return self
        if not self._names_per_image:
            raise ValueError(f"{type(self).__name__} is for {self.batch_size} images but names no buffers per_image")
        index = torch.as_tensor(indices, dtype=torch.long, device="cpu")
        chosen = copy.copy(self)
        chosen.batch_size = len(index)
        for store in ("_buffers", "_exact", "_float32"):
            values = dict(getattr(self, store))
            own = values.keys() & set(self._names_per_image)
            setattr(chosen, store, values | {name: values[name][index.to(values[name].device)] for name in own})
        return chosen

    def register_exact(self, name: str, value: Tensor) -> None:
        """Register a real float64 constant as a buffer of the default dtype.

        The float64 value is kept beside it, so that `.double()` restores every digit instead of promoting rounded ones;
        in a half type the methods compute with its float32 value, and round their results alone. Complex constants are
        registered as `torch.view_as_real`: `Module.to(dtype)` would drop their imaginary part.
        """
        self._exact[name] = value.detach().to("cpu", torch.float64)
        self.register_buffer(name, self._exact[name].to(torch.get_default_dtype()), persistent=False)
        self._keep_digits()

    @property
    def is_exact(self) -> bool:
        """Whether the constants are known to float32 whatever the operator's dtype: it has some, and no parts."""
        return bool(self._exact) and not self._modules

    def in_float32(self) -> LinearOperator:
        """An operator of a half type that `is_exact`, in float32; nothing is copied but buffers of other kinds."""
        wide = copy.copy(self)
        wide._buffers = {name: b.float() if b.dtype in HALVES else b for name, b in self._buffers.items()}
        wide._buffers |= self._float32
        wide._float32 = {}
        return wide

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self._keep_digits()
        return self

    def _keep_digits(self) -> None:
        for name, value in self._exact.items():
            like = self._buffers[name]
            self._buffers[name] = value.to(like)
            self._float32.pop(name, None)
            if like.dtype in HALVES:
                self._float32[name] = value.to(like.device, torch.float32)

    def __matmul__(self, other: LinearOperator | Tensor) -> LinearOperator | Tensor:
        """`A @ B`: apply B, then A. `A @ x` is A(x)."""
        from operators.composition import Composition  # a subclass of this class, hence not at the top

        return self(other) if isinstance(other, Tensor) else Composition(self, other)

    def __rmul__(self, factor: float) -> LinearOperator:
        """`2.0 * A`."""
        from operators.scaled import Scaled

        return Scaled(factor, self) if isinstance(factor, numbers.Real) else NotImplemented

    def extra_repr(self) -> str:
        return f"{self.in_shape} -> {self.out_shape}"

    def _check(self, name: str, value: Tensor, shape: tuple[int, ...], batch_of: Tensor | None = None) -> None:
        kind = type(self).__name__
        if not isinstance(value, Tensor) or not value.is_floating_point():
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} is {found} but {kind} takes a floating-point tensor")
        if tuple(value.shape[1:]) != shape or value.ndim != len(shape) + 1:
            raise ValueError(f"{name} has shape {written(value.shape)} but {kind} expects {written(('B', *shape))}")
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
        _check_range(name, value)
        if not isinstance(value, Tensor):
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
    return torch.where(denominator > rounding_floor(power), denominator, torch.inf).reciprocal()


def rounding_floor(power: Tensor) -> Tensor:
    """Up to where squared singular values of one image, in the last three dimensions, are rounding errors."""
    per_image = tuple(range(-min(3, power.ndim), 0))
    return power.amax(dim=per_image, keepdim=True) * (100 * torch.finfo(power.dtype).eps) ** 2


def _only_where_damped(precondition: Map | None, lam: float | Tensor) -> Map | None:
    """A preconditioner changes which of many solutions the iteration finds: leave it out where lam = 0."""
    if precondition is None or (not isinstance(lam, Tensor) and lam == 0):
        return None
    if not isinstance(lam, Tensor):
        return precondition
    return lambda residual: torch.where(lam > 0, precondition(residual), residual)


def _check_range(name: str, value: float | Tensor, positive: bool = False) -> None:
    """ValueError for what is not finite, or negative, or 0 where it must be positive.

    Tensors are looked at on the CPU alone: elsewhere every call would wait for the device.
    """
    smallest = largest = value
    if isinstance(value, Tensor):
        if value.device.type != "cpu" or value.numel() == 0 or torch.compiler.is_compiling():
            return
        try:
            smallest, largest = (float(bound) for bound in value.detach().aminmax())
        except RuntimeError:  # under vmap there is no number to look at
            return
    if not (smallest > 0 if positive else smallest >= 0) or not largest < math.inf:
        found = value.tolist() if isinstance(value, Tensor) else value
        expected = "positive and finite" if positive else "finite and not negative"
        raise ValueError(f"{name} is {found} but must be {expected}")


def torchs_noise(like: Tensor) -> Noise:
    """Normals for the images of a batch from torch's generator of their device."""
    return lambda shape: torch.randn(len(like), *shape, dtype=like.dtype, device=like.device)


_GUARDS = {"forward": guard_forward, "adjoint": guard_adjoint, "prox": guard_prox}
