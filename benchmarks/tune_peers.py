"""Tune the peers per task by LPIPS on held-out training pictures, one setting after the other.

    python benchmarks/tune_peers.py --data FFHQ/train --out tune_peers.jsonl [--peers ddrm] [--tasks sr4x] [--steps 20]
        [--images 8] [--minutes 30] [--device cuda]
    python benchmarks/tune_peers.py --out tune_peers.jsonl --show

The pictures are the last ones of the folder in name order, which the shipped priors were not trained on, whole: a crop
(``--crop``) is quicker, but values chosen on small pictures need not be the best on large ones. For each peer, number
of steps and task the search starts from the settings that hold now and tries a larger and a smaller value of each one
that ``TRIED`` names; what is better is kept. A round that improves nothing halves the moves. It ends when they are a
quarter of the first ones, or after ``--minutes``. No move takes it more than a tenth above the network evaluations of
the start. The measurements and the noise are the same at every try.

Each line of the output is one setting, measured; what it has is not measured again, so that a run that was stopped goes
on where it was. ``--show`` prints ``invsolve/peers/tuned.yaml`` with the best of the output in it.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml
from tuning import measure, options_parser, read_lines, read_pictures, rounded, search, tune_and_show

from invsolve.images.metrics import Metric, load_lpips, psnr
from invsolve.networks.inference import Inference
from invsolve.peers import PEERS, TUNED, Denoise, Settings, settings_for, tuned_settings
from invsolve.priors.file import read_checkpoint
from invsolve.priors.registry import load_prior, resolve
from invsolve.priors.training_record import largest_sigma
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.specs.task import Task, load_task

# Cheap ones first. Others by --steps; about 1000 evaluations are dear, and PnP-DM has no published settings there.
STEPS = {
    "ddrm": (20,),
    "diffpir": (20, 100),
    "ddnm": (20, 100),
    "pigdm": (20, 100),
    "reddiff": (20, 100),
    "dps": (20, 100),
    "daps": (20, 25),  # 20 and 100 evaluations
    "pnpdm": (6, 10, 40),  # about 20, 100 and 1000
}
TRIED = {
    "ddrm": ("sigma_max", "eta", "eta_b"),
    "diffpir": ("sigma_max", "penalty", "zeta"),
    "ddnm": ("sigma_max", "eta"),
    "pigdm": ("sigma_max", "weight", "eta"),
    "reddiff": ("sigma_max", "weight", "rate"),
    "dps": ("sigma_max", "scale"),
    "daps": ("sigma_max", "tau", "rate"),
    "pnpdm": ("rho_min", "rho", "decay"),
}
FACTORS = {"penalty": 2.5, "weight": 2.0, "scale": 2.0, "rate": 2.2, "tau": 1.8, "rho_min": 1.6, "rho": 1.6}
FACTORS |= {"sigma_max": 2.5}
SUMMANDS = {"eta": 0.3, "eta_b": 0.2, "zeta": 0.3, "decay": 0.06}  # of settings between 0 and 1
SMALLEST = {"rho_min": 0.02, "sigma_max": 0.3}
CONDITIONS = ("prior", "images", "size", "precision")

Line = dict[str, Any]


def main() -> None:
    parser = options_parser(__doc__, images=8, minutes=30.0, prior="teacher")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each setting measured")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(STEPS))
    parser.add_argument("--steps", nargs="+", type=int, help="of each peer (default: those in STEPS)")
    parser.add_argument("--show", action="store_true", help="print the best settings of the output and stop")
    tune_and_show(parser, tune, as_yaml)


def tune(options: argparse.Namespace) -> None:
    """Every search of the options. Raises ValueError where pictures and options, or the output, do not agree."""
    truth = read_pictures(options)
    common = {"prior": options.prior, "images": len(truth), "size": list(truth.shape[-2:])}
    common |= {"precision": options.precision, "device": device_name(options.device)}
    done = read_lines(options.out)
    for line in done:
        for name in CONDITIONS:
            if line.get(name) != common[name]:
                found = f"{name} {line.get(name)} but this run has {common[name]}"
                raise ValueError(f"{options.out} has measurements with {found}: choose another --out")
    denoiser = load_prior(options.prior, options.device, Inference(options.precision)).denoiser
    largest = largest_sigma(read_checkpoint(resolve(options.prior))[0]["record"])
    lpips = load_lpips(options.lpips_trunk, options.device)
    for peer in options.peers:
        for steps in options.steps or STEPS[peer]:
            for name in options.tasks:
                task = load_task(name)
                start = settings_for(peer, task.name, steps, task.kind, largest)
                loss = objective(peer, task, truth, denoiser, lpips, common, options.out, done)
                search(loss, start, TRIED[peer], partial(moves, start.evaluations, largest), options.minutes)


def objective(
    peer: str,
    task: Task,
    truth: torch.Tensor,
    denoiser: Denoise,
    lpips: Metric,
    common: Line,
    out: Path,
    done: list[Line],
) -> Callable[[Settings], float]:
    """The mean LPIPS of the pictures restored with some settings; measured once, and written to the output."""
    operator, y = measure(task, truth)
    known = {key(line): line["lpips"] for line in done}

    def loss(settings: Settings) -> float:
        line = {"peer": peer, "steps": settings.steps, "task": task.name, "values": values_of(peer, settings), **common}
        if key(line) not in known:
            start, noise = time.perf_counter(), NoiseStreams(0, range(len(truth)), truth.device)
            with torch.no_grad():
                x = PEERS[peer].restore(y, operator, denoiser, task.sigma_y, noise, settings)
            x = x.nan_to_num(0.0, 1.0, -1.0)
            line |= {"lpips": mean(lpips(x, truth)), "psnr": mean(psnr(x, truth))}
            line |= {"evaluations": settings.evaluations, "seconds": time.perf_counter() - start}
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            known[key(line)] = line["lpips"]
        return known[key(line)]

    return loss


def moves(evaluations: int, largest: float, settings: Settings, name: str, scale: float) -> Iterator[Settings]:
    """The settings with one of them moved up, and down, where that is allowed and changes it.

    At most a tenth more than ``evaluations``, and no noise level above ``largest``.
    """
    value = getattr(settings, name)
    if name in SUMMANDS:
        step = SUMMANDS[name] * scale
        found = [min(value + step, 1.0), max(value - step, 0.0)]
    else:
        step = FACTORS[name] ** scale
        highest = largest if name in ("sigma_max", "rho") else float("inf")
        found = [min(value * step, highest), max(value / step, SMALLEST.get(name, 0.0))]
    for each in map(rounded, found):
        other = dataclasses.replace(settings, **{name: each})
        if each != value and other.evaluations <= 1.1 * evaluations:
            yield other


def values_of(peer: str, settings: Settings) -> dict[str, Any]:
    """What ``tuned.yaml`` says of them: all that is tuned, and what else is not as published."""
    default = dataclasses.asdict(PEERS[peer].settings())
    items = dataclasses.asdict(settings).items()
    return {name: v for name, v in items if name != "steps" and (name in TRIED[peer] or v != default[name])}


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def key(line: Line) -> str:
    return json.dumps([line[name] for name in ("peer", "steps", "task", "values")], sort_keys=True)


def as_yaml(lines: list[Line]) -> str:
    """``tuned.yaml`` with the settings of lowest LPIPS for each peer, task and number of steps among the lines."""
    best: dict[tuple[str, str, int], Line] = {}
    for line in lines:
        where = line["peer"], line["task"], line["steps"]
        if where not in best or line["lpips"] < best[where]["lpips"]:
            best[where] = line
    tuned = copy.deepcopy(tuned_settings())
    for (peer, task, steps), line in best.items():
        stages = tuned.setdefault(peer, {}).setdefault(task, {})
        stages[steps] = line["values"]
        tuned[peer][task] = dict(sorted(stages.items()))
    comment = TUNED.read_text(encoding="utf-8").partition("\n\n")[0]
    return f"{comment}\n\n{yaml.safe_dump(tuned, default_flow_style=None, sort_keys=False, width=116)}"


if __name__ == "__main__":
    main()
