"""What more network evaluations buy: a prior at 1 to 50 of them, its teacher, and whether its samples are calibrated.

    python benchmarks/evaluations.py --data FFHQ_FOLDER --out DIR [--limit 32] [--tasks sr4x ...] [--samples 16]

Prints one Markdown table of PSNR in dB / SSIM / LPIPS (means over the pictures), and then, one line each: LPIPS at 4
evaluations against the teacher's in the same loop (at 4, at 20, and with 5-step diffusion samples at 20 levels: 100
evaluations) and against 16 evaluations; with ``--samples`` also what several samples of each picture at 4 evaluations
say of the error. It runs ``invsolve bench`` in ``DIR/table`` and ``DIR/samples``: the same command resumes, and summary
and report lie there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from invsolve.bench.runner import bench
from invsolve.bench.statistics import Benchmark, Entry, read_benchmark
from invsolve.specs.options import BenchOptions
from invsolve.specs.task import list_linear_tasks

EVALUATIONS = (1, 2, 4, 8, 16, 50)
LEVELS = 20  # of the teacher with diffusion samples
FEW, MANY = "ncvsd:4", "ncvsd:16"
RIVALS = ("teacher:4", f"teacher:{LEVELS}", "teacher-diffusion:5")
WITHIN = 1.10  # 4 evaluations against 16
CORRELATED = 0.5  # rank correlation of the samples' deviation with the error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of clean pictures")
    parser.add_argument("--out", type=Path, required=True, help="for the results")
    parser.add_argument("--limit", type=int, default=32, help="pictures, in name order (default 32)")
    parser.add_argument("--tasks", nargs="+", default=list_linear_tasks(), help="default: all linear ones")
    parser.add_argument(
        "--evaluations", nargs="+", type=int, default=EVALUATIONS, help="of the prior (default 1 to 50)"
    )
    parser.add_argument(
        "--rivals", nargs="*", choices=RIVALS, default=RIVALS, help="runs of the teacher to compare with (default: all)"
    )
    parser.add_argument("--samples", type=int, help="also restore each picture so many times (the target: 16)")
    parser.add_argument("--prior", default="default", help="name or file (default: default)")
    parser.add_argument("--teacher", default="teacher", help="name or file (default: teacher)")
    parser.add_argument("--size", type=int, default=256, help="pixels per side (default 256)")
    parser.add_argument("--batch", type=int, default=1, help="pictures at a time (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--lpips-trunk", type=Path, help="AlexNet's weights for LPIPS")
    options = parser.parse_args()

    methods = [*(f"ncvsd:{n}" for n in options.evaluations), *options.rivals]
    found = measure(options, options.out / "table", methods)
    print(table(found))
    print(*comparisons(found), sep="\n")
    if options.samples:
        print(*calibration(measure(options, options.out / "samples", [FEW], options.samples)), sep="\n")


def measure(options: argparse.Namespace, out: Path, methods: list[str], samples: int | None = None) -> Benchmark:
    """Do what is missing in ``out`` and read all of it."""
    names = ("data", "limit", "prior", "size", "batch", "seed", "precision", "device", "lpips_trunk")
    given = {name: getattr(options, name) for name in names}
    what = {"tasks": tuple(options.tasks), "methods": tuple(methods), "denoiser": options.teacher}
    bench(BenchOptions(out=out, steps=LEVELS, samples=samples, **what, **given), lambda _: None)
    return read_benchmark(out)


def table(found: Benchmark) -> str:
    """A row a method with its evaluations, a column a task."""
    lines = [["method", "evaluations", *found.tasks], ["---"] * (2 + len(found.tasks))]
    for method in found.methods:
        entries = [entry_of(found, task, method) for task in found.tasks]
        evaluations = next(entry.evaluations for entry in entries if entry is not None)
        lines.append([method, f"{evaluations:g}", *map(_figures, entries)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def comparisons(found: Benchmark) -> list[str]:
    """Per task: LPIPS at 4 evaluations over that of each rival (below 1 is better), and over that at 16."""
    lines = []
    for task in found.tasks:
        ours = lpips(found, task, FEW)
        if ours is None:
            continue
        rivals = {rival: value for rival in RIVALS if (value := lpips(found, task, rival)) is not None}
        if rivals:
            said = ", ".join(f"{rival} {ours / value:.2f}" for rival, value in rivals.items())
            lines.append(f"{task}: LPIPS of {FEW} over {said}: {verdict(ours < min(rivals.values()))}")
        many = lpips(found, task, MANY)
        if many is not None:
            lines.append(f"{task}: LPIPS of {FEW} over {MANY} {ours / many:.2f}: {verdict(ours <= WITHIN * many)}")
    return lines


def calibration(found: Benchmark) -> list[str]:
    """Per task: does the deviation of the samples rank the error of their mean, and is that mean closer than one?"""
    lines = []
    for task in found.tasks:
        entry = entry_of(found, task, FEW)
        rank, mean, single = entry.spread["spearman"].value, entry.spread["psnr_mean"].value, entry.scores["psnr"].value
        said = f"Spearman of deviation and error {rank:.2f}, PSNR of the mean {mean:.2f}, of one sample {single:.2f}"
        lines.append(f"{task}: {said} dB: {verdict(rank > CORRELATED and mean > single)}")
    return lines


def entry_of(found: Benchmark, task: str, method: str) -> Entry | None:
    return next((entry for entry in found.tasks[task] if entry.method == method), None)


def lpips(found: Benchmark, task: str, method: str) -> float | None:
    """The mean, None where the method was not run at the task or LPIPS not measured."""
    entry = entry_of(found, task, method)
    return None if entry is None or entry.scores["lpips"] is None else entry.scores["lpips"].value


def verdict(holds: bool) -> str:
    return "holds" if holds else "FAILS"


def _figures(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    means = (entry.scores[name] for name in ("psnr", "ssim", "lpips"))
    return " / ".join("n/a" if m is None else f"{m.value:.{d}f}" for m, d in zip(means, (2, 3, 3), strict=True))


if __name__ == "__main__":
    main()
