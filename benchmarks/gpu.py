"""All CUDA tests and the timings on a GPU: the first thing to run wherever there is one.

    python benchmarks/gpu.py [--minutes 4] [--only TABLE ...] [--out FOLDER]
    python benchmarks/gpu.py --cpu        # a small version of every line, which needs no GPU

It runs from the repository, without an installation. The most important lines come first; each is written to
``summary.json`` and ``summary.md`` in FOLDER as soon as it is measured, and left out where the clock says that it does
not fit. The tests' own output is in ``tests.txt`` and ``slow_tests.txt`` there. Times are medians of rounds in which
all that is compared runs in turn, ratios the medians of the rounds' ratios. The exit code is 1 where a test or a line
failed, 2 without a GPU. The tables:

    tests       pytest -m "cuda and not slow", for half of the time at most
    solve       ``solve`` with 4 evaluations of the network against 4 bare ones, as it is and as CUDA graphs; memory
    parts       shares of a solve, each part alone on the same shapes: the network, the noise, the likelihood samples
                (with what the few-step settings add) and the Wiener start
    noise       one call for a batch's noise against torch.randn
    network     the default prior's network, images per second; memory
    operators   forward, adjoint and prox, and those of deepinv's operators of the same definition if it is installed
    published   the published NCVSD FFHQ-256 architecture with random weights, images per second; memory
    compiled    both networks with torch.compile, which takes minutes
    slow_tests  pytest -m "cuda and slow"

(Not named after CUDA: beside the script that runs, a ``cuda.py`` hides NVIDIA's package of that name from torch.)
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(ROOT))  # where the package is not installed

from inference import PUBLISHED, inputs, published
from lines import Clock, Line, Report, Row, run
from marked_tests import run_tests
from operators_deepinv import PAIRS, operator_row
from overhead import STEPS, crops, evaluations, solving
from timing import Call, Seconds, in_turn, medians, ratios
from tuning import measure

from invsolve.networks.inference import Inference, accelerate
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser, GenerativeDenoiser
from invsolve.priors.file import save_denoiser
from invsolve.priors.registry import load_prior, resolve
from invsolve.priors.schedule import karras
from invsolve.runtime.random_streams import NoiseStreams, fused_normals
from invsolve.solver.sampler import Problem, split_gibbs
from invsolve.solver.wiener import wiener_estimate
from invsolve.specs.task import list_linear_tasks, load_task
from operators.precision import full_precision

TABLES = ("tests", "solve", "parts", "noise", "network", "operators", "published", "compiled", "slow_tests")
MS = 1000.0
Load = Callable[[Inference], GenerativeDenoiser]  # the prior, to be evaluated in some way


@dataclass(frozen=True)
class Scale:
    """Where and how large: pixels a side, batches in rising order, rounds, and the networks."""

    device: torch.device
    size: int
    batches: tuple[int, ...]
    repeat: int
    published: UNetConfig
    random: UNetConfig  # in place of the default prior, where ``shipped`` is not wanted or its file is not there
    shipped: bool

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    def times(self, calls: dict[str, Call]) -> dict[str, list[Seconds]]:
        return in_turn(calls, self.repeat, self.device, at_least=0.01 if self.gpu else 0.0)


GPU = Scale(torch.device("cuda"), 256, (1, 8, 32), 5, PUBLISHED, UNetConfig(conditioning="inputs"), shipped=True)
CPU = Scale(
    torch.device("cpu"),
    64,
    (1, 2, 3),
    1,
    replace(PUBLISHED, widths=(16, 16), blocks=(1, 1), head_channels=16),
    UNetConfig(widths=(8, 16), blocks=(1, 1), conditioning="inputs"),
    shipped=False,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0, help="for all of it (default %(default)s)")
    parser.add_argument("--cpu", action="store_true", help="a small version of every line on the CPU")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE", help="some of the tables")
    parser.add_argument("--out", type=Path, help="folder (default benchmarks/results/cuda; with --cpu a temporary one)")
    options = parser.parse_args()
    clock = Clock(60 * options.minutes)
    if not (options.cpu or torch.cuda.is_available()):
        parser.error("there is no CUDA device here; --cpu runs a small version of every line")
    folder = options.out or Path(tempfile.mkdtemp() if options.cpu else ROOT / "benchmarks" / "results" / "cuda")
    folder.mkdir(parents=True, exist_ok=True)
    scale = CPU if options.cpu else GPU
    with tempfile.TemporaryDirectory() as scratch:
        weights = weights_of(scale, Path(scratch))
        report = Report(folder, "CUDA tests and timings", about(scale, weights))
        run([line for line in all_lines(scale, weights, folder, clock) if line.table in options.only], report, clock)
    print(f"\nwritten to {folder}")
    return 0 if report.good else 1


def about(scale: Scale, weights: Path) -> Row:
    """The device, the versions, and what is missing."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if scale.gpu:
        found = torch.cuda.get_device_properties(scale.device)
        device = f"{found.name}, {found.total_memory / 2**30:.0f} GiB, compute capability {found.major}.{found.minor}"
        versions |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    else:
        device = f"a CPU, {platform.machine()}, {torch.get_num_threads()} threads: small sizes, to test this script"
    missing = [name for name in ("pytest", "triton", "deepinv", "diffusers", "lpips") if find_spec(name) is None]
    return {
        "device": device,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "noise kernel": "in use" if fused_normals(scale.device) is not None else "not in use",
        "weights": weights.name,
        "precision of solve": Inference().precision_on(scale.device),
        "not installed": ", ".join(missing) or None,
        "date": time.strftime("%Y-%m-%d"),
    }


