"""Linear measurements `y = A x` of images: the base class of all operators, products `A @ B` and multiples `2 * A`."""

from __future__ import annotations

import copy
import math
import numbers
import weakref
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from operators.cg import Map, each, solve_least_squares
from operators.checks import check_number, positive_shape, written
from operators.precision import full_precision, without_autocast

Noise = Callable[[tuple[int, ...]], Tensor]
Gain = Callable[[Tensor], Tensor]  # eigenvalues of A^T A -> factors, element by element
# By the type that A and A^T compute in: the relative error in `check` that rounding may explain.
AGREEMENT = {torch.bfloat16: 5e-2, torch.float16: 5e-3, torch.float32: 1e-4, torch.float64: 1e-10}


class LinearOperator(torch.nn.Module):
    """A linear map A from images `x [B, *in_shape]` to measurements `y [B, *out_shape]`, in float32 or float64.

    A subclass passes both shapes to `__init__` and writes `forward` (A x) and `adjoint` (A^T y); it writes `prox` too
    where a closed form exists. Everything else follows. `operator(x)`, `pinv`, `measure` and `sample` check their
    arguments and run without autocast; `forward`, `adjoint` and `prox` trust theirs and run in the caller's context
    (see `operators.precision`). `check()` tests that the adjoint is the adjoint.

    Constants are buffers, which `.to(device)` and `.double()` move; `register_exact` keeps all their digits.
    An operator with parameters of their own for each image says for how many by `batch_size` (None or 1: one set of
    parameters serves any number of images) and names the buffers that hold them, one image after the other in the
    first dimension, by `per_image` (see `select`).
    """

    half_type: torch.dtype | None = None  # what the maps compute in, where that is a half type (`FunctionOperator`)

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
        """A x, without autocast. Raises TypeError or ValueError for an x that does not fit the operator."""
        self.check_input("x", x, self.in_shape)
        if len(x) == 0:  # which FFTs refuse
            return x.new_empty(0, *self.out_shape)
        with without_autocast(x.device):
            return super().__call__(x)

    def forward(self, x: Tensor) -> Tensor:
        """A x: `[B, *in_shape]` -> `[B, *out_shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y: `[B, *out_shape]` -> `[B, *in_shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define adjoint")

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        """argmin_u |A u - y|² + lam |u - v|², that is (A^T A + lam I)^-1 (A^T y + lam v).

        `lam >= 0` is a number or a tensor `[B]` or `[B, 1, 1, 1]`, which `per_image` makes ready to multiply images.
        Solved for the increment u - v, so `lam = 0` is the limit v + A^+ (y - A v): among the least-squares solutions,
        the one nearest to `v`. This generic version runs conjugate gradients, with `preconditioner` where there is one.
        """
        lam = per_image("lam", lam, v)
        # A preconditioner changes which of many solutions the iteration finds: none where lam = 0.
        precondition = inverse = None if is_zero(lam) else self.preconditioner(lam)
        if inverse is not None and isinstance(lam, Tensor):
            precondition = lambda residual: torch.where(lam > 0, inverse(residual), residual)  # noqa: E731
        with without_autocast(v.device):
            residual = self.observed(y) - self.forward(v)
            increment, _ = solve_least_squares(
                self.forward, self.adjoint, residual, lam, precondition, precision=self._precision(v.dtype)
            )
        return v + increment

    def preconditioner(self, lam: float | Tensor) -> Map | None:
        """A cheap symmetric positive approximation of (A^T A + lam I)^-1 for the generic `prox`, if one is known."""
        return None

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        """gain(A^T A) x, in the classes whose A^T A has a known spectrum; see `operators.spectral.spectral_filter`."""
        raise ValueError(f"the spectrum of {type(self).__name__} is not known: its class does not define `spectral`")

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y, the least-squares solution of least norm: `[B, *out_shape]` -> `[B, *in_shape]`."""
        self.check_input("y", y, self.out_shape)
        with without_autocast(y.device):
            return self.prox(y.new_zeros(len(y), *self.in_shape), y, 0.0)

    def observed(self, y: Tensor) -> Tensor:
        """y with 0 in place of entries that nothing measures: these may hold anything, NaN too."""
        return y

    def measure(self, x: Tensor, sigma_y: float | Tensor, noise: Noise | None = None) -> Tensor:
        """A x + sigma_y n, and 0 where nothing is measured; `sigma_y` is in units of x, a number or one for each image.

        `noise(out_shape)` gives standard normals `[B, *out_shape]`; without it they are torch's.
        """
        y = self(x)
        sigma_y = per_image("sigma_y", sigma_y, y)
        if is_zero(sigma_y):
            return self.observed(y)
        noise = torch_noise(y) if noise is None else noise
        return self.observed(y + sigma_y * noise(self.out_shape))

    def sample(
        self, x: Tensor | float, y: Tensor, sigma_y: float | Tensor, rho: float | Tensor, noise: Noise | None = None
    ) -> Tensor:
        """One exact sample of p(u | x, y) ∝ exp(-|A u - y|² / 2 sigma_y² - |u - x|² / 2 rho²).

        Perturb and solve (Papandreou and Yuille 2010): the prox of a perturbed `x` and a perturbed `y` is distributed
        as N(mu, (A^T A / sigma_y² + I / rho²)^-1). `sigma_y = 0` conditions on A u = y. `x` may be a number, for a
        constant image; `sigma_y` and `rho` are numbers or one for each image. `noise`, by default torch's, is called
        with `in_shape` and then, unless `sigma_y` is the number 0, with `out_shape`.
        """
        self.check_input("y", y, self.out_shape)
        if isinstance(x, Tensor):
            self.check_input("x", x, self.in_shape, images=len(y))
        check_number("rho", rho, positive=True)
        noise = torch_noise(y) if noise is None else noise
        e_x = noise(self.in_shape)
        if not is_zero(sigma_y):
            y = y + per_image("sigma_y", sigma_y, y) * noise(self.out_shape)
        sigma_y, rho = per_image("sigma_y", sigma_y, e_x), per_image("rho", rho, e_x)
        with without_autocast(y.device):
            return self.prox(x + rho * e_x, y, (sigma_y / rho) ** 2)

    def check(self, images: int | None = None) -> None:
        """Test on a few random images that A is linear and `adjoint` its adjoint: <A x, y> = <x, A^T y>.

        Raises ValueError that names what is wrong. It takes three times A and once A^T, in the operator's dtype and on
        its device, on `images` images (default: one, or as many as the operator has parameters for).
        """
        kind, images = type(self).__name__, images or self.batch_size or 1
        like = next(self._float_buffers(), torch.empty(0, device="cpu"))
        generator = torch.Generator("cpu").manual_seed(0)

        def random(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(images, *shape, generator=generator, device="cpu").to(like)

        a, b = random(self.in_shape), random(self.in_shape)
        with torch.no_grad(), full_precision(like.device):
            image_a, image_b, image_sum = self(a), self(b), self(2 * a - 3 * b)
            _check_result(f"{kind}.forward", image_a, (images, *self.out_shape))
            y = image_a + image_a.norm() / math.sqrt(image_a.numel()) * random(self.out_shape)
            back = self.adjoint(y)
            _check_result(f"{kind}.adjoint", back, (images, *self.in_shape))
        agreement = AGREEMENT[self._precision(like.dtype)]
        defect, size = (image_sum - 2 * image_a + 3 * image_b).norm(), image_a.norm() + image_b.norm()
        if not defect <= agreement * size:
            raise ValueError(
                f"{kind}.forward is not linear: A(2a - 3b) differs from 2 A(a) - 3 A(b) by {defect / size:.1e} "
                "of their size"
            )
        inner, outer = (image_a * y).sum(), (a * back).sum()
        if not (inner - outer).abs() <= agreement * image_a.norm() * y.norm():
            raise ValueError(
                f"{kind}.adjoint is not the adjoint of forward: <A a, y> = {inner:.6g} but <a, A^T y> = {outer:.6g}"
            )

    def check_input(self, name: str, value: Tensor, shape: tuple[int, ...], images: int | None = None) -> None:
        """Raise TypeError or ValueError unless `value` is `[B, *shape]` of the operator's dtype, on its device.

        B must be the number of images that the operator has parameters for, if any, and `images` if given.
        """
        kind = type(self).__name__
        if not isinstance(value, Tensor) or value.dtype not in (torch.float32, torch.float64):
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} is {found} but {kind} computes in float32 or float64 (solve takes half types too)")
        if tuple(value.shape[1:]) != shape or value.ndim != len(shape) + 1:
            raise ValueError(f"{name} has shape {written(value.shape)} but {kind} expects {written(('B', *shape))}")
        if self.batch_size not in (None, len(value)):
            raise ValueError(f"{name} holds {len(value)} images but {kind} has parameters for {self.batch_size}")
        if images not in (None, len(value)):
            raise ValueError(f"{name} holds {len(value)} images but {images} were expected")
        own = next(self._float_buffers(), value)
        if (own.dtype, own.device) != (value.dtype, value.device):
            raise ValueError(
                f"{name} is {value.dtype} on {value.device} but {kind} is {own.dtype} on {own.device}: "
                "move one of them with .to()"
            )

    def select(self, indices: list[int] | Tensor) -> LinearOperator:
        """The operator for the images `indices` of its batch; itself when all images share its parameters."""
        return self if self.batch_size is None else self._select(indices)

    def _select(self, indices: list[int] | Tensor) -> LinearOperator:
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

    def __matmul__(self, other: LinearOperator | Tensor) -> LinearOperator | Tensor:
        """`A @ B`: apply B, then A. `A @ x` is A(x)."""
        return self(other) if isinstance(other, Tensor) else Composition(self, other)

    def __rmul__(self, factor: float) -> LinearOperator:
        """`2.0 * A`."""
        return Scaled(factor, self) if isinstance(factor, numbers.Real) else NotImplemented

    def extra_repr(self) -> str:
        return f"{self.in_shape} -> {self.out_shape}"

    def _float_buffers(self) -> Iterator[Tensor]:
        return (buffer for buffer in self.buffers() if buffer.is_floating_point())

    def _precision(self, dtype: torch.dtype) -> torch.dtype:
        """The least precise type that the operator and its parts compute in for data of `dtype`."""
        halves = {getattr(part, "half_type", None) for part in self.modules()} - {None}
        return max((dtype, *halves), key=lambda each: torch.finfo(each).eps)


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
        super().__init__(inner.in_shape, outer.out_shape, common_batch_size([outer, inner]))
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

    def _select(self, indices: list[int] | Tensor) -> Composition:
        return Composition(self.outer.select(indices), self.inner.select(indices))


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

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        return self.inner.spectral(x, lambda power: gain(self.factor**2 * power))

    def observed(self, y: Tensor) -> Tensor:
        return self.inner.observed(y)

    def _select(self, indices: list[int] | Tensor) -> Scaled:
        return Scaled(self.factor, self.inner.select(indices))

    def extra_repr(self) -> str:
        return f"{self.factor:g}, {super().extra_repr()}"


