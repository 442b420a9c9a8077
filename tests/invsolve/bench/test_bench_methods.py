"""The methods of a benchmark: what they cost is what is stated, and every image has its own noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from bench_cases import Bench, figures, photograph, write_denoiser

from invsolve.bench.baselines import least_squares, nearest_observed
from invsolve.bench.methods import Method, Tools, in_use, make_method, network_of, split_name
from invsolve.bench.runner import prepare
from invsolve.images.metrics import psnr
from invsolve.peers import PEERS, REVISION
from invsolve.priors.denoiser import PosteriorMean
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.defaults import default_settings
from invsolve.specs.degradations import DEGRADATIONS, Degradation
from invsolve.specs.options import BenchOptions
from invsolve.specs.settings import FewStep, Settings
from invsolve.specs.task import Task, load_task
from operators import LinearOperator, Mask

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["baseline", "ncvsd", "ncvsd:3", "teacher", "teacher-diffusion:2", *(f"{peer}:3" for peer in PEERS)]
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def tools(tiny_prior, tmp_path_factory) -> Tools:
    denoiser = write_denoiser(tmp_path_factory.mktemp("denoiser") / "plain.safetensors")
    return Tools(4, 0, load_prior(tiny_prior), load_prior(denoiser))


def make(name: str, task: Task, tools: Tools) -> Method:
    return make_method(name, task, task.make_operator(SHAPE), tools)


REFUSED = "the method is for white noise of linear operators alone, not for PhaseRetrieval"


@pytest.mark.parametrize("name", ["baseline", "ncvsd:2", "teacher:2", *(f"{peer}:2" for peer in PEERS)])
def test_phase_retrieval_is_restored_or_refused_before_the_first_picture(name, tools, monkeypatch):
    monkeypatch.setattr("operators.fienup.INPUT_OUTPUT", 2)
    task = load_task("phase_retrieval")
    operator, kind = task.make_operator(SHAPE), name.partition(":")[0]
    if kind in PEERS and not PEERS[kind].takes:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
            make_method(name, task, operator, tools)
        assert str(caught.value) == f"{name} at phase_retrieval: {REFUSED}"
        return
    method = make_method(name, task, operator, tools)
    y = task.measure(operator, torch.stack([photograph(0), photograph(1)]), NoiseStreams(5, [0, 1]))
    x = method.restore(y, [3, 4])
    assert x.shape == (2, *SHAPE)
    assert x.isfinite().all()
    if kind == "ncvsd":
        assert method.evaluations == 2 * 4  # in each of four runs


@pytest.mark.parametrize("name", NAMES)
def test_a_method_evaluates_the_network_as_often_as_it_says(name, tools):
    """And the picture of an image is the same in a batch and alone."""
    task = load_task("sr4x")
    operator = task.make_operator(SHAPE)
    truth = torch.stack([photograph(0), photograph(1)])
    y = operator.measure(truth, task.sigma_y, NoiseStreams(5, [0, 1]))
    method = make_method(name, task, operator, tools)
    images = []
    networks = [tools.prior.denoiser.denoiser.network, tools.denoiser.denoiser.denoiser.network]  # in their tiles
    hooks = [n.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0]))) for n in networks]
    with torch.no_grad():
        x = method.restore(y, [7, 8])
    for hook in hooks:
        hook.remove()
    assert x.shape == truth.shape
    assert sum(images) == 2 * method.evaluations
    if name != "baseline":
        assert method.evaluations >= 1
        with torch.no_grad():
            alone = method.restore(y[1:], [8])
        assert (alone[0] - x[1]).abs().max() < 1e-3 * x[1].abs().max()


def test_a_task_without_settings_has_the_solvers_own(tools):
    task = replace(load_task("sr4x"), stages=())
    found = make("ncvsd", task, tools).settings
    chosen = default_settings(task.make_operator(SHAPE), task.sigma_y, tools.prior)
    assert {name: found[name] for name in ("sigma_max", "sigma_min", "sigma_likelihood", "warm_start")} == {
        "sigma_max": chosen.sigma_max,
        "sigma_min": chosen.sigma_min,
        "sigma_likelihood": chosen.sigma_likelihood,
        "warm_start": True,
    }


def test_peers_have_the_settings_of_the_kind_of_task_and_start_at_a_level_that_the_denoiser_knows(tools):
    task = replace(load_task("sr4x"), name="of my own")
    settings = make("diffpir", task, replace(tools, largest_sigma=5.0)).settings
    assert settings == {"steps": 100, "penalty": 1.75, "zeta": 0.25, "sigma_max": 5.0, "revision": REVISION}


def test_peers_start_at_the_largest_noise_level_of_the_denoisers_training(tmp_path):
    record = {"recipe": {"sigma_max": 0.7}, "license": "none", "data": "none"}
    denoiser = str(write_denoiser(tmp_path / "denoiser.safetensors", record=record))
    options = BenchOptions(tmp_path, tmp_path, ("colorize",), ("dps:20",), denoiser=denoiser)
    (job,) = prepare(options, torch.device("cpu"))[0].at((32, 32))
    assert job.methods[0].settings["sigma_max"] == 0.7


def test_names_and_the_networks_that_they_need():
    assert split_name("ddrm:20") == ("ddrm", 20)
    assert split_name("teacher-diffusion") == ("teacher-diffusion", None)
    needed = {"baseline": None, "ncvsd:16": "prior", "teacher": "denoiser", "dps": "denoiser"}
    assert {name: network_of(name) for name in needed} == needed


def test_steps_of_a_name_replace_those_of_the_run(tools):
    names = ("ncvsd", "ncvsd:16", "teacher-diffusion:5", "ddrm:20")
    methods = [make(name, load_task("denoise"), tools) for name in names]
    assert [(m.steps, m.evaluations) for m in methods] == [(4, 4), (16, 16), (4, 20), (20, 20)]


def test_teacher_diffusion_has_the_settings_of_teacher(tools):
    """Of as many evaluations as there are samples; without over-noising, which a plain denoiser does not know."""
    task, many = load_task("colorize"), replace(tools, steps=20)
    plain, sampled = (dict(make(name, task, many).settings) for name in ("teacher", "teacher-diffusion:5"))
    assert sampled.pop("sample") == 5
    assert plain == sampled
    ours = dict(make("ncvsd", task, many).settings)
    assert {name: ours.pop(name) for name in ("gamma", "sigma_inflation")} == {"gamma": 0.0, "sigma_inflation": 0.15}
    assert plain == ours


@pytest.mark.parametrize("name", ["ncvsd", "teacher", "teacher-diffusion"])
def test_a_warm_start_without_a_spectrum_is_refused_before_anything_is_restored(name, tools):
    plain = tools.denoiser.denoiser
    without = replace(tools, prior=PosteriorMean(plain), denoiser=PosteriorMean(plain))
    task = load_task("colorize")
    assert task.settings(4).warm_start
    with pytest.raises(ValueError, match=f"{name} at colorize: warm_start needs a prior with a spectrum"):
        make(name, task, without)


class Halve(LinearOperator):
    """Every pixel at half its value."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__(shape, shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y / 2


