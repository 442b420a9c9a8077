"""Ways to evaluate a network: in place, in lower precision, compiled, as a CUDA graph, in tiles by a file's header."""

from __future__ import annotations

import contextlib
import warnings
import weakref

import pytest
import torch
from training_cases import with_image_size

from invsolve.networks.inference import Accelerated, Inference, accelerate
from invsolve.networks.layers import fold
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.runtime.cuda_graphs import GRAPHS
from invsolve.runtime.memory import Limit, in_micro_batches
from invsolve.runtime.random_streams import NoiseStreams

CPU = torch.device("cpu")
CONFIG = UNetConfig(
    widths=(8, 16), blocks=(1, 2), haar=0, attention=(1,), head_channels=8, conditioning="encoder", labels=3
)


@pytest.fixture
def network() -> UNet:
    """With every gain and mixing weight away from its start, folded."""
    torch.manual_seed(0)
    network = UNet(CONFIG)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(0.3 if "mix" in name else 0.7)
    fold(network)
    return network.eval().requires_grad_(False)


def inputs(batch: int = 2, seed: int = 1) -> tuple[torch.Tensor, ...]:
    stream = torch.Generator().manual_seed(seed)
    x, condition = torch.randn(2, batch, 3, 16, 16, generator=stream)
    return x, torch.randn(batch, generator=stream) / 2, condition, torch.randn(batch, generator=stream) / 2


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def test_working_in_place_changes_nothing_but_memory(network):
    """With gradients a network keeps what it computed, without it overwrites; and never its inputs."""
    network, call = network.double(), [value.double() for value in inputs()]
    given = [value.clone() for value in call]
    labels = torch.tensor([0, 2])
    with torch.enable_grad():
        kept = network(call[0].requires_grad_(), *call[1:], labels)
        (slope,) = torch.autograd.grad(kept.sum(), call[0])
    with torch.no_grad():
        overwritten = network(*call, labels)
    assert kept.abs().max() > 0.1
    assert (overwritten - kept).abs().max() < 1e-12
    assert all(torch.equal(a, b) for a, b in zip(call, given, strict=True))
    step = 1e-6 * torch.randn(call[0].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        rise = network(call[0] + step, *call[1:], labels).sum() - network(call[0] - step, *call[1:], labels).sum()
    assert (2 * (slope * step).sum()).item() == pytest.approx(rise.item(), rel=1e-5)


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 2e-2), ("fp16", 3e-3)])
@pytest.mark.filterwarnings("ignore:this CPU has no instructions")
def test_lower_precision_is_near_and_comes_back_in_float32(precision, bound, network):
    """Units in the last place are 2^-8 and 2^-11; a dozen layers add up."""
    call, labels = inputs(), torch.tensor([1, 2])
    expected = network(*call, labels)
    lower = accelerate(network, CPU, Inference(precision))
    found = lower(*call, labels=labels)
    assert found.dtype == torch.float32
    assert 1e-6 < relative(found, expected) < bound
    assert torch.equal(network(*call, labels), expected)  # the weights given are still what they were
    assert (lower.multiple, lower.config) == (network.multiple, CONFIG)


def test_the_default_on_a_cpu_is_the_network_itself(network):
    assert accelerate(network, CPU, Inference("fp32")) is network


@pytest.mark.parametrize(
    ("flag", "precision"),
    [("_is_avx512_bf16_supported", "bf16"), ("_is_amx_tile_supported", "bf16"), ("_is_amx_fp16_supported", "fp32")],
)
def test_auto_is_bf16_where_the_processor_has_instructions_for_it(flag, precision, monkeypatch):
    monkeypatch.delenv("INVSOLVE_PRECISION", raising=False)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_amx_fp16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert Inference().precision_on(CPU) == "fp32"
    monkeypatch.setattr(torch.cpu, flag, lambda: True)
    assert Inference().precision_on(CPU) == precision
    assert Inference("fp32").precision_on(CPU) == "fp32"
    monkeypatch.setenv("INVSOLVE_PRECISION", "fp16")
    assert Inference().precision_on(CPU) == "fp16"
    monkeypatch.setenv("INVSOLVE_PRECISION", "half")
    with pytest.raises(ValueError, match="INVSOLVE_PRECISION is 'half' but must be one of auto, fp32, bf16, fp16"):
        Inference().precision_on(CPU)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_slow_precision_is_warned_of(precision, monkeypatch):
    monkeypatch.setattr("invsolve.networks.inference.fast_precisions", lambda device: {"fp32"})
    with pytest.warns(RuntimeWarning, match=f"this CPU has no instructions for {precision}, which takes several times"):
        assert Inference(precision).precision_on(CPU) == precision
    monkeypatch.setattr("invsolve.networks.inference.fast_precisions", lambda device: {"fp32", precision})
    with warnings.catch_warnings(action="error"):
        assert Inference(precision).precision_on(CPU) == precision


def test_cuda_graphs_need_cuda(network):
    with pytest.raises(ValueError, match="CUDA graphs were asked for but the device is cpu"):
        accelerate(network, CPU, Inference(cuda_graphs=True))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_a_compiled_network_gives_the_same(precision, bound, network):
    compiled = accelerate(network, CPU, Inference(precision, compile=True))
    with torch.no_grad():
        for batch in (2, 3):
            assert relative(compiled(*inputs(batch)), network(*inputs(batch))) < bound


