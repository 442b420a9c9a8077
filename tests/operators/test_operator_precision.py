"""Digits that depend neither on autocast and TF32, which are emulated, nor on half types and threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from operator_cases import BATCH, CASES, kernel, random
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from operators import FunctionOperator, LinearOperator
from operators.precision import full_float32, full_precision
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
BACKENDS = torch.backends
NEW = hasattr(BACKENDS.cudnn, "conv")  # PyTorch 2.9
SHAPE, TAPS = (1, 12, 10), kernel(3, 3)[None, None]
CPU = torch.device("cpu")
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
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


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
    with full_precision(CPU):
        a = op(torch.eye(120).reshape(120, *SHAPE)).flatten(1).double().T
        found = op.prox(v, y, 0.01)
    exact = conv2d(torch.eye(120, dtype=torch.float64).reshape(120, *SHAPE), TAPS).flatten(1).T
    assert (a - exact).abs().max() < 1e-7
    wanted = torch.linalg.solve(
        exact.T @ exact + 0.01 * torch.eye(120), (y.double().flatten(1) @ exact + 0.01 * v.double().flatten(1)).T
    ).T
    assert (found.flatten(1) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert allowed() == choice


def test_what_the_program_chose_comes_back_after_nested_contexts_and_errors(choice):
    seen = []

    @full_float32()
    def fails() -> None:
        seen.append(allowed())
        with full_float32():
            seen.append(allowed())
        seen.append(allowed())
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [NEITHER] * 3
    assert allowed() == choice


def test_two_threads_give_what_one_gives(choice):
    """They overlap in every order: TF32 stays off until the last of them leaves, and then is what it was."""
    op = FunctionOperator(SHAPE, blur, blur_adjoint)
    y = random(2, *op.out_shape, seed=1).float()
    with full_float32():
        alone = op.prox(torch.zeros(2, *SHAPE), y, 0.01)
    both, found = threading.Barrier(2), {}

    def restore(name: int) -> None:
        for turn in range(6):
            both.wait()
            with full_float32():
                if turn % 2 == name:  # the other one may leave first
                    found[name, turn, "early"] = op.prox(torch.zeros(2, *SHAPE), y, 0.01)
                found[name, turn] = op.prox(torch.zeros(2, *SHAPE), y, 0.01)

    threads = [threading.Thread(target=restore, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 18
    assert all(torch.equal(u, alone) for u in found.values())
    assert allowed() == choice


def test_a_context_outlives_one_that_opened_before_it(choice):
    first, second = full_float32(), full_float32()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert allowed() == NEITHER
    second.__exit__(None, None, None)
    assert allowed() == choice


def test_the_old_switches_can_be_read_inside():
    """``torch.compile`` reads them, and fails where they disagree with the new ones."""
    torch.set_float32_matmul_precision("medium")
    with full_float32():
        inside = BACKENDS.cudnn.allow_tf32, BACKENDS.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()
    assert inside == (False, False, "highest")
    assert torch.get_float32_matmul_precision() == "medium"
    torch.set_float32_matmul_precision("highest")


def results(op: LinearOperator) -> list[Tensor]:
    """What checks its arguments, and with them the state of autocast."""
    v, y = random(BATCH, *op.in_shape).float(), random(BATCH, *op.out_shape, seed=1).float()
    zero = lambda shape: torch.zeros(BATCH, *shape)  # noqa: E731
    return [
        op(v),
        LinearOperator.prox(op, v, y, 0.1),
        op.pinv(y),
        op.measure(v, 0.1, zero),
        op.sample(v, y, 1, 1, zero),
    ]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_autocast_changes_nothing(name):
    op = CASES[name]()
    v, y = random(BATCH, *op.in_shape).float(), random(BATCH, *op.out_shape, seed=1).float()
    expected = [*results(op), op.adjoint(y), op.prox(v, y, 1e-4)]
    with torch.autocast("cpu", torch.bfloat16):
        found = results(op)
        with full_precision(CPU):
            found += [op.adjoint(y), op.prox(v, y, 1e-4)]
        assert torch.is_autocast_enabled("cpu")
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_autocast_leaves_functions_of_the_spectrum_alone():
    op, x = CASES["cubic 2x"](), random(BATCH, 1, 8, 10).float()
    expected = spectral_filter(op, x, torch.sqrt)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(spectral_filter(op, x, torch.sqrt), expected)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("program", ["plain", "rounded products", "autocast"])
def test_an_operator_is_one_graph(name, program):
    """`torch.compile` of an operator's forward, whatever the program chose, has no break."""
    op, x = CASES[name](), random(BATCH, *CASES[name]().in_shape).float()
    torch._dynamo.reset()
    torch.set_float32_matmul_precision("high" if program == "rounded products" else "highest")
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=program == "autocast"):
            found = torch.compile(op, backend="eager", fullgraph=True)(x)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (found - op(x)).abs().max() < 1e-6


