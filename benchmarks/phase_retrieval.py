"""Phase retrieval of faces: how often each method succeeds, in four runs each.

    python benchmarks/phase_retrieval.py --data FFHQ/test --out FOLDER [--size 128]

A run succeeds with a PSNR of 25 dB or more. Each channel is compared as it is and turned by 180 degrees, and the better
one counts: these have the same magnitudes, so no method can tell them apart by the measurement. Of the runs of a
picture the one with the least residual is kept, never the one nearest to the truth.

Error reduction (er) and hybrid input-output (hio) are Fienup's, on the full grid; hio-coarse is what `solve` starts
from (`operators/fienup.py`); daps runs over the teacher, on the first `--daps` pictures. Each line of
`FOLDER/results.jsonl` is one run; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tuning import read_lines

from invsolve import solve
from invsolve.images.files import list_folder, read_image
from invsolve.peers import PEERS, settings_for
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import MEASUREMENT, NoiseStreams
from invsolve.solver.diagnostics import residual_of
from invsolve.specs.task import load_task
from operators import Gaussian, PhaseRetrieval
from operators.fienup import error_reduction, retrieved

SUCCESS = 25.0  # dB
CYCLES, ITERATIONS = 2, 200  # of hybrid input-output, 100 each; of error reduction
METHODS = ("invsolve", "hio-coarse", "hio", "er", "daps")

Restore = Callable[[Tensor, PhaseRetrieval, tuple[int, int]], Tensor]  # y, operator, stream -> image


def methods(steps: int, restarts: int, daps_steps: int, daps_sigma: float) -> dict[str, Restore]:
    task, prior, teacher = load_task("phase_retrieval"), load_prior("default"), load_prior("teacher")
    settings = replace(task.settings(steps), restarts=restarts)
    daps = replace(settings_for("daps", task.name, daps_steps), sigma_max=daps_sigma)

    def invsolve(y, operator, stream):
        return solve(y, operator, steps, task.sigma_y, prior, settings=settings, indices=[stream])

    def start(operator, stream):
        return operator.padded(NoiseStreams(0, [stream])(operator.in_shape).abs())

    def hio(y, operator, stream):
        g, _ = retrieved(start(operator, stream), operator.magnitude(y), operator.support(y.device), CYCLES)
        return 2 * operator.cropped(g) - 1

    def er(y, operator, stream):
        g, magnitude, support = start(operator, stream), operator.magnitude(y), operator.support(y.device)
        for _ in range(ITERATIONS):
            g = error_reduction(g, magnitude, support)
        return 2 * operator.cropped(g) - 1

    def by_daps(y, operator, stream):
        noise = NoiseStreams(0, [stream])
        return PEERS["daps"].restore(y, operator, teacher.denoiser, task.sigma_y, noise, daps)

    def hio_coarse(y, operator, stream):
        return operator.estimate(y, NoiseStreams(0, [stream]))

    return dict(zip(METHODS, (invsolve, hio_coarse, hio, er, by_daps), strict=True))


def resolved_psnr(x: Tensor, truth: Tensor) -> float:
    """PSNR `[1, C, H, W]` against the truth, each channel turned as it fits best."""
    errors = [(turned.clamp(-1, 1) - truth).square().mean((2, 3)) for turned in (x, x.flip(2, 3))]
    return float(10 * torch.log10(4 / torch.minimum(*errors).mean()))


def rows(options: argparse.Namespace, done: set[tuple[str, str, int]]) -> Iterator[dict]:
    task, files = load_task("phase_retrieval"), list_folder(options.data)[: options.images]
    found = methods(options.steps, options.restarts, options.daps_steps, options.daps_sigma)
    model = Gaussian(task.sigma_y)
    for i, file in enumerate(files):
        truth = read_image(file, 3)[None]
        if options.size is not None:
            truth = interpolate(truth, (options.size, options.size), mode="area")
        operator = task.make_operator(tuple(truth.shape[1:]))
        y = operator.measure(truth, task.sigma_y, NoiseStreams(0, [(i, MEASUREMENT)]))
        for name in options.methods:
            for run in range(options.runs):
                if (name, Path(file).name, run) in done or (name == "daps" and i >= options.daps):
                    continue
                start = time.process_time()
                with torch.no_grad():
                    x = found[name](y, operator, (i, run))
                figures = {"psnr": resolved_psnr(x, truth), "residual": residual_of(x, y, operator, model).item()}
                seconds = time.process_time() - start
                yield {"method": name, "image": Path(file).name, "run": run, **figures, "seconds": seconds}


def table(results: list[dict]) -> str:
    runs = 1 + max(row["run"] for row in results)
    lines = [f"| method | pictures | runs with success | pictures with success, best residual of {runs} | median dB |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for name in METHODS:
        own = [row for row in results if row["method"] == name]
        pictures = sorted({row["image"] for row in own})
        if not own:
            continue
        best = [min((row for row in own if row["image"] == p), key=lambda row: row["residual"]) for p in pictures]
        share = mean(row["psnr"] >= SUCCESS for row in own)
        successes = sum(row["psnr"] >= SUCCESS for row in best)
        decibels = median(row["psnr"] for row in best)
        lines.append(f"| {name} | {len(pictures)} | {share:.0%} | {successes} of {len(pictures)} | {decibels:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--size", type=int, help="reduce pictures to so many pixels a side (default: as they are)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--steps", type=int, default=8, help="network evaluations of a run of invsolve")
    parser.add_argument("--restarts", type=int, default=0, help="further ones within each run of invsolve, by residual")
    parser.add_argument("--daps", type=int, default=2, help="pictures that DAPS restores")
    parser.add_argument("--daps-steps", type=int, default=10, help="its noise levels, of 5 evaluations each")
    parser.add_argument("--daps-sigma", type=float, default=20.0, help="the largest of them that the teacher knows")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.jsonl"
    results = read_lines(path)
    done = {(row["method"], row["image"], row["run"]) for row in results}
    with path.open("a") as file:
        for row in rows(options, done):
            file.write(json.dumps(row) + "\n")
            file.flush()
            results.append(row)
    print(table(results))


if __name__ == "__main__":
    main()
