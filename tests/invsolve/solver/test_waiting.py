"""That a solve does not make the CPU wait for its device, and what it keeps between its steps."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from solver_cases import OPERATORS, SHAPE, TinyNetwork, measurements
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from invsolve import Denoiser, FewStep, GenerativeDenoiser, Settings, solve
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.recorded import kind_of
from invsolve.solver.sampler import Problem, split_gibbs
from operators import Identity, Resize

CLOSED = [name for name, make in OPERATORS.items() if kind_of(make()) is not None]
READING = {"item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "nonzero"}


@pytest.fixture(scope="module")
def prior() -> GenerativeDenoiser:
    spectrum = 1 / (0.01 + torch.linspace(0, 0.7, 32) ** 2)
    return GenerativeDenoiser(Denoiser(TinyNetwork()), spectrum=spectrum)


class Waits(TorchFunctionMode):
    """Counts the calls that would make the CPU wait for a device, and copies of numbers to it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in READING or (name in ("tensor", "as_tensor") and not isinstance(args[0], torch.Tensor)):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


class Scalars(TorchDispatchMode):
    """Counts the values read out of tensors by whatever function."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero"):
            self.found.append(function._schema.name)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def as_on_cuda(monkeypatch) -> None:
    """Noise by tensor operations, as on CUDA, in place of NumPy's."""
    monkeypatch.setattr(NoiseStreams, "_on_cpu", NoiseStreams._on_cuda)


def waits(call) -> tuple[list[str], list[str]]:
    with Waits() as calls, Scalars() as scalars:
        call()
    return calls.found, scalars.found


@pytest.mark.parametrize("name", CLOSED)
def test_the_loop_reads_nothing_back(name, prior, as_on_cuda):
    operator = OPERATORS[name]()
    y = measurements(operator)
    settings = Settings(few_step=FewStep(renoise=1.0, momentum=0.2, overrelaxation=0.5, output_ema=0.3))
    problem = Problem(y, operator, prior, 0.05, [2.0, 1.0, 0.5], None, settings.few_step)
    noise = NoiseStreams(0, range(len(y)))
    assert waits(lambda: list(split_gibbs(problem, noise))) == ([], [])


def test_what_a_solve_reads_does_not_grow_with_its_evaluations(prior, as_on_cuda):
    """At the border y is checked, and the keys of the noise are copied; a warm start looks at its iterations' end."""
    operator = Resize(SHAPE, 2)
    y = measurements(operator, 3)
    few, many = (waits(lambda n=n: solve(y, operator, n, prior=prior, settings=Settings())) for n in (1, 6))
    assert few == many
    assert len(few[1]) <= 16  # y is finite, its scale, its noise, and what is left of it
    solve(y, operator, 1, prior=prior)  # measures settings and response
    _, read = waits(lambda: solve(y, operator, 2, prior=prior))
    _, again = waits(lambda: solve(y, operator, 5, prior=prior))
    assert read == again


@pytest.mark.cuda
@pytest.mark.parametrize("name", CLOSED)
def test_a_gpu_is_never_waited_for(name, prior):
    operator, prior = OPERATORS[name]().cuda(), copy.deepcopy(prior).cuda()
    y = measurements(OPERATORS[name]()).cuda()
    settings = Settings(few_step=FewStep(renoise=1.0, momentum=0.2, overrelaxation=0.5, output_ema=0.3))
    expected = solve(y, operator, 3, prior=prior, settings=settings)  # tables and kernels are made at the first call
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = solve(y, operator, 3, prior=prior, settings=settings)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("few_step", "images"),
    [
        (FewStep(), 1),
        (FewStep(renoise=1.0, sigma_inflation=0.3), 1),
        (FewStep(output_ema=0.5), 2),
        (FewStep(momentum=0.2), 2),
        (FewStep(renoise=1.0, momentum=0.2, overrelaxation=0.5, output_ema=0.3), 5),  # the noise of y is the fifth
    ],
    ids=str,
)
def test_what_is_kept_between_the_steps(few_step, images, prior):
    """In images, the one that is yielded included."""
    size = (3, 61, 67)  # of nothing else that is alive
    operator = Identity(size)
    y = torch.rand(1, *size)
    problem = Problem(y, operator, prior, 0.05, [2.0, 1.0, 0.5], None, few_step)
    chain = split_gibbs(problem, NoiseStreams(0, [0]), torch.zeros(1, *size))
    next(chain)
    next(chain)
    gc.collect()
    kept = {t.data_ptr() for t in gc.get_objects() if type(t) is torch.Tensor and t.numel() == y.numel() and t is not y}
    assert len(kept) == images


@pytest.mark.parametrize("gamma", [0.0, 0.414])
def test_no_noise_is_drawn_where_its_factor_is_0(gamma, prior):
    drawn = []

    def noise(shape):
        drawn.append(shape)
        return torch.randn(2, *shape)

    operator = Resize(SHAPE, 2)
    for sigma_y in (0.0, 0.05):
        drawn.clear()
        list(split_gibbs(Problem(torch.zeros(2, *operator.out_shape), operator, prior, sigma_y, [1.0], gamma), noise))
        assert drawn == [SHAPE] + [operator.out_shape] * (sigma_y > 0) + [SHAPE] * (gamma > 0)
        drawn.clear()
        operator.sample(torch.zeros(2, *SHAPE), torch.zeros(2, *operator.out_shape), sigma_y, 1.0, noise)
        assert drawn == [SHAPE] + [operator.out_shape] * (sigma_y > 0)
        drawn.clear()
        operator.measure(torch.zeros(2, *SHAPE), sigma_y, noise)
        assert drawn == [operator.out_shape] * (sigma_y > 0)