@HALVES
def test_half_types_are_refused_and_leave_the_constants_their_digits(dtype):
    op, x = CASES["cubic 2x"](), random(2, 1, 8, 10).float()
    expected = op(x)
    with pytest.raises(TypeError, match=rf"x is {dtype} but Resize computes in float32 or float64 \(solve takes half"):
        op(x.to(dtype))
    op.to(dtype)
    with pytest.raises(ValueError, match=f"x is torch.float32 on cpu but Resize is {dtype} on cpu: move"):
        op(x)
    assert torch.equal(op.float()(x), expected)


@HALVES
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])  # float16 ends at 65504 and has 10 bits down to 6e-5
def test_functions_of_half_types(dtype, scale):
    taps = kernel(3, 3)[None, None].to(dtype)
    op = FunctionOperator((1, 9, 8), lambda x: torch.conv2d(x, taps), example=torch.zeros(2, 1, 9, 8, dtype=dtype))
    exact = FunctionOperator((1, 9, 8), lambda x: torch.conv2d(x, taps.to(x))).double()
    v, y = scale * random(2, 1, 9, 8), scale * random(2, *op.out_shape, seed=1)
    found, wanted = op.prox(v.float(), y.float(), 0.1), exact.prox(v, y, 0.1)
    assert found.dtype == op(v.float()).dtype == torch.float32
    assert (found.double() - wanted).abs().max() < 8 * torch.finfo(dtype).eps * scale
    with pytest.raises(ValueError, match="forward is not linear"):
        FunctionOperator((1, 9, 8), torch.relu, example=torch.zeros(1, 1, 9, 8, dtype=dtype))


@HALVES
def test_a_module_of_a_half_type_is_called_in_its_type_and_after_float_in_float32(dtype):
    torch.manual_seed(0)
    module = torch.nn.Conv2d(1, 2, 3, bias=False)
    x, wanted = random(2, 1, 9, 8).float(), module.to(dtype).float()(random(2, 1, 9, 8).float())
    op = FunctionOperator((1, 9, 8), module.to(dtype), example=torch.zeros(1, 1, 9, 8, dtype=dtype))
    assert 1e-5 < (op(x) - wanted).abs().max() < 8 * torch.finfo(dtype).eps
    assert (op.float()(x) - wanted).abs().max() < 1e-6


def test_a_float8_example_is_refused():
    example = torch.zeros(1, 1, 4, 4, dtype=torch.float8_e5m2)
    with pytest.raises(ValueError, match=r"example is torch.float8_e5m2 but must be one of torch.bfloat16, "):
        FunctionOperator((1, 4, 4), lambda x: 2 * x, example=example)


@pytest.mark.cuda
def test_a_gpu_gives_what_the_cpu_gives():
    on_cpu, on_gpu = (
        FunctionOperator(SHAPE, lambda x: conv2d(x, TAPS.to(x)), example=torch.zeros(1, *SHAPE, device=device))
        for device in ("cpu", "cuda")
    )
    v, y = random(2, *SHAPE).float(), random(2, *on_cpu.out_shape, seed=1).float()
    with full_float32():
        found = on_gpu.prox(v.cuda(), y.cuda(), 0.01).cpu()
    assert (found - on_cpu.prox(v, y, 0.01)).abs().max() < 1e-4
