"""Tune a task's settings by LPIPS and PSNR on held-out training pictures, one setting after the other.

    python benchmarks/tune_tasks.py --data FFHQ/train --tasks sr4x [--images 7] [--crop 160] [--steps 4] [--minutes 10]

The pictures are the last ones of the folder in name order, which the shipped priors were not trained on. The search
starts from the settings in ``tasks/`` and tries a larger and a smaller value of each; what is better is kept. A round
that improves nothing halves the moves. It ends when they are a quarter of the first ones, or after ``--minutes`` a
task. The measurements and the noise of the draws are the same at every try. Each task ends with its settings as they
are written in its YAML file.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import torch

from invsolve import Settings, solve
from invsolve.images.files import central_crop, list_pictures, read_image
from invsolve.images.metrics import load_lpips, psnr
from invsolve.networks.inference import PRECISIONS, Inference
from invsolve.priors.denoiser import Prior
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.task import Task, list_tasks, load_task

Loss = Callable[[Settings], float]
Metric = Callable[[torch.Tensor, torch.Tensor], list[float]]

MEASUREMENT = -1  # keys the stream of the measurement noise
FACTORS = {"sigma_min": 1.3, "sigma_likelihood": 1.4, "exponent": 1.35, "sigma_max": 1.4}
SUMMANDS = {
    "overrelaxation": 0.2,
    "renoise": 0.3,
    "renoise_first": 0.3,
    "momentum": 0.15,
    "sigma_inflation": 0.15,
    "output_ema": 0.12,
    "gamma": 0.2,
}
FLAGS = ("warm_start",)
LARGEST = {
    "overrelaxation": 0.95,
    "renoise": 1.0,
    "renoise_first": 1.0,
    "momentum": 0.8,
    "output_ema": 0.8,
    "gamma": 0.414,
    "sigma_max": 20.0,  # the priors know no higher level
}
DIGITS = 3
DECIBEL = 0.03  # what a decibel is worth, as a share of LPIPS
LEAST_GAIN = 0.0015  # less is taken for chance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of training pictures")
    parser.add_argument("--tasks", nargs="+", default=list_tasks())
    parser.add_argument("--images", type=int, default=7, help="pictures, the last in name order (default 7)")
    parser.add_argument("--crop", type=int, help="their central crop, in pixels (default: the whole)")
    parser.add_argument("--steps", type=int, default=4, help="network evaluations (default 4)")
    parser.add_argument("--prior", default="default", help="a prior's name or file (default default)")
    parser.add_argument("--minutes", type=float, default=10.0, help="the longest search for a task (default 10)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the network (default fp32)")
    parser.add_argument("--lpips-trunk", type=Path)
    options = parser.parse_args()
    truth = torch.stack([read_image(file, 3) for file in list_pictures([options.data])[-options.images :]])
    if options.crop is not None:
        try:
            truth = central_crop(truth, options.crop)
        except ValueError as error:
            parser.error(str(error))
    truth = truth.to(options.device)
    lpips = load_lpips(options.lpips_trunk, options.device)
    prior = load_prior(options.prior, options.device, Inference(options.precision))
    for name in options.tasks:
        loss = objective(load_task(name), truth, prior, lpips, options.steps)
        best = search(loss, load_task(name).settings(options.steps), time.monotonic() + 60 * options.minutes)
        print(f"{name}:", *as_yaml(best), sep="\n    ", flush=True)


def objective(task: Task, truth: torch.Tensor, prior: Prior, lpips: Metric, steps: int) -> Loss:
    """``log LPIPS - 0.03 PSNR``, of means over pictures restored from measurements of a task, by its settings."""
    operator = task.make_operator(tuple(truth.shape[1:])).to(truth.device)
    streams = NoiseStreams(0, [(i, MEASUREMENT) for i in range(len(truth))], truth.device)
    y = operator.measure(truth, task.sigma_y, streams)

    def loss(settings: Settings) -> float:
        restored = solve(y, operator, steps, task.sigma_y, prior, settings=settings)
        distance, decibels = mean(lpips(restored, truth)), mean(p or math.inf for p in psnr(restored, truth))
        print(f"  {distance:.4f} {decibels:.2f} dB", flush=True)
        return math.log(distance) - DECIBEL * decibels

    return loss


def search(loss: Loss, settings: Settings, deadline: float) -> Settings:
    """Coordinate descent from ``settings``; prints every step taken."""
    lowest, scale = loss(settings), 1.0
    print(f"starting from {settings}", flush=True)
    while scale > 0.2:
        improved = False
        for name in (*FACTORS, *SUMMANDS, *FLAGS):
            for other in moves(settings, name, scale):
                if time.monotonic() > deadline:
                    return settings
                found = loss(other)
                if found < lowest - LEAST_GAIN:
                    lowest, settings, improved = found, other, True
                    print(f"better with {name} {getattr(other, name)}", flush=True)
                    break
        if not improved:
            scale /= 2
    return settings


def moves(settings: Settings, name: str, scale: float) -> Iterator[Settings]:
    """The settings with one of them moved up, and down, where that is allowed and changes it."""
    if name in FLAGS:
        values = [not getattr(settings, name)]
    else:
        value = getattr(settings, name)
        if value is None:  # unset: the true noise level, and the over-noising of the training
            value = {"sigma_likelihood": 0.05, "gamma": LARGEST["gamma"], "renoise_first": settings.renoise}[name]
        step = FACTORS[name] ** scale if name in FACTORS else SUMMANDS[name] * scale
        values = [value * step, value / step] if name in FACTORS else [value + step, value - step]
    for value in values:
        if name not in FLAGS:
            value = float(f"{min(max(value, 0.0), LARGEST.get(name, value)):.{DIGITS}g}")
        if value != getattr(settings, name):
            try:
                yield dataclasses.replace(settings, **{name: value})
            except ValueError:  # such as a sigma_min above sigma_max
                continue


def as_yaml(settings: Settings) -> list[str]:
    """A line for each setting that differs from its default."""
    default = Settings()
    items = dataclasses.asdict(settings).items()
    return [f"{name}: {str(value).lower()}" for name, value in items if value != getattr(default, name)]


if __name__ == "__main__":
    main()
