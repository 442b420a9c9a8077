"""Conjugate gradients on a batch: every image is a linear system of its own, with its own step lengths and its own end.

An image that has converged is frozen: its steps are zero from then on, so its result does not depend on its neighbours
in the batch, nor on how many more iterations are made: on another device than the CPU, the end is looked for at every
eighth only. Data are float32 or float64, and so are the iterates; only the maps may be less precise. Least squares take
complex data too, of real solutions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from operators.precision import real_type

Map = Callable[[Tensor], Tensor]

# By the type that the maps compute in: the gradient relative to the first one, and the root of what the objective can
# still gain relative to the data.
TOLERANCE = {torch.bfloat16: 1e-3, torch.float16: 1e-4, torch.float32: 1e-6, torch.float64: 1e-12}
MISFIT = {torch.bfloat16: 1e-2, torch.float16: 1e-2, torch.float32: 1e-3, torch.float64: 1e-9}
MAX_ITERATIONS = 1000
PATIENCE = 100  # iterations that least squares run for TOLERANCE; then MISFIT is enough
CHECKED = 8  # iterations between two looks at a device, which make the CPU wait for it


def solve_spd(
    apply: Map,
    b: Tensor,
    precondition: Map | None = None,
    tol: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[Tensor, int]:
    """Solve M x = b for each image by preconditioned conjugate gradients, from x = 0.

    Arguments:
        apply: x -> M x, symmetric positive definite, acting on each image of a batch `[B, ...]` by itself.
        b: right-hand sides `[B, ...]`.
        precondition: r -> an approximation of M^-1 r, symmetric positive definite.
        tol: stop an image once |M x - b| <= tol |b|; by default 1e-6 in float32, 1e-12 in float64.
        max_iterations: give up then, with a `RuntimeWarning`.

    Returns the solution `[B, ...]` and the number of iterations made. Raises TypeError for `b` of another type than
    float32 and float64.
    """
    _check_type(b)
    tol = TOLERANCE[b.dtype] if tol is None else tol
    precondition = precondition or (lambda residual: residual)
    x, residual = torch.zeros_like(b), b
    target = tol * _dot(b, b).sqrt()
    direction = z = precondition(residual)
    gamma = _dot(residual, z)
    for iteration in range(max_iterations):
        active = _dot(residual, residual).sqrt() > target
        if _ended(active, iteration):
            return x, iteration
        image = apply(direction)
        step = _ratio(gamma, _dot(direction, image), active)
        x = x + each(step, x) * direction
        residual = residual - each(step, residual) * image
        z = precondition(residual)
        gamma, previous = _dot(residual, z), gamma
        direction = z + each(_ratio(gamma, previous, active), z) * direction
    _warn_of(_dot(residual, residual).sqrt() > target, max_iterations, tol)
    return x, max_iterations


def solve_least_squares(
    forward: Map,
    adjoint: Map,
    r: Tensor,
    lam: float | Tensor,
    precondition: Map | None = None,
    tol: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    precision: torch.dtype | None = None,
) -> tuple[Tensor, int]:
    """argmin_d |A d - r|² + lam |d|² for each image by CGLS (Björck 1996, section 7.4), from d = 0.

    Applies A and A^T in turn and never the normal matrix, so that rounding errors are not squared. With `lam = 0` and
    no preconditioner the iterates stay in the range of A^T and tend to A^+ r.

    Arguments:
        forward, adjoint: d -> A d and r -> A^T r on batches.
        r: data `[B, ...]`.
        lam: damping, a number or a tensor of one value, or of one for each image.
        precondition: an approximation of (A^T A + lam I)^-1, symmetric positive definite.
        tol: stop an image once |A^T (r - A d) - lam d| <= tol |A^T r|, or once that gradient is down to its own
            rounding error, eps |A| |r - A d|. By default as in `solve_spd`, and after 100 iterations less will do, see
            below.
        max_iterations: give up then, with a `RuntimeWarning`.
        precision: the type that the maps compute in, where it is less precise than that of r: its digits are enough.

    Slow convergence means that A hardly sees what is still missing: thousands of iterations would fit the last digits
    of the data. Unless `tol` is given, an image that has taken 100 iterations therefore stops once the objective is
    within (1e-3 |r|)² of its minimum (float32; 1e-9 in float64): the solution explains data that differ from r by a
    thousandth. The distance to the minimum is estimated by what the last quarter of the iterations gained, step |g|²
    each (Hestenes and Stiefel 1952, theorem 6:1).

    Returns the solution and the number of iterations made. Raises ValueError for a tensor `lam` of another size,
    TypeError for `r` of another type than float32 and float64.
    """
    _check_type(r)
    precision = precision or real_type(r.dtype)
    tol, patience = (TOLERANCE[precision], PATIENCE) if tol is None else (tol, max_iterations)
    eps = torch.finfo(precision).eps
    precondition = precondition or (lambda residual: residual)
    residual, gradient = r, adjoint(r)
    if isinstance(lam, Tensor):
        if lam.numel() not in (1, len(r)):
            raise ValueError(f"lam has {lam.numel()} values but there are {len(r)} images")
        lam = each(lam, gradient)
    damping = lam.flatten() if isinstance(lam, Tensor) else lam
    d = torch.zeros_like(gradient)
    target = tol * _dot(gradient, gradient).sqrt()
    norm = torch.zeros_like(target)  # a lower bound of |A| that tightens as the iteration goes
    enough = MISFIT[precision] ** 2 * _dot(r, r)
    gains, explained = [], torch.zeros_like(target, dtype=torch.bool)
    direction = z = precondition(gradient)
    gamma = _dot(gradient, z)
    for iteration in range(max_iterations):
        rounding = eps * norm * _dot(residual, residual).sqrt()
        if iteration >= patience:
            explained |= torch.stack(gains[-(iteration // 4) :]).sum(0) <= enough
        active = ~explained & (_dot(gradient, gradient).sqrt() > torch.maximum(target, rounding))
        if _ended(active, iteration):
            return d, iteration
        image = forward(direction)
        energy, image_energy = _dot(direction, direction), _dot(image, image)
        norm = torch.maximum(norm, _ratio(image_energy, energy, active).sqrt())
        step = _ratio(gamma, image_energy + damping * energy, active)
        gains.append(step * gamma)
        d = d + each(step, d) * direction
        residual = residual - each(step, residual) * image
        gradient = adjoint(residual) - lam * d
        z = precondition(gradient)
        gamma, previous = _dot(gradient, z), gamma
        direction = z + each(_ratio(gamma, previous, active), z) * direction
    _warn_of(active, max_iterations, tol)
    return d, max_iterations


def _check_type(data: Tensor) -> None:
    if real_type(data.dtype) not in (torch.float32, torch.float64):
        raise TypeError(f"the data are {data.dtype} but must be torch.float32 or torch.float64")


def _ended(active: Tensor, iteration: int) -> bool:
    """Whether no image is active, as far as it is looked at after so many iterations."""
    return (active.device.type == "cpu" or iteration % CHECKED == 0) and not active.any()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The real scalar product of each image `[B]`."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.flatten(1).sum(1)


def _ratio(a: Tensor, b: Tensor, active: Tensor) -> Tensor:
    """a / b where the system is active, 0 where it is frozen or has nothing left to do."""
    return torch.where(active & (b > 0), a / torch.where(b > 0, b, 1), 0)


def each(value: Tensor, like: Tensor) -> Tensor:
    """One value for each image `[B]`, with the trailing dimensions to multiply `like`."""
    return value.reshape(-1, *[1] * (like.ndim - 1))


def _warn_of(unfinished: Tensor, iterations: int, tol: float) -> None:
    if unfinished.any():
        warnings.warn(
            f"conjugate gradients stopped after {iterations} iterations with {int(unfinished.sum())} of "
            f"{len(unfinished)} images above the tolerance {tol:g}",
            RuntimeWarning,
            stacklevel=3,
        )
