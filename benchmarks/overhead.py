"""What the solver adds to the network, and an exact likelihood sample against Langevin steps.

    python benchmarks/overhead.py [--size 256] [--batch 8] [--repeat 5] [--threads N] [--prior default] [--out FILE]

First, per task: the time of ``solve`` with 4 network evaluations against that of 4 bare evaluations of the prior's
network on images of the same size and batch; then with the evaluations in the micro-batches that the solver takes, so
that the difference is the solver's own. Second: one exact likelihood sample of bicubic super-resolution against 100
Langevin steps whose gradient autograd computes, and how far each is from the exact law. All interleaved; the medians
count, of times and of the rounds' ratios, in seconds of wall clock and, in parentheses, of processor time, which says
more on a machine that others use. ``--out`` writes these figures and all they depend on as JSON, too.
``benchmarks/cuda.py`` is for a GPU.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from timing import Call, Seconds, in_turn, medians, ratios
from torch import Tensor
from tuning import measure

from invsolve.images.files import read_image
from invsolve.priors.denoiser import Prior
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.solve import solve
from invsolve.specs.task import Task, list_linear_tasks, load_task
from operators import LinearOperator

STEPS = 4
LANGEVIN = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--prior", default="default")
    parser.add_argument("--tasks", nargs="+", default=list_linear_tasks())
    parser.add_argument("--out", type=Path, help="file for the same figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    truth = crops(options.size, options.batch)
    found = {"solve": overhead(options, truth), "likelihood": likelihood(options, truth)}
    if options.out:
        conditions = {name: value for name, value in vars(options).items() if name not in ("tasks", "out")}
        machine = {"machine": platform.machine(), "torch": torch.__version__}
        options.out.write_text(json.dumps({**conditions, **machine, **found}, indent=2) + "\n")


def crops(size: int, count: int) -> Tensor:
    """Pieces of a photograph ``[count, 3, size, size]``."""
    picture = read_image("skimage:astronaut", 3)
    corners = torch.linspace(0, picture.shape[-1] - size, count).long().tolist()
    return torch.stack([picture[:, corner : corner + size, corner : corner + size] for corner in corners])


def evaluations(denoiser: Callable, truth: Tensor) -> Call:
    """``STEPS`` evaluations of a generative denoiser's network on images like ``truth``."""
    level = torch.full((len(truth),), 0.5, device=truth.device)
    u = truth + 0.5 * NoiseStreams(0, range(len(truth)), truth.device)(truth.shape[1:])

    @torch.no_grad()
    def evaluate() -> None:
        for _ in range(STEPS):
            denoiser(u, 1.414 * level, u, level)

    return evaluate


def solving(task: Task, truth: Tensor, prior: Prior) -> Call:
    """``solve`` with ``STEPS`` evaluations and the task's settings."""
    operator, y = measure(task, truth)
    settings = task.settings(STEPS)
    return lambda: solve(y, operator, STEPS, task.sigma_y, prior, settings=settings)


def both(value: Seconds, digits: str) -> str:
    return f"{value[0]:{digits}} ({value[1]:{digits}})"


def overhead(options: argparse.Namespace, truth: Tensor) -> dict[str, dict[str, Seconds]]:
    """Of the bare evaluations, of those in micro_batches and of each task: seconds, and ratios to the first two."""
    prior = load_prior(options.prior)
    calls = {
        "bare": evaluations(prior.denoiser.denoiser, truth),
        "micro_batches": evaluations(prior.denoiser, truth),
        **{name: solving(load_task(name), truth, prior) for name in options.tasks},
    }
    times = in_turn(calls, options.repeat)
    found = {
        name: {"seconds": medians(times[name])}
        | {f"against {other}": ratios(times[name], times[other]) for other in ("bare", "micro_batches")}
        for name in calls
    }
    bare, micro_batches = (both(found[name]["seconds"], ".3g") for name in ("bare", "micro_batches"))
    print(f"solve at {STEPS} evaluations, {len(truth)} images of {options.size}x{options.size}:")
    print(f"{STEPS} bare evaluations: {bare} s; in micro_batches: {micro_batches} s\n")
    print("| task | s | against bare evaluations | against evaluations in micro_batches |\n|---|---|---|---|")
    for name in options.tasks:
        seconds, *against = found[name].values()
        print(f"| {name} | {both(seconds, '.3g')} | {' | '.join(both(ratio, '.2f') for ratio in against)} |")
    return found


def langevin(operator: LinearOperator, x: Tensor, y: Tensor, sigma_y: float, rho: float) -> Tensor:
    """``LANGEVIN`` unadjusted steps on -log p(u | x, y), of half the largest stable size, from ``x``."""
    generator = torch.Generator().manual_seed(3)
    step = 1 / (1 / sigma_y**2 + 1 / rho**2)  # 1 / the largest curvature, |A| being about 1 or less
    u = x.clone()
    for _ in range(LANGEVIN):
        with torch.enable_grad():
            u.requires_grad_()
            energy = (operator(u) - y).square().sum() / (2 * sigma_y**2) + (u - x).square().sum() / (2 * rho**2)
            (slope,) = torch.autograd.grad(energy, u)
        u = u.detach() - step * slope + (2 * step) ** 0.5 * torch.randn(x.shape, generator=generator)
    return u


def likelihood(options: argparse.Namespace, truth: Tensor) -> dict[str, dict]:
    """Seconds and spread of the exact sample and of the Langevin steps, printed."""
    operator = load_task("sr4x").make_operator(tuple(truth.shape[1:]))
    sigma_y, rho = 0.05, 0.3
    y = operator.measure(truth, sigma_y, NoiseStreams(1, range(len(truth))))
    x = truth + rho * NoiseStreams(2, range(len(truth)))(truth.shape[1:])
    streams = list(range(len(truth)))
    calls = {
        "exact sample": lambda: operator.sample(x, y, sigma_y, rho, NoiseStreams(3, streams)),
        f"{LANGEVIN} Langevin steps": lambda: langevin(operator, x, y, sigma_y, rho),
    }
    times = in_turn(calls, max(1, options.repeat // 3))
    exact = copy.deepcopy(operator).double()
    mean = exact.prox(x.double(), y.double(), (sigma_y / rho) ** 2)
    # In the coordinates of the singular vectors, the law's standard deviation is 1 / sqrt(s² / sigma_y² + 1 / rho²).
    deviation = (exact.singular.square() / sigma_y**2 + 1 / rho**2).rsqrt()
    print("\nthe likelihood sample of sr4x (bicubic):\n")
    print("| way | s | times as long | spread in the measured directions, against the exact law |\n|---|---|---|---|")
    found = {}
    for name, call in calls.items():
        error = exact.vt_v @ (call().double() - mean) @ exact.vt_h.mT / deviation
        spread = error.square().mean().sqrt().item()
        seconds, longer = medians(times[name]), ratios(times[name], times["exact sample"])
        print(f"| {name} | {both(seconds, '.3g')} | {both(longer, '.2f')} | {spread:.3f} |")
        found[name] = {"seconds": seconds, "spread": spread}
    return found


if __name__ == "__main__":
    main()
