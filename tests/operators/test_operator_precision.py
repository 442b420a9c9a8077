"""A user's functions without TF32: emulated, as PyTorch's switches would have a GPU compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from operator_cases import kernel, random
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from operators import FunctionOperator
from operators.precision import full_float32

BACKENDS = torch.backends
NEW = hasattr(BACKENDS.cudnn, "conv")  # PyTorch 2.9
SHAPE, TAPS = (1, 12, 10), kernel(3, 3)[None, None]
NEITHER = SimpleNamespace(convolutions=False, products=False)
CHOICES: dict[str, Callable[[], None]] = {
    "defaults": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "none allowed": lambda: setattr(BACKENDS.cudnn, "allow_tf32", False),
}
if NEW:
    CHOICES |= {
        "new switches": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
        "new switches, one off": lambda: setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
        "new switch of all": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
    }


def allowed() -> SimpleNamespace:
    """What PyTorch's kernels ask before they round."""
    if NEW:
        convolutions, products = BACKENDS.cudnn.conv.fp32_precision, BACKENDS.cuda.matmul.fp32_precision
        return SimpleNamespace(convolutions=convolutions == "tf32", products=products == "tf32")
    return SimpleNamespace(convolutions=BACKENDS.cudnn.allow_tf32, products=BACKENDS.cuda.matmul.allow_tf32)


@pytest.fixture(params=CHOICES, ids=str)
def choice(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """What the program allows; PyTorch's defaults afterwards."""
    CHOICES[request.param]()
    yield allowed()
    if NEW:
        BACKENDS.fp32_precision = BACKENDS.cuda.matmul.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True


def rounded(x: Tensor) -> Tensor:
    """To a mantissa of 10 bits, to nearest."""
    return ((x.view(torch.int32) + (1 << 12)) & -(1 << 13)).view(torch.float32)


def blur(x: Tensor) -> Tensor:
    taps = TAPS.float()
    return conv2d(rounded(x), rounded(taps)) if allowed().convolutions else conv2d(x, taps)


def blur_adjoint(y: Tensor) -> Tensor:
    taps = TAPS.float()
    return conv_transpose2d(rounded(y), rounded(taps)) if allowed().convolutions else conv_transpose2d(y, taps)


def test_the_emulation_rounds_as_tf32_does():
    x = 1 + torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert 0.99 * 2**-11 < (rounded(x) - x).abs().max() <= 2**-11
    assert torch.equal(rounded(rounded(x)), rounded(x))


def test_a_blur_is_an_operator_whatever_the_program_allows(choice):
    op = FunctionOperator(SHAPE, blur, blur_adjoint)
    v, y = random(2, *SHAPE).float(), random(2, *op.out_shape, seed=1).float()
    a = op(torch.eye(120).reshape(120, *SHAPE)).flatten(1).double().T
    exact = conv2d(torch.eye(120, dtype=torch.float64).reshape(120, *SHAPE), TAPS).flatten(1).T
    assert (a - exact).abs().max() < 1e-7
    wanted = torch.linalg.solve(
        exact.T @ exact + 0.01 * torch.eye(120), (y.double().flatten(1) @ exact + 0.01 * v.double().flatten(1)).T
    ).T
    assert (op.prox(v, y, 0.01).flatten(1) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert allowed() == choice


def test_an_adjoint_by_autograd_is_without_tf32_too(choice):
    seen = []

    class Asks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            seen.append(allowed())
            return 2 * x

        @staticmethod
        def backward(ctx, y: Tensor) -> Tensor:
            seen.append(allowed())
            return 2 * y

    op = FunctionOperator(SHAPE, Asks.apply)
    y = random(1, *SHAPE).float()
    seen.clear()
    assert torch.equal(op.adjoint(y), 2 * y)
    assert seen == [NEITHER] * 2
    assert allowed() == choice


def test_what_the_program_chose_comes_back_after_an_error(choice):
    seen = []

    @full_float32()
    def fails() -> None:
        seen.append(allowed())
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [NEITHER]
    assert allowed() == choice


def test_the_old_switches_can_be_read_inside():
    """``torch.compile`` reads them, and fails where they disagree with the new ones."""
    torch.set_float32_matmul_precision("medium")
    with full_float32():
        inside = BACKENDS.cudnn.allow_tf32, BACKENDS.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()
    assert inside == (False, False, "highest")
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_the_cpu_gives():
    on_cpu, on_gpu = (
        FunctionOperator(SHAPE, lambda x: conv2d(x, TAPS.to(x)), example=torch.zeros(1, *SHAPE, device=device))
        for device in ("cpu", "cuda")
    )
    v, y = random(2, *SHAPE).float(), random(2, *on_cpu.out_shape, seed=1).float()
    assert (on_gpu.prox(v.cuda(), y.cuda(), 0.01).cpu() - on_cpu.prox(v, y, 0.01)).abs().max() < 1e-4