def weights_of(scale: Scale, scratch: Path) -> Path:
    """The file of the default prior, or one of random weights."""
    shipped = resolve("default")
    if scale.shipped and shipped.is_file():
        return shipped
    torch.manual_seed(0)
    network = UNet(scale.random)
    nn.init.constant_(network.gain_out, 0.1)  # 0, as at the start of training, would switch the network off
    path = scratch / "random.safetensors"
    spectrum = 1 / (0.01 + torch.linspace(0, 0.7, 64) ** 2)
    save_denoiser(path, Denoiser(network), {"license": "none", "data": "none"}, spectrum=spectrum)
    return path


def all_lines(scale: Scale, weights: Path, folder: Path, clock: Clock) -> list[Line]:
    """The most important ones first."""
    load = cache(lambda inference: load_prior(weights, scale.device, inference))
    denoisers = {
        "network": lambda inference: load(inference).denoiser.denoiser,
        "published": cache(
            lambda inference: Denoiser(accelerate(published(config=scale.published), scale.device, inference))
        ),
    }
    middle, largest = scale.batches[-2:]

    def tests(table: str, marker: str, share: float, seconds: float) -> Line:
        log = folder / f"{table}.txt"
        return Line(table, marker, seconds, lambda: run_tests(ROOT / "tests", marker, share * clock.left, log))

    def tasks(table: str, row: Callable[..., Row], batch: int, seconds: float) -> list[Line]:
        return [
            Line(table, f"{name}, batch {batch}", seconds, partial(row, scale, load, name, batch))
            for name in list_linear_tasks()
        ]

    def network(table: str, name: str, ways: Callable[[Scale], dict], batch: int, seconds: float) -> Line:
        row = partial(network_row, scale, name, denoisers[name], ways(scale), batch)
        return Line(table, f"{name}, batch {batch}", seconds, row)

    def operator(name: str) -> Line:
        row = partial(operator_row, name, largest, scale.size, scale.repeat, scale.device)
        return Line("operators", name, 2, row)

    return [
        tests("tests", "cuda and not slow", share=0.5, seconds=40),
        *tasks("solve", solve_row, largest, seconds=4),
        *tasks("parts", parts_row, largest, seconds=3),
        Line("noise", f"batch {largest}", 2, partial(noise_row, scale, largest)),
        *tasks("solve", solve_row, middle, seconds=4),
        *(network("network", "network", plain_ways, batch, seconds=5) for batch in scale.batches),
        *map(operator, PAIRS),
        *(network("published", "published", plain_ways, batch, seconds=12) for batch in scale.batches),
        *(network("compiled", name, compiled_ways, largest, seconds=90) for name in denoisers),
        *(network("compiled", "network", compiled_ways, batch, seconds=60) for batch in scale.batches[-2::-1]),
        tests("slow_tests", "cuda and slow", share=1.0, seconds=120),
    ]


def solve_row(scale: Scale, load: Load, name: str, batch: int) -> Row:
    """``solve`` against bare evaluations of its network: milliseconds and their ratio; memory beside the weights."""
    truth = crops(scale.size, batch).to(scale.device)
    ways = {"": Inference()} | ({"graphs: ": Inference(cuda_graphs=True)} if scale.gpu else {})
    calls: dict[str, Call] = {}
    for way, inference in ways.items():
        prior = load(inference)
        calls[f"{way}{STEPS} evaluations"] = evaluations(prior.denoiser.denoiser, truth)
        calls[f"{way}solve"] = solving(load_task(name), truth, prior)
    memory = {f"{what}, MiB": peak_memory(scale, calls[what]) for what in (f"{STEPS} evaluations", "solve")}
    times, row = scale.times(calls), {"task": name, "batch": batch}
    for way in ways:
        both = f"{way}{STEPS} evaluations", f"{way}solve"
        row |= {f"{what}, ms": MS * medians(times[what])[0] for what in both}
        row[f"{way}ratio"] = ratios(times[both[1]], times[both[0]])[0]
    return row | memory


