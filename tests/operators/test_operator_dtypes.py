"""Digits that do not depend on autocast, TF32 or a half type: what is computed is what float32 gives."""

from __future__ import annotations

import pytest
import torch
from operator_cases import BATCH, CASES, kernel, masks, random
from torch import Tensor

from operators import FunctionOperator, LinearOperator, Mask, MaskedFourier, Resize, random_mask
from operators.spectral import spectral_filter

ONE_OF_EACH = (
    "identity",
    "mask",
    "cubic 2x",
    "gaussian reflect",
    "circular odd",
    "convolution reflect",
    "convolution zero",
    "blur and decimate 2x",
    "grayscale",
    "fourier",
    "hadamard",
    "function",
    "mask of blur",
    "multiple of resize",
    "stack of vectors",
)
EXACT = [name for name in ONE_OF_EACH if CASES[name]().is_exact]
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


class Product(LinearOperator):
    """Matrix products, which autocast and TF32 concern; it keeps what its methods find switched on."""

    def __init__(self):
        super().__init__((1, 6, 6), (1, 6, 6))
        self.register_exact("matrix", random(6, 6))
        self.found: list[tuple[str, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.found.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        if not x.any():
            raise KeyError("no light")
        return self.matrix @ x

    def adjoint(self, y: Tensor) -> Tensor:
        self.found.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return self.matrix.mT @ y

    def prox(self, v: Tensor, y: Tensor, lam: float | Tensor) -> Tensor:
        self.found.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return super().prox(v, y, lam)


@pytest.fixture
def rounded_products():
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


def results(op: LinearOperator, dtype: torch.dtype) -> list[Tensor]:
    v, y = random(BATCH, *op.in_shape).to(dtype), random(BATCH, *op.out_shape, seed=1).to(dtype)
    return [op(v), op.adjoint(y), op.prox(v, y, 1e-4), LinearOperator.prox(op, v, y, 0.1), op.pinv(y)]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_autocast_changes_nothing(name):
    expected = results(CASES[name]().float(), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(CASES[name]().float(), torch.float32)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_autocast_leaves_functions_of_the_spectrum_alone():
    op, x = CASES["cubic 2x"]().float(), random(BATCH, 1, 8, 10).float()
    expected = spectral_filter(op, x, torch.sqrt)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spectral_filter(op, x, torch.sqrt), expected)


def test_no_method_sees_autocast_or_rounded_products(rounded_products):
    op, x = Product(), random(2, 1, 6, 6).float()
    with torch.autocast("cpu", torch.bfloat16):
        op(x), op.adjoint(x), op.prox(x, x, 0.1)
        with pytest.raises(KeyError):
            op(0 * x)
        assert torch.is_autocast_enabled("cpu")
    assert set(op.found) == {("highest", False)}
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("program", ["plain", "rounded products", "autocast"])
def test_an_operator_is_one_graph(name, program):
    """`torch.compile` of an operator's forward, whatever the program chose, has no break."""
    if (name, program) == ("function", "rounded products"):
        pytest.skip("PyTorch's switches of TF32 cannot be set in a graph")
    op, x = CASES[name]().float(), random(BATCH, *CASES[name]().in_shape).float()
    torch._dynamo.reset()
    torch.set_float32_matmul_precision("high" if program == "rounded products" else "highest")
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=program == "autocast"):
            found = torch.compile(op, backend="eager", fullgraph=True)(x)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (found - op(x)).abs().max() < 1e-6


@HALVES
@pytest.mark.parametrize("name", EXACT)
def test_half_types_are_right_to_the_rounding_of_their_results(name, dtype):
    """Against float64 on the same, rounded data."""
    exact, op = CASES[name]().double(), CASES[name]().to(dtype)
    v, y = random(BATCH, *op.in_shape).to(dtype), random(BATCH, *op.out_shape, seed=1).to(dtype)
    lam = torch.tensor([1e-3, 0.3, 0.01])
    pairs = [
        (op(v), exact(v.double())),
        (op.adjoint(y), exact.adjoint(y.double())),
        (op.prox(v, y, 1e-3), exact.prox(v.double(), y.double(), 1e-3)),
        (op.prox(v, y, lam), exact.prox(v.double(), y.double(), lam)),
    ]
    for found, expected in pairs:
        assert found.dtype == dtype
        error = (found.double() - expected).abs() / (expected.abs() + 1e-2 * expected.abs().max())
        assert error.max() < 2 * torch.finfo(dtype).eps


@HALVES
def test_a_half_operator_shows_its_dtype_and_gives_back_its_digits(dtype):
    op = MaskedFourier((1, 6, 7), masks(BATCH, 1, 6, 7)).to(dtype)
    assert {b.dtype for b in op.buffers()} == {dtype}
    y = random(1, *op.out_shape).to(dtype)
    assert torch.equal(op.select([1]).pinv(y), op.pinv(y.expand(BATCH, -1, -1, -1))[1:2])
    with pytest.raises(ValueError, match=r"x is torch.float32 on cpu but MaskedFourier is"):
        op(random(BATCH, 1, 6, 7).float())


@HALVES
def test_functions_of_half_types(dtype):
    taps = kernel(3, 3)[None, None].to(dtype)
    example = torch.zeros(2, 1, 9, 8, dtype=dtype)
    op = FunctionOperator((1, 9, 8), lambda x: torch.conv2d(x, taps), example=example)
    exact = FunctionOperator((1, 9, 8), lambda x: torch.conv2d(x, taps.double()), example=example.double())
    v, y = random(2, 1, 9, 8).to(dtype), random(2, *op.out_shape, seed=1).to(dtype)
    error = op.prox(v, y, 0.1).double() - exact.prox(v.double(), y.double(), 0.1)
    assert error.abs().max() < 8 * torch.finfo(dtype).eps
    with pytest.raises(ValueError, match="forward is not linear"):
        FunctionOperator((1, 9, 8), torch.relu, example=example)


def test_a_float8_example_is_refused():
    example = torch.zeros(1, 1, 4, 4, dtype=torch.float8_e5m2)
    with pytest.raises(ValueError, match=r"example is torch.float8_e5m2 but must be one of torch.bfloat16, "):
        FunctionOperator((1, 4, 4), lambda x: 2 * x, example=example)


def test_a_composition_of_solves_under_autocast():
    """Parts hand each other float32, and the generic prox too."""
    op = Mask((1, 4, 4), random_mask((4, 4), 0.4, seed=0)) @ Resize((1, 16, 16), 4)
    v, y = random(2, 1, 16, 16).float(), random(2, 1, 4, 4, seed=1).float()
    expected = op.prox(v, y, 1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(op.prox(v, y, 1e-4), expected)
