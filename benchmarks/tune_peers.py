"""Tune the peers per task, over the parameters their papers tune, by LPIPS on held-out training pictures.

    python benchmarks/tune_peers.py --data FFHQ/train --out tune_peers.jsonl [--images 2] [--crop 128] [--bf16]
    python benchmarks/tune_peers.py --out tune_peers.jsonl --show

The pictures are the last ones of the folder in name order, which the shipped priors were not trained on. Each line of
the output is one setting, measured; a run that was stopped goes on where it was. ``--show`` prints the best of every
(peer, steps, task) as the literal of ``invsolve/peers/tuned.py``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat

import torch

from invsolve.checkpoint import load_prior
from invsolve.image import list_pictures, read_image
from invsolve.inference import Inference
from invsolve.metrics import load_lpips, psnr
from invsolve.noise import NoiseStreams
from invsolve.peers import PEERS
from invsolve.task import list_tasks, load_task

MEASUREMENT = -1  # keys the stream of the measurement noise
TOP = 20.0  # the highest noise level that the shipped denoisers were trained for

# (peer, steps, fixed values, values to try), cheap ones first. The published defaults are among those tried.
GRIDS: list[tuple[str, int, dict, dict]] = [
    ("ddrm", 20, {"sigma_max": TOP}, {"eta": (0.2, 0.5, 0.7, 0.85, 1.0), "eta_b": (1.0, 0.7)}),
    ("diffpir", 20, {"sigma_max": TOP}, {"penalty": (0.25, 1.0, 4.0), "zeta": (0.1, 0.4, 0.7, 1.0)}),
    ("ddnm", 20, {"sigma_max": TOP}, {"eta": (0.2, 0.5, 0.7, 0.85, 1.0)}),
    ("pigdm", 20, {"sigma_max": TOP}, {"eta": (0.0, 0.5, 1.0), "weight": (0.7, 1.0, 1.4, 2.0, 2.8)}),
    ("diffpir", 100, {"sigma_max": TOP, "penalty": 1.0}, {"zeta": (0.1, 0.3, 0.6, 1.0)}),
    ("ddnm", 100, {"sigma_max": TOP}, {"eta": (0.5, 0.85, 1.0)}),
    ("pigdm", 100, {"sigma_max": TOP, "weight": 1.0}, {"eta": (0.5, 1.0)}),
    ("reddiff", 100, {"sigma_max": TOP, "rate": 0.1}, {"weight": (0.1, 0.25, 0.6, 1.5, 4.0)}),
    ("dps", 100, {"sigma_max": TOP}, {"scale": (0.3, 1.0, 3.0, 6.0, 10.0)}),
    ("daps", 25, {"sigma_max": TOP, "ode_steps": 4}, {"tau": (0.01, 0.03)}),
    (
        "pnpdm",
        10,
        {"sigma_max": TOP, "sigma_min": 0.01, "rho": 2.0, "decay": 0.72, "grid": 20, "stochastic": False},
        {"rho_min": (0.1, 0.3)},
    ),
    (
        "pnpdm",
        10,
        {"sigma_max": TOP, "sigma_min": 0.01, "decay": 0.6, "grid": 20, "stochastic": False},
        {"rho_min": (0.1,)},
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of training pictures")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each setting measured")
    parser.add_argument("--images", type=int, default=2, help="pictures, the last in name order (default 2)")
    parser.add_argument("--crop", type=int, default=128, help="their central crop, in pixels (default 128)")
    parser.add_argument("--peers", nargs="+", default=list(PEERS))
    parser.add_argument("--tasks", nargs="+", default=list_tasks())
    parser.add_argument("--prior", default="teacher", help="a plain denoiser's name or file (default teacher)")
    parser.add_argument("--bf16", action="store_true", help="evaluate the network in bfloat16 (default: float32)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--lpips-trunk", type=Path)
    parser.add_argument("--show", action="store_true", help="print the best settings of the output and stop")
    options = parser.parse_args()
    if not options.show:
        measure(options)
    print(literal(read_lines(options.out)))


def measure(options: argparse.Namespace) -> None:
    """Run every setting of the grids that the output lacks."""
    done = {key(line) for line in read_lines(options.out)}
    lpips = load_lpips(options.lpips_trunk, options.device)
    inference = Inference("bf16" if options.bf16 else "fp32")
    denoiser = load_prior(options.prior, options.device, inference).denoiser
    files = list_pictures([options.data])[-options.images :]
    truth = torch.stack([central(read_image(file, 3), options.crop) for file in files]).to(options.device)
    for peer, steps, values, task_name in candidates(options.peers, options.tasks):
        line = {"peer": peer, "steps": steps, "task": task_name, "values": values}
        line |= {"images": options.images, "crop": options.crop}
        if key(line) in done:
            continue
        task = load_task(task_name)
        operator = task.make_operator(tuple(truth.shape[1:])).to(options.device)
        y = operator.measure(truth, task.sigma_y, streams(len(truth), options.device, MEASUREMENT))
        settings = PEERS[peer].settings(steps=steps, **values)
        start = time.perf_counter()

        with torch.no_grad():
            noise = streams(len(truth), options.device)
            x = PEERS[peer].restore(y, operator, denoiser, task.sigma_y, noise, settings)
        x = x.nan_to_num(0.0, 1.0, -1.0)
        figures = {"lpips": mean(lpips(x, truth)), "psnr": mean(psnr(x, truth))}
        line |= figures | {"evaluations": settings.evaluations, "seconds": time.perf_counter() - start}
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def candidates(peers: list[str], tasks: list[str]) -> Iterator[tuple[str, int, dict, str]]:
    for peer, steps, fixed, grid in GRIDS:
        if peer in peers:
            for task, choice in itertools.product(tasks, itertools.product(*grid.values())):
                yield peer, steps, fixed | dict(zip(grid, choice, strict=True)), task


def streams(batch: int, device: str, *key: int) -> NoiseStreams:
    return NoiseStreams(0, [(i, *key) for i in range(batch)], device)


def central(x: torch.Tensor, size: int) -> torch.Tensor:
    top, left = (x.shape[1] - size) // 2, (x.shape[2] - size) // 2
    return x[:, top : top + size, left : left + size]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def key(line: dict) -> str:
    names = ("peer", "steps", "task", "values", "images", "crop")
    return json.dumps([line[name] for name in names], sort_keys=True)


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def literal(lines: list[dict]) -> str:
    """The values of lowest LPIPS for each peer, task and number of steps, as Python text."""
    best: dict[tuple[str, str, int], dict] = {}
    for line in lines:
        where = line["peer"], line["task"], line["steps"]
        if where not in best or line["lpips"] < best[where]["lpips"]:
            best[where] = line
    tuned: dict[str, dict[str, dict[int, dict]]] = {}
    for (peer, task, steps), line in sorted(best.items()):
        tuned.setdefault(peer, {}).setdefault(task, {})[steps] = line["values"]
    return pformat(tuned, width=116, sort_dicts=False)


if __name__ == "__main__":
    main()