class Unchanged:
    """A prior that takes no time."""

    evaluations = 1

    def sample(self, u: Tensor, sigma: float, noise: Callable, **how: float) -> Tensor:
        return u


def parts_row(scale: Scale, load: Load, name: str, batch: int) -> Row:
    """Each part's time alone, in percent of the solve's. What is measured once an operator is in none of them."""
    truth, prior, task = crops(scale.size, batch).to(scale.device), load(Inference()), load_task(name)
    operator, y = measure(task, truth)
    settings = task.settings(STEPS)
    sigmas = karras(STEPS, settings.sigma_max, settings.sigma_min, settings.exponent)
    assumed = task.sigma_y if settings.sigma_likelihood is None else settings.sigma_likelihood
    problem = Problem(y, operator, prior, assumed, sigmas, settings.gamma, settings.few_step)
    without_network = replace(problem, prior=Unchanged())
    made, shapes = {}, []  # the noise of a solve

    def noise(shape: tuple[int, ...]) -> Tensor:
        shapes.append(shape)
        return made.setdefault(shape, torch.randn(batch, *shape, device=scale.device))

    def wiener() -> Tensor:
        return wiener_estimate(y, operator, task.sigma_y, prior.spectrum)

    with full_precision(scale.device):
        start = wiener() if settings.warm_start else None
        list(split_gibbs(problem, noise, start))
        calls: dict[str, Call] = {
            "solve": solving(task, truth, prior),
            "network": evaluations(prior.denoiser.denoiser, truth),
            "noise": lambda: list(map(NoiseStreams(0, range(batch), scale.device), shapes)),
            "likelihood": lambda: list(split_gibbs(without_network, made.__getitem__, start)),
            **({"Wiener start": wiener} if settings.warm_start else {}),
        }
        times = scale.times(calls)
    shares = {f"{part}, %": 100 * ratios(times[part], times["solve"])[0] for part in calls if part != "solve"}
    return {"task": name, "batch": batch, "solve, ms": MS * medians(times["solve"])[0], **shares}


def noise_row(scale: Scale, batch: int) -> Row:
    """Milliseconds of the noise for images."""
    shape, streams = (3, scale.size, scale.size), NoiseStreams(0, range(batch), scale.device)
    calls = {"ours": lambda: streams(shape), "torch.randn": lambda: torch.randn(batch, *shape, device=scale.device)}
    return {"batch": batch, **{f"{name}, ms": MS * medians(found)[0] for name, found in scale.times(calls).items()}}


def plain_ways(scale: Scale) -> dict[str, Inference]:
    ways = {precision: Inference(precision) for precision in ("fp32", "bf16")}
    graphs = {f"{precision}, graph": Inference(precision, cuda_graphs=True) for precision in ways}
    return ways | (graphs if scale.gpu else {})


def compiled_ways(scale: Scale) -> dict[str, Inference]:
    precision = Inference().precision_on(scale.device)
    ways = {precision: Inference(precision), f"{precision}, compiled": Inference(precision, compile=True)}
    graphs = {f"{precision}, compiled, graph": Inference(precision, compile=True, cuda_graphs=True)}
    return ways | (graphs if scale.gpu else {})


def network_row(
    scale: Scale, name: str, denoiser: Callable[[Inference], nn.Module], ways: dict[str, Inference], batch: int
) -> Row:
    """Images per second in one evaluation; its memory beside the weights, the first way."""
    torch.compiler.reset()  # it gives up after a few shapes of one network
    call = inputs(batch, scale.size, scale.device)
    calls = {way: partial(denoiser(inference), *call) for way, inference in ways.items()}
    first = next(iter(calls))
    memory = {f"{first}, MiB": peak_memory(scale, calls[first])}
    rates = {way: batch / medians(found)[0] for way, found in scale.times(calls).items()}
    return {"network": name, "batch": batch, **rates, **memory}


def peak_memory(scale: Scale, call: Call) -> float | None:
    """MiB of the GPU that a call takes at most beside what is held already, in its second run; None on a CPU."""
    if not scale.gpu:
        return None
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


if __name__ == "__main__":
    sys.exit(main())
