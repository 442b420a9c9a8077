"""Whole solves as CUDA graphs; without CUDA, by stand-ins that call again with what was recorded."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from solver_cases import OPERATORS, SHAPE, TinyNetwork, measurements

from invsolve import Denoiser, FewStep, GenerativeDenoiser, Settings, solve
from invsolve.networks.inference import Accelerated
from invsolve.runtime import cuda_graphs
from invsolve.solver.recorded import kind_of
from operators import CircularConvolution, Convolution, FunctionOperator, Mask, Resize

CLOSED = [name for name, make in OPERATORS.items() if kind_of(make()) is not None]
SETTINGS = Settings(few_step=FewStep(renoise=1.0, momentum=0.2, overrelaxation=0.5, output_ema=0.3))


class Network(TinyNetwork):
    config, multiple = None, 1  # which Accelerated passes on

    def forward(self, x, level, condition, condition_level, labels=None):
        return super().forward(x, level, condition, condition_level)


@pytest.fixture
def prior() -> GenerativeDenoiser:
    spectrum = 1 / (0.01 + torch.linspace(0, 0.7, 32) ** 2)
    return GenerativeDenoiser(Denoiser(Network()), spectrum=spectrum)


def with_graphs(prior: GenerativeDenoiser) -> GenerativeDenoiser:
    recorded = copy.deepcopy(prior)
    recorded.denoiser.network = Accelerated(recorded.denoiser.network, torch.float32, graphs=True)
    return recorded


@pytest.fixture
def recordings(monkeypatch) -> list:
    """All that was recorded. A stand-in keeps a call and its inputs, and calls again with other values in these."""
    made = []

    class Recorded:
        def __init__(self, call, inputs):
            self.call, self.inputs = call, [None if value is None else value.clone() for value in inputs]
            self.call(*self.inputs)
            made.append(self)

        def __call__(self, inputs):
            for own, given in zip(self.inputs, inputs, strict=True):
                if own is not None:
                    own.copy_(given)
            token = cuda_graphs._recording.set(True)  # a replay records nothing
            try:
                return self.call(*self.inputs)
            finally:
                cuda_graphs._recording.reset(token)

    monkeypatch.setattr(cuda_graphs, "Recorded", Recorded)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    return made


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("name", CLOSED)
def test_a_replayed_solve_gives_the_same_for_other_pictures(name, warm_start, prior, recordings):
    operator, settings = OPERATORS[name](), Settings(warm_start=warm_start, few_step=SETTINGS.few_step)
    replayed = with_graphs(prior)
    for seed, y in enumerate((measurements(operator), measurements(operator).flip(0))):
        expected = solve(y, operator, prior=prior, settings=settings, seed=seed)
        found = solve(y, operator, prior=replayed, settings=settings, seed=seed)
        assert (found - expected).abs().max() < 1e-5
    assert len(recordings) == 1


def test_operators_of_one_kind_share_a_recording(prior, recordings):
    replayed = with_graphs(prior)
    kernels = [torch.rand(5, 5, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    y = torch.rand(2, *SHAPE)
    for kernel in kernels:
        operator = CircularConvolution(SHAPE, kernel / kernel.sum())
        expected = solve(y, operator, prior=prior, settings=SETTINGS)
        assert (solve(y, operator, prior=replayed, settings=SETTINGS) - expected).abs().max() < 1e-5
    assert len(recordings) == 1


def test_what_differs_is_recorded_apart(prior, recordings):
    replayed, operator = with_graphs(prior), Resize(SHAPE, 2)
    y = measurements(operator, 3)

    def recorded(*args, **kwargs) -> int:
        kwargs = {"settings": SETTINGS, **kwargs}
        found, expected = (solve(*args, prior=each, **kwargs) for each in (replayed, prior))
        assert (found - expected).abs().max() < 1e-5
        return len(recordings)

    counts = [
        recorded(y, operator),
        recorded(y, operator, seed=5),
        recorded(y[:2], operator),
        recorded(y, operator, 2),
        recorded(y, operator, sigma_y=0.0),
        recorded(y, 2.0 * operator),
        recorded(y, 3.0 * operator),
        recorded(y, operator, settings=Settings()),
    ]
    assert counts == [1, 1, 2, 3, 4, 5, 6, 7]


def test_operators_whose_kernels_follow_from_values_are_not_recorded(prior, recordings):
    """The network's evaluations alone are."""
    mask = Mask(SHAPE, torch.ones(SHAPE[1:]))
    for operator in (
        FunctionOperator(SHAPE, lambda x: 2 * x),
        Convolution(SHAPE, torch.ones(3, 3) / 9, "reflect"),
        mask @ mask,
    ):
        assert kind_of(operator) is None
        y = torch.rand(2, *operator.out_shape)
        expected = solve(y, operator, prior=prior, settings=SETTINGS)
        assert (solve(y, operator, prior=with_graphs(prior), settings=SETTINGS) - expected).abs().max() < 1e-5
    assert {len(recorded.inputs) for recorded in recordings} == {5}  # those of a network


def test_what_cannot_be_recorded_is_called_as_it_is(prior, monkeypatch):
    class Recorded:
        def __init__(self, call, inputs):
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    monkeypatch.setattr(cuda_graphs, "Recorded", Recorded)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    operator = Resize(SHAPE, 2)
    y = measurements(operator, 2)
    replayed, expected = with_graphs(prior), solve(y, operator, prior=prior, settings=SETTINGS)
    with pytest.warns(RuntimeWarning, match="not recorded as a CUDA graph: operation not permitted when stream"):
        assert (solve(y, operator, prior=replayed, settings=SETTINGS) - expected).abs().max() < 1e-5


@pytest.mark.cuda
@pytest.mark.parametrize("name", CLOSED)
def test_a_gpu_replays_solves(name, prior):
    operator = OPERATORS[name]()
    pairs = [(measurements(operator).cuda(), seed) for seed in range(2)]
    operator, prior = operator.cuda(), prior.cuda()
    replayed = with_graphs(prior)
    for y, seed in pairs:
        expected = solve(y, operator, prior=prior, settings=SETTINGS, seed=seed)
        assert (solve(y, operator, prior=replayed, settings=SETTINGS, seed=seed) - expected).abs().max() < 1e-3