@pytest.mark.cuda
@pytest.mark.parametrize("compile_", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 2e-3), ("bf16", 2e-2), ("fp16", 3e-3)])
def test_a_cuda_graph_gives_the_same_at_every_shape(precision, bound, compile_, network):
    device = torch.device("cuda")
    replayed = accelerate(network.to(device), device, Inference(precision, compile_, cuda_graphs=True))
    expected, found = {}, {}
    with torch.no_grad():
        for batch in (*range(1, GRAPHS + 2), 1, 2):
            call = [value.to(device) for value in inputs(batch, seed=batch)]
            expected[batch], found[batch] = network(*call), replayed(*call)
    assert all(relative(found[batch], expected[batch]) < bound for batch in expected)  # none overwritten by a replay
    x, *rest = (value.to(device) for value in inputs())
    (slope,) = torch.autograd.grad(replayed(x.requires_grad_(), *rest).sum(), x)
    assert slope.abs().max() > 0


class FakeGraph:
    """In place of a recorded graph: evaluates anew, and knows the current device at each use."""

    current, uses, alive = None, [], weakref.WeakSet()

    def __init__(self, call, inputs):
        self.call = call
        self.alive.add(self)
        self.uses.append(("recorded", self.current))

    def __call__(self, inputs):
        self.uses.append(("replayed", self.current))
        return self.call(*inputs)


@pytest.fixture
def fake_graphs(monkeypatch) -> type[FakeGraph]:
    """CUDA graphs without CUDA, on a machine whose current device is 0."""

    @contextlib.contextmanager
    def device(index):
        before, FakeGraph.current = FakeGraph.current, torch.device(index)
        yield
        FakeGraph.current = before

    FakeGraph.current, FakeGraph.uses = torch.device("cuda:0"), []
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr("invsolve.runtime.cuda_graphs.Recorded", FakeGraph)
    return FakeGraph


def test_a_graph_is_recorded_and_replayed_on_the_device_of_its_inputs(network, fake_graphs):
    replayed = Accelerated(network, torch.float32, graphs=True)
    for _ in range(2):
        assert torch.equal(replayed(*inputs()), network(*inputs()))
    assert fake_graphs.uses == [("recorded", CPU), ("replayed", CPU), ("replayed", CPU)]
    assert fake_graphs.current == torch.device("cuda:0")


def test_graphs_make_room_when_memory_runs_out(network, fake_graphs):
    """Memory for one image and the graph of one shape; three images are tried first, then two."""
    replayed, call = Accelerated(network, torch.float32, graphs=True), inputs(batch=3)
    tried, found = [], torch.zeros_like(call[0])

    def work(micro_batch: slice) -> None:
        found[micro_batch] = replayed(*(value[micro_batch] for value in call))
        tried.append((micro_batch.stop - micro_batch.start, len(fake_graphs.alive)))
        if tried[-1] > (1, 1):  # not in the network, which could have noticed
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    in_micro_batches(3, 3, work, Limit())
    assert tried == [(3, 1), (2, 1), (1, 1), (1, 1), (1, 1)]
    assert (found - network(*call)).abs().max() < 1e-5
    tried.clear()
    replayed.recordings.release()
    replayed(*inputs(batch=2))
    in_micro_batches(1, 1, work, Limit())
    assert tried == [(1, 2), (1, 1)]  # one image is tried again when that made room


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_cuda_graph_on_a_device_that_is_not_current(network):
    """After one on the current device, whose stream PyTorch would take for the other as well."""
    for device in (torch.device("cuda:0"), torch.device("cuda:1")):
        replayed = accelerate(network.to(device), device, Inference("fp32", cuda_graphs=True))
        with torch.no_grad():
            for seed in (1, 2):
                call = [value.to(device) for value in inputs(seed=seed)]
                assert relative(replayed(*call), network(*call)) < 2e-3


def test_a_file_may_say_that_its_network_knows_one_size(tiny_prior, tmp_path):
    with_image_size(tiny_prior, tmp_path / "fixed.safetensors", 32)
    fixed, free = load_prior(tmp_path / "fixed.safetensors"), load_prior(tiny_prior)
    seen = []
    fixed.denoiser.denoiser.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    for size in (32, 48):
        u = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        a, b = (prior.sample(u, 0.5, NoiseStreams(0, range(2))) for prior in (fixed, free))
        assert (size == 32) == bool((a - b).abs().max() < 1e-5)
        assert {shape[2:] for shape in seen} == {(32, 32)}
    with pytest.raises(ValueError, match="tile is 64 but this prior knows images of 32x32 pixels only"):
        load_prior(tmp_path / "fixed.safetensors", tile=64)


@pytest.mark.filterwarnings("ignore:this CPU has no instructions")
def test_load_prior_takes_the_options(tiny_prior):
    u = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    draws = {
        precision: load_prior(tiny_prior, inference=Inference(precision)).sample(u, 0.5, NoiseStreams(0, range(2)))
        for precision in ("auto", "fp32", "bf16")
    }
    assert torch.equal(draws["auto"], draws["fp32"])  # by INVSOLVE_PRECISION, in tests
    assert 1e-5 < relative(draws["bf16"], draws["fp32"]) < 2e-2
    plain, _, _ = load_denoiser(tiny_prior)
    tiled = load_prior(tiny_prior, tile=16).denoiser
    assert (tiled(u, 0.7, u, 0.5) - plain(u, 0.7, u, 0.5)).abs().max() > 1e-4  # so small that it shows


def test_float32_is_without_tf32_and_leaves_the_programs_choice(monkeypatch):
    """TF32 would round a convolution's factors to 10 bits, on GPUs alone; its switch is there on any machine."""
    seen = []

    class Network(torch.nn.Module):
        config, multiple = None, 1

        def forward(self, x, *others):
            seen.append(torch.backends.cudnn.allow_tf32)
            return x

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Accelerated(Network(), torch.float32)(torch.zeros(1, 3, 4, 4), torch.zeros(1))
    assert (seen, torch.backends.cudnn.allow_tf32) == ([False], True)
