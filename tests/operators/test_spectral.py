"""Functions of A^T A against the eigendecomposition of the dense matrix."""

from __future__ import annotations

import pytest
import torch
from operator_cases import BATCH, CASES, dense, random
from torch import Tensor

from operators import Convolution, Identity, LinearOperator, Mask, Scaled
from operators.spectral import spectral_filter


def is_known(op: LinearOperator) -> bool:
    return is_known(op.inner) if isinstance(op, Scaled) else type(op).spectral is not LinearOperator.spectral


KNOWN = [name for name, make in CASES.items() if is_known(make())]


@pytest.fixture(params=KNOWN, ids=str)
def op(request: pytest.FixtureRequest) -> LinearOperator:
    return CASES[request.param]().double()


def gain(power: Tensor) -> Tensor:
    return (1 + power).rsqrt() + 0.3 * (-2 * power).exp()


def test_a_function_of_the_spectrum(op):
    x = random(BATCH, *op.in_shape, seed=3)
    filtered = spectral_filter(op, x, gain).flatten(1)
    for i in range(BATCH):
        a = dense(op, i)
        values, vectors = torch.linalg.eigh(a.T @ a)
        expected = vectors @ (gain(values) * (vectors.T @ x[i].flatten()))
        assert (filtered[i] - expected).abs().max() < 1e-11


def test_the_pseudo_inverse_is_one(op):
    """`A^+ = f(A^T A) A^T` with f(p) = 1 / p and f(0) = 0: zero eigenvalues reach the gain as exact zeros."""
    y = random(BATCH, *op.out_shape, seed=4)

    def inverse(power: Tensor) -> Tensor:
        return torch.where(power > 0, 1 / torch.where(power > 0, power, 1), 0)

    expected = op.pinv(y)
    error = (spectral_filter(op, op.adjoint(y), inverse) - expected).abs().max()
    assert error < 1e-6 * (1 + expected.abs().max())


def test_a_projection_onto_the_null_space(op):
    x = random(BATCH, *op.in_shape, seed=5)
    null = spectral_filter(op, x, lambda power: (power == 0).to(power))
    assert op(null).abs().max() < 1e-10
    assert (x - null - op.pinv(op(x))).abs().max() < 1e-6


def test_single_precision_keeps_its_digits():
    for name in ("cubic 4x", "circular odd", "blur and decimate 2x", "grayscale rec601"):
        exact, op = CASES[name]().double(), CASES[name]().float()
        x = random(BATCH, *op.in_shape, seed=6)
        error = spectral_filter(op, x.float(), gain).double() - spectral_filter(exact, x, gain)
        assert error.abs().max() < 1e-5


def test_an_unknown_spectrum_is_refused():
    x = torch.zeros(1, 1, 6, 6)
    for op in (Convolution((1, 6, 6), torch.ones(3, 3) / 9), Mask((1, 6, 6), torch.ones(6, 6)) @ Identity((1, 6, 6))):
        with pytest.raises(ValueError, match=f"spectrum of {type(op).__name__} is not known"):
            spectral_filter(op, x, gain)
