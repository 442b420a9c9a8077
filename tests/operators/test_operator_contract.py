"""What every operator promises, checked against its dense matrix."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from operator_cases import BATCH, CASES, dense, flat, kernel, random, unflat
from torch import Tensor

from operators import (
    BlurDecimate,
    CircularConvolution,
    Convolution,
    FunctionOperator,
    Grayscale,
    Identity,
    LinearOperator,
    Mask,
    MaskedFourier,
    MaskedHadamard,
    Resize,
    SeparableOperator,
    Stack,
    blur,
)

LAMBDAS = {"small": 1e-3, "large": 0.7, "one for each image": torch.tensor([0.05, 1.3, 0.4], dtype=torch.float64)}


@pytest.fixture(params=CASES, ids=str)
def op(request: pytest.FixtureRequest) -> LinearOperator:
    return CASES[request.param]().double()


@pytest.fixture
def v(op: LinearOperator) -> Tensor:
    return random(BATCH, *op.in_shape, seed=10)


@pytest.fixture
def y(op: LinearOperator) -> Tensor:
    return measurement(op, seed=11)


def measurement(op: LinearOperator, seed: int) -> Tensor:
    """Any measurements, of standard normals."""
    return unflat(op, random(BATCH, sizes(op)[1], seed=seed))


def sizes(op: LinearOperator) -> tuple[int, int]:
    """Real numbers in an image, and in a measurement."""
    return math.prod(op.in_shape), math.prod(op.out_shape) * (2 if op.complex_measurements else 1)


def dense_prox(op: LinearOperator, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
    """(A^T A + lam I)^-1 (A^T y + lam v), image by image."""
    solutions = []
    for i in range(len(v)):
        a = dense(op, i)
        lam_i = float(lam[i]) if isinstance(lam, Tensor) else lam
        normal = a.T @ a + lam_i * torch.eye(a.shape[1], dtype=a.dtype)
        solutions.append(torch.linalg.solve(normal, a.T @ flat(y)[i] + lam_i * v[i].flatten()))
    return torch.stack(solutions).reshape(v.shape)


def dense_pinv(op: LinearOperator, y: Tensor) -> Tensor:
    inverses = [torch.linalg.pinv(dense(op, i), rtol=1e-10) for i in range(len(y))]
    return torch.stack([a @ b for a, b in zip(inverses, flat(y), strict=True)]).reshape(-1, *op.in_shape)


def rounded(y: Tensor) -> Tensor:
    """In single precision."""
    return y.to(torch.complex64 if y.is_complex() else torch.float32)


def error(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / (1 + b.abs().max()))


def test_dot(op, v, y):
    image = op(v)
    defect = ((flat(image) * flat(y)).sum(1) - (v * op.adjoint(y)).flatten(1).sum(1)).abs()
    assert (defect <= 1e-10 * image.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1)).all()


def test_adjoint_is_the_transpose(op):
    size = sizes(op)[1]
    basis = unflat(op, torch.eye(size, dtype=torch.float64))
    for i in range(BATCH):
        assert error(op.select([i] * size).adjoint(basis).flatten(1), dense(op, i)) < 1e-12


@pytest.mark.parametrize("lam", LAMBDAS.values(), ids=LAMBDAS)
def test_prox(op, v, y, lam):
    assert error(op.prox(v, y, lam), dense_prox(op, v, y, lam)) < 1e-9


def test_generic_prox_agrees_with_the_closed_form(op, v, y):
    for lam in (0.3, LAMBDAS["one for each image"]):
        assert error(LinearOperator.prox(op, v, y, lam), op.prox(v, y, lam)) < 1e-9


def test_prox_without_damping(op, v, y):
    limit = v + dense_pinv(op, y - op(v))
    assert error(op.prox(v, y, 0.0), limit) < 1e-7
    mixed = torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64)
    result = op.prox(v, y, mixed)
    assert error(result[::2], limit[::2]) < 1e-7
    assert error(result[1], dense_prox(op, v, y, 0.5)[1]) < 1e-9


def test_generic_prox_without_damping(op, v, y):
    assert error(LinearOperator.prox(op, v, y, 0.0), v + dense_pinv(op, y - op(v))) < 1e-7


def test_pinv(op, y):
    assert error(op.pinv(y), dense_pinv(op, y)) < 1e-7


def test_measure(op, v):
    """Unmeasured entries may be left without noise, but nothing else may differ from A x + sigma_y n."""
    noise = measurement(op, seed=12)
    y = op.measure(v, 0.3, lambda shape: torch.view_as_real(noise) if noise.is_complex() else noise)
    measured = torch.stack([dense(op, i).abs().sum(1) > 0 for i in range(BATCH)])
    assert error(flat(y)[measured], flat(op(v) + 0.3 * noise)[measured]) < 1e-12
    assert error(op.adjoint(y), op.adjoint(op(v) + 0.3 * noise)) < 1e-12


def test_sample_is_exact(op, v, y):
    """A sample is affine in its noise: u = mean + L e. Its law is right when the mean and L L^T are."""
    rho, sigma_y = 0.7, 0.4
    n, m = sizes(op)
    basis = torch.eye(n + m, dtype=torch.float64)
    parts = (2,) if op.complex_measurements else ()
    order = iter((basis[:, :n].reshape(-1, *op.in_shape), basis[:, n:].reshape(-1, *op.out_shape, *parts)))

    def one_direction_each(shape):
        noise = next(order)
        assert tuple(noise.shape[1:]) == shape
        return noise

    a, one = dense(op, 1), op.select([1] * (n + m))
    x, measurement = v[1:2].expand(n + m, *op.in_shape), y[1:2].expand(n + m, *op.out_shape)
    covariance = torch.linalg.inv(a.T @ a / sigma_y**2 + torch.eye(n, dtype=a.dtype) / rho**2)
    mean = covariance @ (a.T @ flat(y)[1] / sigma_y**2 + v[1].flatten() / rho**2)
    factor = (one.sample(x, measurement, sigma_y, rho, one_direction_each).flatten(1) - mean).T
    assert error(factor @ factor.T, covariance) < 1e-9
    still = op.sample(v, y, sigma_y, rho, lambda shape: torch.zeros(BATCH, *shape, dtype=torch.float64))
    assert error(still[1].flatten(), mean) < 1e-9


def test_batch_agrees_with_single_images(op, v, y):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        op, v, y = op.to(dtype), v.to(dtype), y.to(op.measurement_dtype(dtype))
        together = op.prox(v, y, 0.1)
        for i in range(BATCH):
            alone = op.select([i])
            assert error(alone(v[i : i + 1]), op(v)[i : i + 1]) < tolerance
            assert error(alone.prox(v[i : i + 1], y[i : i + 1], 0.1), together[i : i + 1]) < tolerance


def test_no_images_give_no_images(op):
    none = op.select([])
    assert none(random(0, *op.in_shape)).shape == (0, *op.out_shape)


def test_results_are_not_their_arguments(op, v, y):
    """A caller may change a result in place."""
    before_v, before_y = v.clone(), y.clone()
    for result in (op(v), op.adjoint(y), op.prox(v, y, 0.1), op.measure(v, 0.0), op.pinv(y)):
        if not isinstance(op, FunctionOperator):  # whose results are the user's
            result += 1
    assert torch.equal(v, before_v)
    assert torch.equal(y, before_y)


def test_a_selection_can_be_selected_from(op, v):
    once, twice = op.select([1]), op.select([2, 1]).select([1, 1, 0])
    assert error(once.select([0, 0])(v[[1, 1]]), op(v)[[1, 1]]) < 1e-12
    assert error(twice(v[[1, 1, 2]]), op(v)[[1, 1, 2]]) < 1e-12
    assert error(twice.float().double()(v[[1, 1, 2]]), op(v)[[1, 1, 2]]) < 1e-12  # its exact constants went along


def test_what_is_not_measured_may_hold_anything(op, v, y):
    found = torch.stack([flat(op(random(BATCH, *op.in_shape, seed=seed))) for seed in range(13, 19)])
    nothing = unflat(op, (found != 0).any(0).to(v)) == 0  # of one image alone a value may be 0 by chance
    for anything in (torch.nan, torch.inf, 1e30):
        spoilt = torch.where(nothing, anything, y)
        for lam in (0.0, 0.2):
            assert error(op.prox(v, spoilt, lam), op.prox(v, torch.where(nothing, 0, y), lam)) < 1e-12
        assert torch.equal(op.adjoint(spoilt), op.adjoint(torch.where(nothing, 0, y)))


@pytest.mark.parametrize("name", CASES)
def test_the_default_device_does_not_matter(name):
    """`meta` has no numbers: nothing that has any may be made there."""
    op = CASES[name]()
    with torch.device("meta"):
        other = CASES[name]()
    for buffer, expected in zip(other.buffers(), op.buffers(), strict=True):
        assert buffer.device.type == "cpu"
        assert torch.equal(buffer, expected)


def test_float32_is_accurate(op, v, y):
    single = copy.deepcopy(op).float()
    assert error(single(v.float()), op(v)) < 2e-6
    assert error(single.adjoint(rounded(y)).double(), op.adjoint(y)) < 2e-6
    assert error(single.prox(v.float(), rounded(y), 0.01).double(), op.prox(v, y, 0.01)) < 1e-4


@pytest.mark.parametrize("name", CASES)
def test_constants_keep_every_digit(name):
    torch.set_default_dtype(torch.float64)
    try:
        exact = dict(CASES[name]().named_buffers())
    finally:
        torch.set_default_dtype(torch.float32)
    for moved in (CASES[name]().double(), CASES[name]().to(torch.float64), CASES[name]().double().float().double()):
        for key, buffer in moved.named_buffers():
            if "example" not in key:
                assert torch.equal(buffer, exact[key])


def equivalent(op: LinearOperator, y: Tensor, scale: float) -> list[Tensor]:
    """The answers of op to v and y at noise levels and a damping of its scale; float32 throughout."""
    v, rho, sigma_y = random(BATCH, *op.in_shape, seed=10).float(), 0.5, 0.2 * scale
    noise = lambda shape: random(BATCH, *shape, seed=len(shape)).float()  # noqa: E731
    lam = (sigma_y / rho) ** 2
    return [op.prox(v, y, lam), LinearOperator.prox(op, v, y, lam), op.pinv(y), op.sample(v, y, sigma_y, rho, noise)]


@pytest.mark.parametrize("scale", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("name", CASES)
def test_equivalent_problems_have_one_answer(name, scale):
    """`c y = (c A) x + c sigma_y n` says the same of x for any c."""
    op = CASES[name]()
    y = rounded(measurement(op, seed=11))
    for found, wanted in zip(equivalent(scale * op, scale * y, scale), equivalent(op, y, 1), strict=True):
        assert error(found, wanted) < 1e-4


SMALL = {  # constants that are themselves c times as large
    "separable": lambda c: SeparableOperator((2, 5, 4), c * random(3, 5).numpy(), random(6, 4).numpy()),
    "circular": lambda c: CircularConvolution((2, 7, 6), c * kernel(3, 5)),
    "convolution": lambda c: Convolution((2, 7, 6), c * kernel(3, 4), "reflect"),
    "blur and decimate": lambda c: BlurDecimate((1, 8, 6), c * kernel(3, 3), 2),
    "grayscale": lambda c: Grayscale((3, 5, 4), [0.3 * c, 0.6 * c, 0.1 * c]),
    "function": lambda c: FunctionOperator((1, 5, 6), lambda x: c * (x[..., 1:] - 0.5 * x[..., :-1])),
    "stack": lambda c: Stack([c * Identity((3, 5, 4)), Grayscale((3, 5, 4), [c, c, c])]),
    "composition": lambda c: Resize((1, 8, 6), 2) @ CircularConvolution((1, 8, 6), c * kernel(3, 3)),
}


@pytest.mark.parametrize("scale", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("name", SMALL)
def test_equivalent_operators_have_one_answer(name, scale):
    small, op = SMALL[name](scale), SMALL[name](1.0)
    y = random(BATCH, *op.out_shape, seed=11).float()
    for found, wanted in zip(equivalent(small, scale * y, scale), equivalent(op, y, 1), strict=True):
        assert error(found, wanted) < 1e-4


class Elsewhere(torch.Tensor):
    """A tensor on the CPU that says it is on the meta device: what is moved to its device has no numbers any more."""

    device = property(lambda self: torch.device("meta"))


ON_DEVICE = {
    "mask": lambda t: Mask((1, 4, 4), t),
    "circular convolution": lambda t: CircularConvolution((1, 4, 4), t),
    "convolution": lambda t: Convolution((1, 4, 4), t),
    "blur and decimate": lambda t: BlurDecimate((1, 4, 4), t, 2),
    "fourier": lambda t: MaskedFourier((1, 4, 4), t),
    "hadamard": lambda t: MaskedHadamard((1, 4, 4), t),
    "blur": lambda t: blur((1, 4, 4), t, "zero"),
}


@pytest.mark.parametrize("name", ON_DEVICE)
def test_an_operator_is_on_the_device_of_the_tensor_it_is_given(name):
    there = ON_DEVICE[name](torch.ones(4, 4, device="cpu").as_subclass(Elsewhere))
    assert {buffer.device.type for buffer in there.buffers()} == {"meta"}
    assert {buffer.device.type for buffer in ON_DEVICE[name](torch.ones(4, 4, device="cpu")).buffers()} == {"cpu"}


@pytest.mark.cuda
@pytest.mark.parametrize("name", ON_DEVICE)
def test_an_operator_is_on_the_gpu_of_the_tensor_it_is_given(name):
    there, here = (ON_DEVICE[name](torch.ones(4, 4, device=device)) for device in ("cuda", "cpu"))
    x = random(2, 1, 4, 4).float()
    assert error(there(x.cuda()).cpu(), here(x)) < 1e-6


@pytest.mark.cuda
def test_cuda_agrees_with_the_cpu(op, v, y):
    expected = op(v), op.adjoint(y), op.prox(v, y, 0.05), op.prox(v, y, LAMBDAS["one for each image"])
    op, v, y = copy.deepcopy(op).cuda(), v.cuda(), y.cuda()
    found = op(v), op.adjoint(y), op.prox(v, y, 0.05), op.prox(v, y, LAMBDAS["one for each image"])
    for a, b in zip(found, expected, strict=True):
        assert a.is_cuda
        assert error(a.cpu(), b) < 1e-9