def common_batch_size(operators: Sequence[LinearOperator]) -> int | None:
    """The number of images that parts of an operator have parameters for, or None. ValueError where they differ."""
    sizes = {operator.batch_size for operator in operators} - {None}
    if len(sizes) > 1:
        raise ValueError(f"cannot combine: one operator is for {min(sizes)} images, another for {max(sizes)}")
    return max(sizes, default=None)


_checked: weakref.WeakSet[LinearOperator] = weakref.WeakSet()


def check_once(operator: LinearOperator) -> None:
    """Run `check` of the operator and of its parts whose classes are not of this package, once for each object."""
    if operator in _checked:
        return
    for part in operator.modules():
        if isinstance(part, LinearOperator) and type(part).__module__.partition(".")[0] != __package__:
            part.check()
    _checked.add(operator)


def per_image(name: str, value: float | Tensor, like: Tensor) -> float | Tensor:
    """A number as a float; a tensor of one value, or of one for each image, in the shape to multiply `like [B, ...]`.

    Raises ValueError for another number of values, and for values that are negative or not finite.
    """
    check_number(name, value)
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() not in (1, len(like)):
        raise ValueError(f"{name} has {value.numel()} values but there are {len(like)} images")
    return each(value.to(like), like)


def is_zero(value: float | Tensor) -> bool:
    """Whether a value is the number 0; a tensor is not looked at, which could make the CPU wait for its device."""
    return not isinstance(value, Tensor) and value == 0


def damped_inverse(power: Tensor, lam: float | Tensor) -> Tensor:
    """1 / (power + lam) for squared singular values `power`, and 0 where both vanish to working precision.

    Below a relative singular value of 100 eps a component counts as lost: rounding errors of the data then come back
    at a hundredth of its size or less. For any `lam` above that floor nothing is cut.
    """
    denominator = power + lam
    return torch.where(denominator > rounding_floor(power), denominator, torch.inf).reciprocal()


def rounding_floor(power: Tensor) -> Tensor:
    """Up to where squared singular values of one image, in the last three dimensions, are rounding errors."""
    dims = tuple(range(-min(3, power.ndim), 0))
    return power.amax(dim=dims, keepdim=True) * (100 * torch.finfo(power.dtype).eps) ** 2


def torch_noise(like: Tensor) -> Noise:
    """Normals for the images of a batch from torch's generator of their device."""
    return lambda shape: torch.randn(len(like), *shape, dtype=like.dtype, device=like.device)


def _check_result(name: str, found: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(found.shape) != expected:
        raise ValueError(f"{name} gave {written(found.shape)} but {written(expected)} was expected")
