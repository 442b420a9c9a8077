"""Tune the classical baselines of `invsolve bench` per task by LPIPS on training pictures, each by its one number.

    python benchmarks/tune_baselines.py --data PHOTOS FFHQ/train --out tune_baselines.jsonl [--crop 160]
        [--baselines tv wiener] [--tasks sr4x] [--images 12] [--minutes 30]
    python benchmarks/tune_baselines.py --out tune_baselines.jsonl --show

The pictures are the last ones of each folder in name order, their central ``--crop`` pixels. From the value that holds
now the search goes up and down by a factor of 2, and by its square root and fourth root where that is no better.
Measurements and noise are the same at every try. Each line of the output is one value, measured; what it has is not
measured again. ``--show`` prints ``invsolve/bench/baselines.yaml`` with the best of the output in it.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml
from torch import Tensor
from tuning import measure, read_lines, rounded, search, tune_and_show

from invsolve.bench.baselines import BASELINES, TUNED, make_baseline, tuned_values
from invsolve.images.files import central_crop, list_pictures, read_image
from invsolve.images.metrics import Metric, load_lpips, psnr
from invsolve.specs.task import Task, list_tasks, load_task

FACTOR = 2.0
LEAST_GAIN = 0.0005  # of LPIPS; less is taken for chance
WHOLE = ("iterations",)  # parameters that are whole numbers
TUNABLE = [name for name, baseline in BASELINES.items() if baseline.parameter]

Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", help="folders of training pictures")
    parser.add_argument("--images", type=int, default=12, help="of each folder (default %(default)s)")
    parser.add_argument("--crop", type=int, default=160, help="pixels a side (default %(default)s)")
    parser.add_argument("--baselines", nargs="+", choices=TUNABLE, default=TUNABLE)
    parser.add_argument("--tasks", nargs="+", default=list_tasks())
    parser.add_argument("--minutes", type=float, default=30.0, help="the longest search, each (default %(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lpips-trunk", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each value measured")
    parser.add_argument("--show", action="store_true", help="print the best values of the output and stop")
    tune_and_show(parser, tune, as_yaml)


def tune(options: argparse.Namespace) -> None:
    """Every search of the options. Raises ValueError where a crop does not fit."""
    files = [file for folder in options.data for file in list_pictures([folder])[-options.images :]]
    truth = torch.stack([central_crop(read_image(file), options.crop) for file in files]).to(options.device)
    lpips = load_lpips(options.lpips_trunk, options.device)
    for name in options.baselines:
        for task in map(load_task, options.tasks):
            if BASELINES[name].serves(task):
                known = tuned_values().get(name, {}).get(task.name, {})
                start = known.get(BASELINES[name].parameter, BASELINES[name].default)
                loss = objective(name, task, truth, lpips, options.out)
                search(loss, start, ("",), moves_of(name), options.minutes, LEAST_GAIN)


def objective(name: str, task: Task, truth: Tensor, lpips: Metric, out: Path) -> Callable[[float], float]:
    """The mean LPIPS of the pictures restored with a value; measured once, and written to the output."""
    operator, y = measure(task, truth)
    common = {"baseline": name, "task": task.name, "images": len(truth), "size": list(truth.shape[-2:])}
    known = {line["value"]: line["lpips"] for line in read_lines(out) if common.items() <= line.items()}

    def loss(value: float) -> float:
        if value not in known:
            x = make_baseline(name, task, operator, value)[0](y)
            line = common | {"value": value, "lpips": mean(lpips(x, truth)), "psnr": mean(psnr(x, truth))}
            with out.open("a") as file:
                file.write(json.dumps(line) + "\n")
            known[value] = line["lpips"]
        return known[value]

    return loss


def moves_of(name: str) -> Callable[[float, str, float], Iterator[float]]:
    def moves(value: float, _: str, scale: float) -> Iterator[float]:
        for other in (value * FACTOR**scale, value / FACTOR**scale):
            other = max(1, round(other)) if BASELINES[name].parameter in WHOLE else rounded(other)
            if other != value:
                yield other

    return moves


def as_yaml(lines: list[Line]) -> str:
    """``baselines.yaml`` with the values of lowest LPIPS for each baseline and task among the lines."""
    tuned = copy.deepcopy(dict(tuned_values()))
    for line in sorted(lines, key=lambda line: -line["lpips"]):
        parameter = BASELINES[line["baseline"]].parameter
        tuned.setdefault(line["baseline"], {})[line["task"]] = {parameter: line["value"]}
    ordered = {name: dict(sorted(tuned[name].items())) for name in BASELINES if name in tuned}
    comment = TUNED.read_text(encoding="utf-8").partition("\n\n")[0]
    return f"{comment}\n\n{yaml.safe_dump(ordered, default_flow_style=None, sort_keys=False, width=116)}"


if __name__ == "__main__":
    main()
