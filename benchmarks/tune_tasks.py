"""Tune a task's settings by LPIPS and PSNR on held-out training pictures, one setting after the other.

    python benchmarks/tune_tasks.py --data FFHQ/train --tasks sr4x [--images 7] [--crop 160] [--steps 4] [--minutes 10]

The pictures are the last ones of the folder in name order, which the shipped priors were not trained on. The search
starts from the settings in ``tasks/`` and tries a larger and a smaller value of each; what is better is kept. A round
that improves nothing halves the moves. It ends when they are a quarter of the first ones, or after ``--minutes`` a
task. The measurements and the noise of the samples are the same at every try. Each task ends with its settings as they
are written in its YAML file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from statistics import mean

import yaml
from torch import Tensor
from tuning import measure, options_parser, read_pictures, rounded, search

from invsolve import Settings, solve
from invsolve.images.metrics import Metric, load_lpips, psnr
from invsolve.networks.inference import Inference
from invsolve.priors.denoiser import Prior
from invsolve.priors.registry import load_prior
from invsolve.specs.task import Task, list_linear_tasks, load_task

Loss = Callable[[Settings], float]

FACTORS = {"sigma_min": 1.3, "sigma_likelihood": 1.4, "exponent": 1.35, "sigma_max": 1.4}
SUMMANDS = {
    "overrelaxation": 0.2,
    "renoise": 0.3,
    "momentum": 0.15,
    "sigma_inflation": 0.15,
    "output_ema": 0.12,
    "gamma": 0.2,
}
FLAGS = ("warm_start",)
TRIED = (*FACTORS, *SUMMANDS, *FLAGS)
FOR_WHITE_NOISE = ("sigma_likelihood", "overrelaxation", "renoise")  # of linear operators alone
LARGEST = {
    "overrelaxation": 0.95,
    "renoise": 1.0,
    "momentum": 0.8,
    "output_ema": 0.8,
    "gamma": 0.414,
    "sigma_max": 20.0,  # the priors know no larger noise level
}
DECIBEL = 0.03  # what a decibel is worth, as a share of LPIPS
LEAST_GAIN = 0.0015  # less is taken for chance


def main() -> None:
    parser = options_parser(__doc__, images=7, minutes=10.0, prior="default")
    parser.add_argument("--steps", type=int, default=4, help="network evaluations (default 4)")
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data is missing: the folder of training pictures")
    try:
        truth = read_pictures(options)
    except ValueError as error:
        parser.error(str(error))
    lpips = load_lpips(options.lpips_trunk, options.device)
    prior = load_prior(options.prior, options.device, Inference(options.precision))
    linear = list_linear_tasks()
    for name in options.tasks:
        task = load_task(name)
        loss = objective(task, truth, prior, lpips, options.steps)
        if (start := task.settings(options.steps)) is None:
            parser.error(f"the task {name} has no settings to start from: the solver chooses them for the operator")
        names = [each for each in TRIED if name in linear or each not in FOR_WHITE_NOISE]
        best = search(loss, start, names, moves, options.minutes, LEAST_GAIN)
        print(f"{name}:\n{as_yaml(best)}", flush=True)


def objective(task: Task, truth: Tensor, prior: Prior, lpips: Metric, steps: int) -> Loss:
    """``log LPIPS - 0.03 PSNR``, of means over pictures restored from measurements of a task, by its settings."""
    operator, y = measure(task, truth)

    def loss(settings: Settings) -> float:
        restored = solve(y, operator, steps, task.sigma_y, prior, settings=settings, noise=task.noise(operator))
        distance, decibels = mean(lpips(restored, truth)), mean(p or math.inf for p in psnr(restored, truth))
        print(f"  {distance:.4f} {decibels:.2f} dB {in_use(settings)}", flush=True)
        return math.log(distance) - DECIBEL * decibels

    return loss


def moves(settings: Settings, name: str, scale: float) -> Iterator[Settings]:
    """The settings with one of them moved up, and down, where that is allowed and changes it."""
    group = settings if hasattr(settings, name) else settings.few_step
    value = getattr(group, name)
    if name in FLAGS:
        values = [not value]
    else:
        if value is None:  # unset: the true noise level, and the over-noising of the training
            value = {"sigma_likelihood": 0.05, "gamma": LARGEST["gamma"]}[name]
        step = FACTORS[name] ** scale if name in FACTORS else SUMMANDS[name] * scale
        found = [value * step, value / step] if name in FACTORS else [value + step, value - step]
        values = [rounded(min(max(each, 0.0), LARGEST.get(name, each))) for each in found]
    for each in values:
        if each != getattr(group, name):
            try:
                changed = dataclasses.replace(group, **{name: each})
            except ValueError:  # such as a sigma_min above sigma_max
                continue
            yield changed if group is settings else dataclasses.replace(settings, few_step=changed)


def in_use(settings: Settings) -> dict:
    """The settings that differ from their defaults."""
    found, default = dataclasses.asdict(settings), dataclasses.asdict(Settings())
    few_step = {name: v for name, v in found.pop("few_step").items() if v != default["few_step"][name]}
    changed = {name: v for name, v in found.items() if v != default[name]}
    return {**changed, "few_step": few_step} if few_step else changed


def as_yaml(settings: Settings) -> str:
    """The settings as in a task's file."""
    text = yaml.safe_dump(in_use(settings), sort_keys=False)
    return "".join(f"    {line}\n" for line in text.splitlines())


if __name__ == "__main__":
    main()