@dataclass(frozen=True)
class Halving(Degradation):
    def operator(self, shape, given=None, seed=0):
        return Halve(shape)


def test_a_new_kind_of_degradation_is_restored_by_least_squares(bench, tmp_path, monkeypatch):
    """By the default methods, without a line for it in the benchmark. A^T A = I / 4, so that damped by 1 % of that
    the solution is the image divided by 1.01."""

    class Halved(Degradation):
        def operator(self, shape, given=None, seed=0):
            return Halve(shape)

    monkeypatch.setitem(DEGRADATIONS, "halve", Halved)
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
    found = least_squares(y, operator)
    assert (found[0].flatten() - expected).abs().max() < 1e-10 * expected.abs().max()
    assert torch.equal(found[1], torch.zeros(1, 8, 8, dtype=torch.float64))


def test_a_missing_pixel_is_that_of_its_own_image_and_channel():
    """Each image and channel has a mask of its own, and the last one no observed pixel: it stays as it is."""
    mask = torch.zeros(2, 2, 1, 4)
    mask[0, 0, 0, 0] = mask[0, 1, 0, 3] = mask[1, 0, 0, 1] = 1
    y = Mask((2, 1, 4), mask)(torch.arange(1.0, 17).reshape(2, 2, 1, 4))
    found = nearest_observed(y, Mask((2, 1, 4), mask))
    assert found.flatten(0, 2).tolist() == [[1.0] * 4, [8.0] * 4, [10.0] * 4, [0.0] * 4]


@pytest.mark.cuda
def test_on_a_gpu_the_figures_are_those_of_the_cpu(bench: Bench):
    expected, found = (figures(bench(device, "--device", device, "--batch", 2)) for device in ("cpu", "cuda"))
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key]["psnr"] == pytest.approx(row["psnr"], abs=0.05), key


def test_results_depend_on_the_settings_that_are_in_use():
    """So that a new kind of setting, off by default, leaves them valid; 0 instead of None is no default."""
    levels = {"sigma_max": 2.0, "sigma_min": 0.1, "exponent": 3.0}
    assert in_use(Settings()) == levels
    changes, few_step = (
        {"sigma_max": 0.4, "warm_start": True, "gamma": 0.0},
        {"overrelaxation": 0.5},
    )
    assert in_use(Settings(**changes, few_step=FewStep(**few_step))) == {**levels, **changes, **few_step}
