"""The classical baselines against second ways of computing the same, and that they restore."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from bench_cases import photograph

from invsolve.bench import classical
from invsolve.bench.baselines import BASELINES, SIMPLE, TUNED, make_baseline
from invsolve.images.metrics import psnr
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.task import Task, list_tasks, load_task
from operators import CircularConvolution, Convolution, Grayscale, Identity, LinearOperator, Mask, Resize, motion_kernel

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 64


def measured(task: Task) -> tuple[torch.Tensor, LinearOperator, torch.Tensor]:
    """Two pictures, the operator, and their measurements."""
    truth = torch.stack([photograph(0, SIDE), photograph(2, SIDE)])
    operator = task.make_operator((3, SIDE, SIDE))
    return truth, operator, task.measure(operator, truth, NoiseStreams(0, [0, 1]))


def gains(task: Task, names: list[str]) -> dict[str, float]:
    """By how many dB each is nearer the truth than the simple baseline. A picture alone must be as in a batch."""
    truth, operator, y = measured(task)
    simple = np.mean(psnr(make_baseline(None, task, operator)[0](y), truth))
    found = {}
    for name in names:
        restore, settings = make_baseline(name, task, operator)
        x = restore(y)
        assert x.shape == truth.shape
        assert (restore(y[1:])[0] - x[1]).abs().max() < 1e-4, name
        assert bool(settings) == (BASELINES[name].parameter is not None)
        found[name] = np.mean(psnr(x, truth)) - simple
    return found


GAINS = {  # dB over the simple baseline, at least, by numbers that were tuned for LPIPS
    "colorize": {"nlm": 0, "tv": 0},
    "deblur_gaussian": {"wiener": 1, "richardson_lucy": 1, "tv": 2},
    "deblur_motion": {"wiener": 4, "richardson_lucy": 2, "tv": 5},
    "denoise": {"nlm": 0.5, "tv": 2},
    "inpaint_box": {"biharmonic": 1, "tv": -0.5},
    "inpaint_random": {"biharmonic": 2, "tv": 1},
    "sr4x": {"lanczos": 0, "tv": 0},
}
OTHER_NOISE = ("declip", "dequantize", "jpeg", "poisson")  # for which no classical method is made


def test_the_simple_baseline_of_other_noise_is_a_picture_like_the_truth():
    """Decoded, with its contrast undone, or as it was measured; no method is offered that knows white noise alone."""
    for name in OTHER_NOISE:
        task = load_task(name)
        truth, operator, y = measured(task)
        found = make_baseline(None, task, operator)[0](y)
        assert found.shape == truth.shape
        assert min(psnr(found, truth)) > 14, name
        with pytest.raises(ValueError, match=f"with white noise, but {name} has (estimate|measurement)"):
            make_baseline("tv", task, operator)
    assert {*GAINS, *OTHER_NOISE, "phase_retrieval"} == {*list_tasks()}


def test_hybrid_input_output_explains_the_magnitudes():
    """Better than the gray image by far; where the picture is, magnitudes alone do not always tell."""
    task = load_task("phase_retrieval")
    truth, operator, y = measured(task)
    found = make_baseline(None, task, operator)[0](y)
    assert found.shape == truth.shape
    assert (operator(found) - y).norm() < 0.3 * (operator(operator.blank(y)) - y).norm()
    with pytest.raises(ValueError, match="but phase_retrieval has hio"):
        make_baseline("tv", task, operator)


@pytest.mark.parametrize("task_name", GAINS)
def test_each_classical_method_is_nearer_the_truth_than_the_simple_one(task_name):
    task = load_task(task_name)
    simple = (*SIMPLE.values(), "least_squares", "bm3d")
    names = [name for name, baseline in BASELINES.items() if baseline.serves(task) and name not in simple]
    found, least = gains(task, names), GAINS[task_name]
    assert found.keys() == least.keys()
    assert {name: gain for name, gain in found.items() if gain < least[name]} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("task_name", "gain"), [("denoise", 4), ("colorize", 0)])
def test_bm3d_denoises(task_name, gain):
    pytest.importorskip("bm3d")
    assert gains(load_task(task_name), ["bm3d"])["bm3d"] > gain


def test_the_tuned_numbers_are_of_baselines_at_tasks_that_they_are_made_for():
    for name, tasks in yaml.safe_load(TUNED.read_text()).items():
        for task, values in tasks.items():
            assert BASELINES[name].serves(load_task(task))
            assert list(values) == [BASELINES[name].parameter]
    task = load_task("sr4x")
    operator = task.make_operator((3, SIDE, SIDE))
    value = yaml.safe_load(TUNED.read_text())["tv"]["sr4x"]["weight"]
    assert make_baseline("tv", task, operator)[1]["weight"] == value
    assert make_baseline("tv", task, operator, 0.7)[1]["weight"] == 0.7


@pytest.mark.parametrize(
    "operator",
    [Identity((3, 12, 10)), Resize((3, 12, 8), 2), Mask((3, 12, 10), torch.arange(120).reshape(12, 10) % 3 > 0)],
)
def test_total_variation_is_a_minimum(operator):
    """The objective is convex: nothing near is lower, in random directions and in those that are smooth."""
    generator = torch.Generator().manual_seed(0)
    operator = operator.double()
    y = operator(torch.rand(1, *operator.in_shape, generator=generator, dtype=torch.float64))
    weight = 0.03

    def objective(u: torch.Tensor) -> float:
        rows = torch.nn.functional.pad(u.diff(dim=2), (0, 0, 0, 1))
        columns = torch.nn.functional.pad(u.diff(dim=3), (0, 1))
        variation = (rows.square() + columns.square()).sum(1).sqrt().sum()
        return float((operator(u) - y).square().sum() / 2 + weight * variation)

    u = classical.total_variation(operator, 0.3, 0.1)(y)
    lowest = objective(u)
    for scale in (1e-1, 1e-2):
        for _ in range(20):
            step = scale * torch.randn(u.shape, generator=generator, dtype=torch.float64)
            assert objective(u + step) > lowest - 1e-4
            assert (
                objective(u + scale * torch.randn(1, 3, 1, 1, generator=generator, dtype=torch.float64)) > lowest - 1e-4
            )
    assert lowest < objective(operator.pinv(y))
    assert lowest < objective(torch.full_like(u, float(u.mean())))


def test_richardson_lucy_is_that_of_scikit_image():
    """On the picture repeated around itself, which makes its zero boundary circular in the middle."""
    from skimage.restoration import richardson_lucy

    kernel = motion_kernel(7, 0.5, seed=1)
    operator = CircularConvolution((1, 32, 32), kernel)
    y = operator(photograph(0)[None, :1])
    found = classical.richardson_lucy(operator, 0.05, 5)(y)
    around = np.tile((y[0, 0].double().numpy() + 1) / 2, (5, 5))
    expected = richardson_lucy(around, kernel.double().numpy(), num_iter=5, clip=False)[64:96, 64:96]
    assert np.abs((found[0, 0].numpy() + 1) / 2 - expected).max() < 1e-5


def test_wiener_minimises_its_objective_in_closed_form():
    """|A u - y|² + lam |L u|² with the circular Laplacian, by the dense normal equations."""
    kernel = motion_kernel(5, 0.5, seed=1)
    operator = CircularConvolution((1, 10, 12), kernel)
    y = torch.rand(1, 1, 10, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = classical.wiener(operator, 0.5, 0.4)(y)
    identity = torch.eye(120).reshape(120, 1, 10, 12)
    matrix = operator(identity).flatten(1).T.double()
    rolled = sum(identity.roll(shift, dim) for dim in (2, 3) for shift in (1, -1))
    laplacian = (4 * identity - rolled).flatten(1).T.double()
    ones = (y.flatten().double() + 1) / 2
    expected = torch.linalg.solve(matrix.T @ matrix + 0.4 * 0.25 * laplacian.T @ laplacian, matrix.T @ ones)
    assert (found.flatten() - (2 * expected - 1)).abs().max() < 1e-4


@pytest.mark.parametrize(
    "operator",
    [
        Convolution((3, 16, 16), motion_kernel(5, 0.5, seed=0), "reflect"),
        CircularConvolution(
            (3, 16, 16), torch.stack([torch.roll(motion_kernel(5, 0.5, seed=0), i, 0) for i in range(3)])
        ),
        Grayscale((3, 16, 16)),
    ],
)
def test_what_is_no_circular_blur_has_no_kernel(operator):
    with pytest.raises(ValueError, match="needs a blur of the whole picture"):
        classical.circular_kernel(operator)


def test_biharmonic_leaves_what_was_observed_and_fills_a_ramp_exactly():
    """A linear ramp is biharmonic; a mask for each image and channel is taken for what it is."""
    ramp = torch.linspace(-1, 1, 16).expand(2, 3, 16, 16).clone()
    mask = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.3
    mask[..., [0, 1, -2, -1], :] = mask[..., [0, 1, -2, -1]] = True
    operator = Mask((3, 16, 16), mask)
    y = operator(ramp)
    found = classical.biharmonic(y, operator)
    assert torch.equal(found[mask], y[mask])
    assert (found - ramp).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["nlm", pytest.param("bm3d", marks=pytest.mark.slow)])
def test_a_gray_measurement_is_denoised_to_a_gray_picture(name):
    if name == "bm3d":
        pytest.importorskip("bm3d")
    operator = Grayscale((3, SIDE, SIDE))
    clean = operator(photograph(0, SIDE)[None])
    y = clean + 0.2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = BASELINES[name].restore(operator, 0.2, 1.0)(y)
    assert torch.equal(found[:, 0], found[:, 1])
    assert (found[:, :1] - clean).square().mean() < 0.5 * (y - clean).square().mean()


def test_bm3d_says_how_to_install_its_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bm3d", None)
    with pytest.raises(ValueError, match=r'needs the package bm3d: pip install "invsolve\[bm3d\]"'):
        make_baseline("bm3d", load_task("denoise"), Identity((3, 16, 16)))
