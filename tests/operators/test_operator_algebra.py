"""Composition, users' own operators and their check, samples by Monte Carlo, gradients, and the errors of calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from operator_cases import BATCH, CASES, dense, kernel, masks, random

from operators import (
    BlurDecimate,
    CircularConvolution,
    FunctionOperator,
    GaussianBlur,
    Grayscale,
    Identity,
    LinearOperator,
    Mask,
    MaskedFourier,
    MaskedHadamard,
    Resize,
    SeparableOperator,
    Stack,
    random_mask,
)
from operators.base import check_once


@pytest.fixture(params=CASES, ids=str)
def op(request: pytest.FixtureRequest) -> LinearOperator:
    return CASES[request.param]()


class Flip(LinearOperator):
    """The least a user writes."""

    def __init__(self):
        super().__init__((1, 4, 5), (1, 4, 5))

    def forward(self, x):
        return x.flip(3)

    def adjoint(self, y):
        return y.flip(3)


def test_composition_is_the_product_of_matrices():
    outer, inner = Resize((2, 6, 8), 2).double(), CircularConvolution((2, 6, 8), kernel(3, 3)).double()
    assert (dense(outer @ inner) - dense(outer) @ dense(inner)).abs().max() < 1e-14
    three = Grayscale((2, 3, 4)).double() @ outer @ inner
    assert three.out_shape == (1, 3, 4)
    assert three.in_shape == (2, 6, 8)


def test_an_operator_times_images_is_the_operator_of_them():
    op, x = Resize((1, 6, 8), 2).double(), random(2, 1, 6, 8)
    assert torch.equal(op @ x, op(x))


def test_a_composition_measures_as_its_outer_operator():
    """No noise where nothing is measured, whatever is measured of it; and the noise comes after both."""
    mask, blurred = random_mask((5, 5), 0.5, seed=0), CircularConvolution((1, 5, 5), kernel(3, 3)).double()
    op, x, noise = Mask((1, 5, 5), mask).double() @ blurred, random(2, 1, 5, 5), random(2, 1, 5, 5, seed=1)
    assert (op.measure(x, 0.5, lambda shape: noise) - mask * (blurred(x) + 0.5 * noise)).abs().max() < 1e-14


def test_noise_is_torchs_unless_given():
    op, x = Resize((1, 6, 6), 2), random(3, 1, 6, 6).float()
    torch.manual_seed(3)
    y, u = op.measure(x, 0.5), op.sample(x, op(x), 0.2, 0.5)
    torch.manual_seed(3)
    n, e1, e2 = (torch.randn(3, *shape) for shape in (op.out_shape, op.in_shape, op.out_shape))
    given = iter((e1, e2))
    assert torch.equal(y, op.measure(x, 0.5, lambda shape: n))
    assert torch.equal(u, op.sample(x, op(x), 0.2, 0.5, lambda shape: next(given)))


def test_which_constants_are_of_one_image_is_said_and_not_guessed():
    class Sum(LinearOperator):
        def __init__(self, names):
            super().__init__((3, 2, 2), (3, 2, 2), 3, names)
            self.register_exact("own", torch.arange(1.0, 4).reshape(3, 1, 1, 1))
            self.register_buffer("shared", torch.tensor([1.0, 10, 100]))  # as many as there are images

        def forward(self, x):
            return self.own * x * self.shared[:, None, None]

    x = torch.ones(1, 3, 2, 2)
    assert torch.equal(Sum(["own"]).select([1])(x)[0, :, 0, 0], torch.tensor([2.0, 20, 200]))
    with pytest.raises(ValueError, match="Sum is for 3 images but names no buffers per_image"):
        Sum([]).select([1])


def test_composition_moves_and_selects_its_parts():
    op = Mask((1, 5, 5), masks(BATCH, 1, 5, 5)) @ CircularConvolution((1, 5, 5), kernel(3, 3))
    assert {b.dtype for b in op.double().buffers()} == {torch.float64}
    x = random(BATCH, 1, 5, 5)
    assert torch.equal(op.select([2, 0])(x[[2, 0]]), op(x)[[2, 0]])
    assert op.batch_size == BATCH
    assert op.select([1, 1, 1, 1]).batch_size == 4


def test_composition_errors():
    with pytest.raises(ValueError, match=r"Resize gives \(3, 4, 4\) but Identity takes \(3, 8, 8\)"):
        Identity((3, 8, 8)) @ Resize((3, 8, 8), 2)
    with pytest.raises(ValueError, match="one operator is for 2 images, another for 3"):
        Mask((1, 4, 4), masks(2, 1, 4, 4)) @ Mask((1, 4, 4), masks(3, 1, 4, 4))
    with pytest.raises(TypeError, match="cannot compose Identity @ float: both must be operators"):
        Identity((3, 8, 8)) @ 2.0


def test_a_minimal_operator_has_everything():
    op, v, y = Flip(), random(2, 1, 4, 5), random(2, 1, 4, 5, seed=1)
    assert (op.prox(v, y, 0.5) - (y.flip(3) + 0.5 * v) / 1.5).abs().max() < 1e-12
    assert (op.pinv(y) - y.flip(3)).abs().max() < 1e-12
    with pytest.raises(ValueError, match=r"x has shape \[2, 1, 5, 4\] but Flip expects \[B, 1, 4, 5\]"):
        op(v.mT)


def test_function_operator_by_autograd():
    weight = random(4, 2, 3, 3)
    op = FunctionOperator(
        (2, 7, 6), lambda x: torch.conv2d(x, weight, stride=2), example=torch.zeros(1, 2, 7, 6).double()
    )
    y = random(2, *op.out_shape)
    expected = torch.conv_transpose2d(y, weight, stride=2, output_padding=(0, 1))
    assert op.out_shape == (4, 3, 2)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            assert (op.adjoint(y.clone()) - expected).abs().max() < 1e-13


def test_function_operator_refuses_what_is_not_linear():
    shape = (1, 4, 4)
    with pytest.raises(ValueError, match=r"forward is not linear: A\(2a - 3b\) differs from 2 A\(a\) - 3 A\(b\) by"):
        FunctionOperator(shape, lambda x: x + 1)
    with pytest.raises(ValueError, match="forward is not linear"):
        FunctionOperator(shape, torch.relu)
    with pytest.raises(ValueError, match="forward is not linear"):
        FunctionOperator(shape, lambda x: x * torch.nan)
    with pytest.raises(ValueError, match="adjoint is not the adjoint of forward"):
        FunctionOperator(shape, lambda x: x.cumsum(3), lambda y: y.cumsum(3))
    with pytest.raises(ValueError, match=r"forward gave \[4, 4\] for a batch of 1: expected"):
        FunctionOperator(shape, lambda x: x[0, 0])
    with pytest.raises(ValueError, match="autograd cannot differentiate forward: pass adjoint as well"):
        FunctionOperator(shape, lambda x: torch.from_numpy(np.flip(x.detach().numpy(), 3).copy()))
    with pytest.raises(ValueError, match=r"example has shape \[1, 4\] but must be \[B, 1, 4, 4\]"):
        FunctionOperator(shape, lambda x: x, example=torch.zeros(1, 4))


class Wrong(Flip):
    """Flip with another forward or adjoint; counts the calls of the forward."""

    def __init__(self, forward=None, adjoint=None):
        super().__init__()
        self.calls, self.other, self.other_adjoint = 0, forward, adjoint

    def forward(self, x):
        self.calls += 1
        return self.other(x) if self.other else super().forward(x)

    def adjoint(self, y):
        return self.other_adjoint(y) if self.other_adjoint else super().adjoint(y)


DEFECTS = {
    "adjoint": (lambda: Wrong(adjoint=lambda y: y), r"Wrong.adjoint is not the adjoint of forward: <A a, y> = "),
    "size": (lambda: Wrong(adjoint=lambda y: 1.001 * y.flip(3)), "Wrong.adjoint is not the adjoint of forward"),
    "affine": (lambda: Wrong(lambda x: x.flip(3) + 0.1), r"Wrong.forward is not linear: A\(2a - 3b\) differs from"),
    "shape": (lambda: Wrong(lambda x: x[:, 0]), r"Wrong.forward gave \[1, 4, 5\] but \[1, 1, 4, 5\] was expected"),
    "adjoint's shape": (
        lambda: Wrong(adjoint=lambda y: y.mT),
        r"Wrong.adjoint gave \[1, 1, 5, 4\] but \[1, 1, 4, 5\] was expected",
    ),
    "outside of the range": (  # right for what forward gives, wrong for a measurement with noise
        lambda: Wrong(lambda x: x * (torch.arange(5) > 1), lambda y: y),
        "Wrong.adjoint is not the adjoint of forward",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_wrong_operator_is_refused(name):
    make, message = DEFECTS[name]
    for whole in (lambda part: part, lambda part: 2 * part, lambda part: Stack([part @ Identity((1, 4, 5))])):
        with pytest.raises(ValueError, match=message):
            check_once(whole(make()))
        with pytest.raises(ValueError, match=r"is not the adjoint|is not linear|was expected"):
            whole(make()).check()


def test_every_operator_passes_its_check(op):
    op.check()
    op.double().check()
    (1e-6 * op).check()


def test_an_operator_is_checked_once_and_only_where_a_user_wrote_it():
    op, twice = Wrong(), 2 * Wrong()
    for _ in range(3):
        check_once(op)
        check_once(twice)
    assert op.calls == twice.inner.calls == 3  # A(a), A(b), A(2a - 3b)
    ours = Resize((1, 6, 6), 2)
    ours.forward = lambda x: pytest.fail("an operator of the package was checked")
    check_once(ours)


def test_sample_by_monte_carlo():
    """Mean and covariance of independent samples, each within 5 standard errors of its entry."""
    count, rho, sigma_y = 20000, 0.8, 0.5
    op = (
        Mask((1, 4, 5), random_mask((4, 5), 0.4, seed=0)).double()
        @ CircularConvolution((1, 4, 5), kernel(3, 3)).double()
    )
    x, y, a = random(1, 1, 4, 5), random(1, 1, 4, 5, seed=1), dense(op)
    covariance = torch.linalg.inv(a.T @ a / sigma_y**2 + torch.eye(20, dtype=torch.float64) / rho**2)
    mean = covariance @ (a.T @ y.flatten() / sigma_y**2 + x.flatten() / rho**2)
    generator = torch.Generator().manual_seed(0)
    noise = lambda shape: torch.randn(count, *shape, generator=generator, dtype=torch.float64)  # noqa: E731
    u = op.sample(x.expand(count, -1, -1, -1), y.expand(count, -1, -1, -1), sigma_y, rho, noise).flatten(1)
    variance = covariance.diag()
    assert ((u.mean(0) - mean).abs() < 5 * (variance / count).sqrt()).all()
    standard_error = ((torch.outer(variance, variance) + covariance.square()) / count).sqrt()
    assert ((u.T.cov() - covariance).abs() < 5 * standard_error).all()


def test_sample_from_a_constant_and_without_measurement_noise():
    op, y = Resize((1, 6, 6), 2).double(), random(2, 1, 3, 3)
    noise = lambda shape: random(2, *shape, seed=len(shape))  # noqa: E731
    zero = torch.zeros(2, 1, 6, 6, dtype=torch.float64)
    assert torch.equal(op.sample(0, y, 0.1, 0.5, noise), op.sample(zero, y, 0.1, 0.5, noise))
    u = op.sample(0, y, 0.0, 0.5, noise)
    assert (op(u) - y).abs().max() < 1e-12
    assert (u - op.pinv(y)).abs().max() > 0.1


def test_sample_with_noise_levels_of_their_own():
    op, y = Resize((1, 6, 6), 2).double(), random(2, 1, 3, 3)
    noise = lambda shape: random(2, *shape, seed=5)  # noqa: E731
    sigma_y, rho = torch.tensor([0.1, 0.4]), torch.tensor([1.0, 0.2])
    together = op.sample(0, y, sigma_y, rho, noise)
    for i in range(2):
        one = op.sample(0, y, float(sigma_y[i]), float(rho[i]), noise)[i]
        assert (together[i] - one).abs().max() < 1e-6  # the float32 noise levels


def test_prox_is_differentiable():
    for op in (Resize((1, 4, 4), 2), CircularConvolution((1, 4, 3), kernel(3, 3)), Flip()):
        v, y = random(1, *op.in_shape).requires_grad_(), random(1, *op.out_shape, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda v, y, op=op: op.double().prox(v, y, 0.3), (v, y))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda op, x: op(x[0]), ValueError, r"x has shape \[3, 8, 8\] but Resize expects \[B, 3, 8, 8\]"),
        (lambda op, x: op.pinv(x), ValueError, r"y has shape \[2, 3, 8, 8\] but Resize expects \[B, 3, 4, 4\]"),
        (lambda op, x: op.pinv(op(x).double()), ValueError, "y is torch.float64 on cpu but Resize is torch.float32"),
        (lambda op, x: op.sample(0, op(x).double(), 0.1, 1), ValueError, "y is torch.float64 on cpu but Resize is"),
        (lambda op, x: op.prox(x, op(x), -0.1), ValueError, "lam is -0.1 but must be finite and not negative"),
        (lambda op, x: op.prox(x, op(x), torch.ones(3)), ValueError, "lam has 3 values but there are 2 images"),
        (
            lambda op, x: op.prox(x, op(x), torch.tensor([0.1, -1])),
            ValueError,
            r"lam is \[0.1.*, -1.0\] but must be finite and not negative",
        ),
        (lambda op, x: op.prox(x, op(x), torch.tensor(torch.nan)), ValueError, "lam is nan but must be finite"),
        (lambda op, x: op.measure(x, torch.tensor([0.1, torch.inf])), ValueError, "sigma_y is .*inf.* but must be"),
        (
            lambda op, x: op.sample(x, op(x), 0.1, torch.tensor([0.1, 0.0])),
            ValueError,
            r"rho is \[0.1.*, 0.0\] but must be positive and finite",
        ),
        (
            lambda op, x: op.sample(x, op(x), 0.1, float("inf")),
            ValueError,
            "rho is inf but must be positive and finite",
        ),
        (
            lambda op, x: op(x.double()),
            ValueError,
            "x is torch.float64 on cpu but Resize is torch.float32 on cpu: move",
        ),
        (lambda op, x: op(x.to(torch.uint8)), TypeError, "x is torch.uint8 but Resize computes in float32 or float64"),
        (lambda op, x: op(x.numpy()), TypeError, "x is ndarray but Resize computes in float32 or float64"),
        (lambda op, x: op.measure(x, -1, torch.zeros), ValueError, "sigma_y is -1 but must be finite and not negative"),
        (lambda op, x: op.sample(x, op(x), 0.1, 0, torch.zeros), ValueError, "rho is 0 but must be positive"),
        (
            lambda op, x: op.sample(x[:1], op(x), 0.1, 1, torch.zeros),
            ValueError,
            "x holds 1 images but 2 were expected",
        ),
    ],
)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(Resize((3, 8, 8), 2), torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Identity((3, 4.5, 4)), r"in_shape is \(3, 4.5, 4\) but must be positive integers"),
        (lambda: Resize((8, 8), 2), r"in_shape is \(8, 8\) but must be that of an image, \(channels, height, width\)"),
        (lambda: GaussianBlur((8, 8), 2), r"in_shape is \(8, 8\) but must be that of an image"),
        (lambda: CircularConvolution((8, 8), kernel(3, 3)), r"in_shape is \(8, 8\) but must be that of an image"),
        (lambda: BlurDecimate((8, 8), kernel(3, 3), 2), r"in_shape is \(8, 8\) but must be that of an image"),
        (lambda: Grayscale((8, 8)), r"in_shape is \(8, 8\) but must be that of an image"),
        (lambda: Mask((8, 8), torch.ones(8, 8)), r"in_shape is \(8, 8\) but must be that of an image"),
        (lambda: MaskedFourier((1, 2, 8, 8), torch.ones(8, 8)), r"in_shape is \(1, 2, 8, 8\) but must be that of an"),
        (lambda: SeparableOperator((8, 8), np.eye(8), np.eye(8)), r"in_shape is \(8, 8\) but must be that of an image"),
        (lambda: Identity((3, 0, 4)), r"in_shape is \(3, 0, 4\) but must be positive integers"),
        (lambda: Grayscale((3, 4, 4), "luma"), "weights is 'luma' but must be mean, rec601 or one number"),
        (lambda: Grayscale((4, 4, 4), "rec601"), "weights has 3 numbers but the image has 4 channels"),
        (lambda: Grayscale((2, 4, 4), (0.0, 0.0)), "must be finite and not all zero"),
        (
            lambda: SeparableOperator((1, 4, 5), np.ones((2, 5)), np.ones((2, 5))),
            r"vertical map has shape \(2, 5\) but",
        ),
        (
            lambda: MaskedHadamard((1, 4, 6), torch.ones(4, 6)),
            "image is 4x6 but a Hadamard transform needs powers of 2",
        ),
        (lambda: MaskedFourier((1, 4, 6), torch.ones(6, 4)), "mask is 6x4 but the image is 4x6"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_of_any_integer_type():
    op = Resize((3, np.int64(8), torch.tensor(8)), 2)
    assert op.in_shape == (3, 8, 8)
    assert [type(size) for size in op.in_shape] == [int] * 3


def test_noise_levels_of_any_shape_with_one_value_for_each_image():
    op, y = Resize((1, 6, 6), 2), random(2, 1, 3, 3).float()
    noise = lambda shape: random(2, *shape, seed=5).float()  # noqa: E731
    sigma_y, rho = torch.tensor([0.1, 0.4]), torch.tensor([1.0, 0.2])
    shaped = op.sample(0, y, sigma_y.reshape(2, 1, 1, 1), rho, noise)
    assert torch.equal(shaped, op.sample(0, y, sigma_y, rho, noise))


def test_parameters_under_vmap_are_not_looked_at():
    op, v, lam = Mask((1, 4, 4), random_mask((4, 4), 0.5, seed=0)), random(2, 1, 4, 4).float(), torch.tensor([0.1, 0.7])
    found = torch.func.vmap(lambda one: op.prox(v, 0 * v, one))(lam)
    for i in range(2):
        assert (found[i] - op.prox(v, 0 * v, float(lam[i]))).abs().max() < 1e-6


def test_an_operator_for_some_images_takes_no_others():
    op = Mask((1, 4, 4), masks(3, 1, 4, 4))
    with pytest.raises(ValueError, match="x holds 2 images but Mask has parameters for 3"):
        op(torch.zeros(2, 1, 4, 4))
