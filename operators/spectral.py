"""Functions of A^T A: `f(A^T A) x` for the operators whose spectrum is known.

Methods that treat every singular value of A on its own (DDRM, DDNM+) need no more than this: with the singular value
decomposition A = U S V^T, scaling the coordinates V^T x by `f(s²)` is `V f(S²) V^T x`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fft import irfft2, rfft2

from operators.base import LinearOperator, Scaled, rounding_floor
from operators.convolution import CircularConvolution
from operators.decimation import BlurDecimate
from operators.grayscale import Grayscale
from operators.identity import Identity
from operators.mask import Mask
from operators.precision import without_autocast
from operators.separable import SeparableOperator
from operators.transform import MaskedFourier, MaskedHadamard

Gain = Callable[[Tensor], Tensor]


def spectral_filter(operator: LinearOperator, x: Tensor, gain: Gain) -> Tensor:
    """`gain(A^T A) x` for images `x [B, *in_shape]`.

    `gain` maps eigenvalues of A^T A (squared singular values, any shape) to factors, element by element. Eigenvalues
    that are lost to rounding, below (100 eps)² of the largest (as in `damped_inverse`), reach it as exactly 0.

    Raises ValueError for an operator whose spectrum is not known: convolutions without a circular boundary,
    compositions, functions.
    """
    for kind in type(operator).__mro__:
        if kind in _FILTERS:
            with without_autocast(x.device):
                return _FILTERS[kind](operator, x, lambda power: gain(without_rounding(power)))
    known = ", ".join(kind.__name__ for kind in _FILTERS)
    raise ValueError(f"the spectrum of {type(operator).__name__} is not known: it must be one of {known}")


def without_rounding(power: Tensor) -> Tensor:
    """Squared singular values with those that are rounding errors set to 0."""
    return torch.where(power > rounding_floor(power), power, 0)


def _identity(operator: Identity, x: Tensor, gain: Gain) -> Tensor:
    return gain(x.new_ones(1, 1)) * x


def _mask(operator: Mask, x: Tensor, gain: Gain) -> Tensor:
    return gain(operator.mask) * x


def _grayscale(operator: Grayscale, x: Tensor, gain: Gain) -> Tensor:
    power = operator.weights.square().sum().reshape(1, 1)
    null = gain(torch.zeros_like(power))
    seen = operator.adjoint(operator(x)) / power  # the part of x along the weights
    return null * x + (gain(power) - null) * seen


def _separable(operator: SeparableOperator, x: Tensor, gain: Gain) -> Tensor:
    power = operator.singular.square()
    null = gain(torch.zeros_like(power[:1, :1]))
    seen = operator.vt_v @ x @ operator.vt_h.mT
    return null * x + operator.vt_v.mT @ ((gain(power) - null) * seen) @ operator.vt_h


def _circular(operator: CircularConvolution, x: Tensor, gain: Gain) -> Tensor:
    return irfft2(gain(operator.power()) * rfft2(x), s=operator.in_shape[1:])


def _fourier(operator: MaskedFourier, x: Tensor, gain: Gain) -> Tensor:
    return irfft2(gain(operator.power) * rfft2(x), s=operator.in_shape[1:])


def _hadamard(operator: MaskedHadamard, x: Tensor, gain: Gain) -> Tensor:
    coefficients = operator.vertical @ x @ operator.horizontal
    return operator.vertical @ (gain(operator.mask) * coefficients) @ operator.horizontal


def _blur_decimate(operator: BlurDecimate, x: Tensor, gain: Gain) -> Tensor:
    """`f(0) x + A^T g(A A^T) A x` with `g(p) = (f(p) - f(0)) / p`: A A^T has the known spectrum."""
    power = without_rounding(operator.folded_power)
    null = gain(torch.zeros_like(power[..., :1, :1]))
    ratio = torch.where(power > 0, (gain(power) - null) / torch.where(power > 0, power, 1), 0)
    small = irfft2(ratio * rfft2(operator(x)), s=operator.out_shape[1:])
    return null * x + operator.adjoint(small)


def _scaled(operator: Scaled, x: Tensor, gain: Gain) -> Tensor:
    return spectral_filter(operator.inner, x, lambda power: gain(operator.factor**2 * power))


_FILTERS: dict[type[LinearOperator], Callable[..., Tensor]] = {
    Identity: _identity,
    Mask: _mask,
    Grayscale: _grayscale,
    SeparableOperator: _separable,
    CircularConvolution: _circular,
    BlurDecimate: _blur_decimate,
    MaskedFourier: _fourier,
    MaskedHadamard: _hadamard,
    Scaled: _scaled,
}
