"""Time and memory by picture size, and what tiles change.

    python benchmarks/scaling.py [--sizes 256 512 1024] [--prior default] [--steps 4] [--threads N] [--precision P]
    python benchmarks/scaling.py --photo [--prior FILE]     # 1000x700 through invsolve run sr4x
    python benchmarks/scaling.py --seams [--tile 256]       # tiled against whole, by overlap

Each size is restored in a process of its own (sr4x), so that its peak memory is its own. Seconds are of wall clock,
in parentheses of processor time, which says more on a machine that others use; they do not count loading the prior.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from invsolve.images.files import read_image, write_image
from invsolve.images.metrics import psnr
from invsolve.networks.inference import Inference
from invsolve.priors.registry import load_prior
from invsolve.priors.tiled import Tiled, starts
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.solve import posterior, solve
from invsolve.specs.task import load_task

OVERLAPS = (16, 32, 64, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--prior", default="default")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--photo", action="store_true")
    parser.add_argument("--seams", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one is not None:
        one(options)
    elif options.photo:
        photo(options)
    elif options.seams:
        seams(options)
    else:
        sizes(options)


def photograph(height: int, width: int) -> Tensor:
    """The astronaut, enlarged where she must be: ``[1, 3, height, width]``."""
    picture = read_image("skimage:astronaut", 3)[None]
    scale = max(height / picture.shape[-2], width / picture.shape[-1], 1.0)
    if scale > 1:
        picture = interpolate(picture, scale_factor=scale, mode="bicubic", antialias=True).clip(-1, 1)
    return picture[..., :height, :width].contiguous()


def measured(truth: Tensor):
    """The task sr4x, its operator and a measurement."""
    task = load_task("sr4x")
    operator = task.make_operator(tuple(truth.shape[1:]))
    return task, operator, operator.measure(truth, task.sigma_y, NoiseStreams(1, [0]))


def sizes(options: argparse.Namespace) -> None:
    print(f"sr4x, {options.steps} evaluations, prior {options.prior}, {options.threads} threads:\n")
    print("| size | s | microseconds a pixel | peak memory, MiB |\n|---|---|---|---|", flush=True)
    for size in options.sizes:
        command = [sys.executable, *sys.argv, "--one", str(size)]
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command has it
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        print(done.stdout, end="", flush=True)


def one(options: argparse.Namespace) -> None:
    size = options.one
    prior = load_prior(options.prior, inference=Inference(options.precision))
    task, operator, y = measured(photograph(size, size))
    wall, processor = time.perf_counter(), time.process_time()
    solve(y, operator, options.steps, task.sigma_y, prior, settings=task.settings(options.steps))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    each = 1e6 / size**2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {size}x{size} | {wall:.1f} ({processor:.1f}) | {wall * each:.1f} ({processor * each:.1f}) | {peak:.0f} |")


def photo(options: argparse.Namespace) -> None:
    """A measurement of 250x175 pixels, whose restoration has 1000x700, through the command."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.png"
        _, _, y = measured(photograph(700, 1000))
        write_image(y[0].clip(-1, 1), path)
        command = [sys.executable, "-m", "invsolve", "run", "sr4x", "--input", str(path), "--output", folder]
        command += ["--prior", options.prior, "--steps", str(options.steps), "--device", "cpu"]
        command += ["--precision", options.precision]
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        print(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout, end="")
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        shape = tuple(read_image(path.with_name("photo_restored.png"), 3).shape)
    print(
        f"{shape}: peak memory {usage.ru_maxrss / 1024:.0f} MiB, {usage.ru_utime + usage.ru_stime:.0f} s of processor"
    )


def seams(options: argparse.Namespace) -> None:
    """How far a result in tiles is from that of the whole picture, and whether it jumps where tiles begin."""
    prior = load_prior(options.prior, inference=Inference(options.precision))
    task, operator, y = measured(photograph(512, 512))
    how = (options.steps, task.sigma_y)
    settings = task.settings(options.steps)
    whole = solve(y, operator, *how, prior, settings=settings)
    spread = posterior(y, operator, 4, *how, prior, settings=settings, batch=1).std.square().mean().sqrt().item()
    print(f"sr4x, 512x512, tiles of {options.tile}; standard deviation of samples (root mean square): {spread:.4f}\n")
    print("| overlap | largest difference | its root mean square | of the samples' | PSNR, dB | steps at the seams |")
    print("|---|---|---|---|---|---|", flush=True)
    for overlap in OVERLAPS:
        tiled = load_prior(options.prior, inference=Inference(options.precision))
        tiled.denoiser = Tiled(tiled.denoiser.denoiser, options.tile, overlap, always=True)
        x = solve(y, operator, *how, tiled, settings=settings)
        difference = x - whole
        rms = difference.square().mean().sqrt().item()
        figures = f"{difference.abs().max():.3f} | {rms:.4f} | {rms / spread:.0%} | {psnr(x, whole)[0]:.1f}"
        print(f"| {overlap} | {figures} | {seam_steps(x, whole, options.tile, overlap):.3f} |", flush=True)


def seam_steps(x: Tensor, whole: Tensor, tile: int, overlap: int) -> float:
    """Mean step between neighbouring columns where tiles are blended, over that of the whole's: 1 is no seam."""
    firsts = starts(x.shape[3], tile, overlap, 16)[1:]
    blended = torch.cat([torch.arange(first, first + overlap) for first in firsts])
    steps, expected = (image.diff(dim=3).abs()[..., blended].mean() for image in (x, whole))
    return (steps / expected).item()


if __name__ == "__main__":
    main()
