"""The methods of a benchmark: what they cost is what is stated, and every image has its own noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench_cases import figures, photograph, write_denoiser

from invsolve.bench import runner
from invsolve.bench.baselines import baseline_for
from invsolve.bench.methods import Method, Tools, in_use, make_method, networks_of, split_name
from invsolve.images.metrics import psnr
from invsolve.peers import PEERS, REVISION
from invsolve.priors.denoiser import PosteriorMean
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.degradations import DEGRADATIONS, Degradation
from invsolve.specs.settings import Settings
from invsolve.specs.task import Task, load_task
from operators import LinearOperator

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["baseline", "ncvsd", "ncvsd:3", "teacher", "teacher-diffusion:2", *(f"{peer}:3" for peer in PEERS)]


@pytest.fixture(scope="module")
def tools(tiny_prior, tmp_path_factory) -> Tools:
    denoiser = write_denoiser(tmp_path_factory.mktemp("denoiser") / "plain.safetensors")
    return Tools(4, 0, load_prior(tiny_prior), load_prior(denoiser))


@pytest.mark.parametrize("name", NAMES)
def test_a_method_evaluates_the_network_as_often_as_it_says(name, tools):
    """And the picture of an image is the same in a batch and alone."""
    task = load_task("sr4x")
    operator = task.make_operator((3, 32, 32))
    truth = torch.stack([photograph(0), photograph(1)])
    y = operator.measure(truth, task.sigma_y, NoiseStreams(5, [0, 1]))
    method = make_method(name, task, tools)
    images = []
    networks = [tools.prior.denoiser.denoiser.network, tools.denoiser.denoiser.denoiser.network]  # in their tiles
    hooks = [n.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0]))) for n in networks]
    with torch.no_grad():
        x = method.restore(y, operator, [7, 8])
    for hook in hooks:
        hook.remove()
    assert x.shape == truth.shape
    assert sum(images) == 2 * method.evaluations
    if name != "baseline":
        assert method.evaluations >= 1
        with torch.no_grad():
            alone = method.restore(y[1:], operator, [8])
        assert (alone[0] - x[1]).abs().max() < 1e-3 * x[1].abs().max()


def test_peers_have_the_settings_of_the_kind_of_task_and_start_at_a_level_that_the_denoiser_knows(tools):
    task = replace(load_task("sr4x"), name="of my own")
    settings = make_method("diffpir", task, replace(tools, largest_sigma=5.0)).settings
    assert settings == {"steps": 100, "penalty": 1.75, "zeta": 0.25, "sigma_max": 5.0, "revision": REVISION}


def test_a_benchmark_tells_its_peers_what_the_denoiser_knows(bench, monkeypatch):
    told = []

    def spy(name: str, task: Task, tools: Tools) -> Method:
        told.append(tools.largest_sigma)
        return make_method(name, task, tools)

    monkeypatch.setattr(runner, "make_method", spy)
    record = {"recipe": {"sigma_max": 7.0}, "license": "none", "data": "none"}
    monkeypatch.setattr(runner, "_provenance", lambda name: {"sha256": "0" * 64, "kind": "", "record": record})
    bench("levels", "--tasks", "denoise", "--methods", "ddrm:2", "--limit", 1)
    assert told == [7.0]


def test_names_and_the_networks_that_they_need():
    assert split_name("ddrm:20") == ("ddrm", 20)
    assert split_name("teacher-diffusion") == ("teacher-diffusion", None)
    assert networks_of(["baseline"]) == set()
    assert networks_of(["baseline", "ncvsd:16"]) == {"prior"}
    assert networks_of(["teacher", "dps"]) == {"denoiser"}


def test_steps_of_a_name_replace_those_of_the_run(tools):
    task = load_task("denoise")
    found = {name: make_method(name, task, tools) for name in ("ncvsd", "ncvsd:16", "teacher-diffusion:5", "ddrm:20")}
    assert {name: (method.steps, method.evaluations) for name, method in found.items()} == {
        "ncvsd": (4, 4),
        "ncvsd:16": (16, 16),
        "teacher-diffusion:5": (4, 20),
        "ddrm:20": (20, 20),
    }


@pytest.mark.parametrize("name", ["ncvsd", "teacher", "teacher-diffusion"])
def test_a_warm_start_without_a_spectrum_is_refused_before_anything_is_restored(name, tools):
    plain = tools.denoiser.denoiser
    without = replace(tools, prior=PosteriorMean(plain), denoiser=PosteriorMean(plain))
    task = load_task("colorize")
    assert task.settings(4).warm_start
    with pytest.raises(ValueError, match=f"{name} at colorize: warm_start needs a prior with a spectrum"):
        make_method(name, task, without)


class Halve(LinearOperator):
    """Every pixel at half its value."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__(shape, shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y / 2


def test_a_new_kind_of_degradation_is_restored_by_least_squares(bench, tmp_path, monkeypatch):
    """By the default methods, without a line for it in the benchmark. A^T A = I / 4, so that damped by 1 % of that
    the solution is the image divided by 1.01."""
    monkeypatch.setitem(DEGRADATIONS, "halve", Degradation(lambda request: Halve(request.shape)))
    task = tmp_path / "halve.yaml"
    task.write_text("name: halve\ndescription: x\noperator: {type: halve}\nsigma_y: 0.0\nsettings: [{steps: 1}]\n")
    rows = figures(bench("halve", "--tasks", task, "--methods", "baseline,ncvsd,teacher"))
    assert {method for _, method, _ in rows} == {"baseline", "ncvsd", "teacher"}
    for i in range(5):
        truth = photograph(i)[None]
        assert rows["halve", "baseline", f"{i:05d}"]["psnr"] == pytest.approx(psnr(truth / 1.01, truth)[0], abs=0.02)


def test_damped_least_squares_is_that_of_the_dense_matrix():
    """Of an image and of one that is gray, in one batch."""
    operator = load_task("deblur_gaussian").make_operator((1, 8, 8)).double()
    identity = torch.eye(64, dtype=torch.float64)
    matrix = operator(identity.reshape(64, 1, 8, 8)).flatten(1).T
    y = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y[1] = 0
    v = matrix.T @ y[0].flatten()
    damping = 0.01 * (matrix @ v).square().sum() / v.square().sum()
    expected = torch.linalg.solve(matrix.T @ matrix + damping * identity, v)
    found = baseline_for("of no known kind")(y, operator)
    assert (found[0].flatten() - expected).abs().max() < 1e-10 * expected.abs().max()
    assert torch.equal(found[1], torch.zeros(1, 8, 8, dtype=torch.float64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_the_figures_are_those_of_the_cpu(tiny_prior, tmp_path):
    from bench_cases import make_bench

    bench = make_bench(Path(tmp_path), tiny_prior, 2)
    expected, found = (figures(bench(device, "--device", device, "--batch", 2)) for device in ("cpu", "cuda"))
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key]["psnr"] == pytest.approx(row["psnr"], abs=0.05), key


def test_results_depend_on_the_settings_that_are_in_use():
    """So that a new kind of setting, off by default, leaves them valid; 0 instead of None is no default."""
    levels = {"sigma_max": 2.0, "sigma_min": 0.1, "exponent": 3.0}
    assert in_use(Settings()) == levels
    changes = {"sigma_max": 0.4, "warm_start": True, "overrelaxation": 0.5, "gamma": 0.0, "renoise_first": 0.0}
    assert in_use(Settings(**changes)) == {**levels, **changes}
