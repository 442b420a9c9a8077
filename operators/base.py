"""Linear measurements `y = A x` of images: the base class of all operators, products `A @ B` and multiples `2 * A`."""

from __future__ import annotations

import math
import numbers
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from operators.cg import Map, solve_least_squares
from operators.checks import check_number, written
from operators.noise import Noise, is_zero, normals, per_image, torch_noise
from operators.operator import Operator
from operators.precision import full_precision, without_autocast
from operators.truncated import truncated_normal

Gain = Callable[[Tensor], Tensor]  # eigenvalues of A^T A -> factors, element by element
# By the type that A and A^T compute in: the relative error in `check` that rounding may explain.
AGREEMENT = {torch.bfloat16: 5e-2, torch.float16: 5e-3, torch.float32: 1e-4, torch.float64: 1e-10}


class LinearOperator(Operator):
    """A linear map A from images `x [B, *in_shape]` to measurements `y [B, *out_shape]`, in float32 or float64.

    A subclass passes both shapes to `__init__` (see `Operator`, also for parameters per image) and writes `forward`
    (A x) and `adjoint` (A^T y, of complex measurements the real part of A^H y); it writes `prox` too where a closed
    form exists. Everything else follows. `operator(x)`, `pinv`, `measure` and `sample` check their arguments and run
    without autocast; `forward`, `adjoint` and `prox` trust theirs and run in the caller's context (see
    `operators.precision`). `check()` tests that the adjoint is the adjoint.
    """

    half_type: torch.dtype | None = None  # what the maps compute in, where that is a half type (`FunctionOperator`)

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

    @property
    def row_power(self) -> float | None:
        """s, where A A^T = s I on what is observed (rows that are orthogonal and of one norm); None where not."""
        return None

    def spectral(self, x: Tensor, gain: Gain) -> Tensor:
        """gain(A^T A) x, in the classes whose A^T A has a known spectrum; see `operators.spectral.spectral_filter`."""
        raise ValueError(f"the spectrum of {type(self).__name__} is not known: its class does not define `spectral`")

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y, the least-squares solution of least norm: `[B, *out_shape]` -> `[B, *in_shape]`."""
        self.check_measurement(y)
        with without_autocast(y.device):
            return self.prox(self.blank(y), y, 0.0)

    def sample(
        self, x: Tensor | float, y: Tensor, sigma_y: float | Tensor, rho: float | Tensor, noise: Noise | None = None
    ) -> Tensor:
        """One exact sample of p(u | x, y) ∝ exp(-|A u - y|² / 2 sigma_y² - |u - x|² / 2 rho²).

        Perturb and solve (Papandreou and Yuille 2010): the prox of a perturbed `x` and a perturbed `y` is distributed
        as N(mu, (A^T A / sigma_y² + I / rho²)^-1). `sigma_y = 0` conditions on A u = y. `x` may be a number, for a
        constant image; `sigma_y` and `rho` are numbers or one for each image. `noise`, by default torch's, is called
        with `in_shape` and then, unless `sigma_y` is the number 0, with `out_shape`.
        """
        self.check_measurement(y)
        if isinstance(x, Tensor):
            self.check_input("x", x, self.in_shape, images=len(y))
        check_number("rho", rho, positive=True)
        noise = torch_noise(y) if noise is None else noise
        e_x = noise(self.in_shape)
        if not is_zero(sigma_y):
            y = y + per_image("sigma_y", sigma_y, y) * normals(noise, y)
        sigma_y, rho = per_image("sigma_y", sigma_y, e_x), per_image("rho", rho, e_x)
        with without_autocast(y.device):
            return self.prox(x + rho * e_x, y, (sigma_y / rho) ** 2)

    def sample_within(self, x: Tensor, low: Tensor, high: Tensor, rho: float, noise: Noise) -> Tensor:
        """One exact sample of N(u; x, rho² I) given `low <= A u <= high`: truncated normals along the rows of A.

        Raises ValueError where `row_power` is not known.
        """
        power = self._orthogonal_rows()
        u = x + rho * noise(self.in_shape)
        c = truncated_normal(self.forward(x), rho * math.sqrt(power), low, high, noise(self.out_shape))
        return u + self.adjoint(self.observed(c - self.forward(u))) / power

    def project_within(self, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The image nearest to x with `low <= A u <= high`. Raises ValueError where `row_power` is not known."""
        power, c = self._orthogonal_rows(), self.forward(x)
        return x + self.adjoint(self.observed(c.clamp(low, high) - c)) / power

    def _orthogonal_rows(self) -> float:
        if self.row_power is None:
            raise ValueError(
                f"{type(self).__name__} measures mixtures whose rounding errors cannot be told apart: "
                "quantized noise needs an operator with orthogonal rows (row_power)"
            )
        return self.row_power

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
            y = image_a + image_a.norm() / math.sqrt(image_a.numel()) * normals(random, image_a)
            back = self.adjoint(y)
            _check_result(f"{kind}.adjoint", back, (images, *self.in_shape))
        agreement = AGREEMENT[self._precision(like.dtype)]
        defect, size = (image_sum - 2 * image_a + 3 * image_b).norm(), image_a.norm() + image_b.norm()
        if not defect <= agreement * size:
            raise ValueError(
                f"{kind}.forward is not linear: A(2a - 3b) differs from 2 A(a) - 3 A(b) by {defect / size:.1e} "
                "of their size"
            )
        inner, outer = (image_a.conj() * y).real.sum(), (a * back).sum()
        if not (inner - outer).abs() <= agreement * image_a.norm() * y.norm():
            raise ValueError(
                f"{kind}.adjoint is not the adjoint of forward: <A a, y> = {inner:.6g} but <a, A^T y> = {outer:.6g}"
            )

    def __matmul__(self, other: LinearOperator | Tensor) -> LinearOperator | Tensor:
        """`A @ B`: apply B, then A. `A @ x` is A(x)."""
        return self(other) if isinstance(other, Tensor) else Composition(self, other)

    def __rmul__(self, factor: float) -> LinearOperator:
        """`2.0 * A`."""
        return Scaled(factor, self) if isinstance(factor, numbers.Real) else NotImplemented

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
        if inner.complex_measurements:
            raise ValueError(f"cannot compose: {type(inner).__name__} gives complex values")
        super().__init__(inner.in_shape, outer.out_shape, common_batch_size([outer, inner]))
        self.outer, self.inner = outer, inner
        self.complex_measurements = outer.complex_measurements
        self.pointwise = outer.pointwise and inner.pointwise

    @property
    def row_power(self) -> float | None:
        outer, inner = self.outer.row_power, self.inner.row_power
        return None if outer is None or inner is None or not self.outer.pointwise else outer * inner

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
        self.complex_measurements, self.pointwise = inner.complex_measurements, inner.pointwise

    @property
    def row_power(self) -> float | None:
        return None if self.inner.row_power is None else self.factor**2 * self.inner.row_power

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


def _check_result(name: str, found: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(found.shape) != expected:
        raise ValueError(f"{name} gave {written(found.shape)} but {written(expected)} was expected")
