"""What each few-step setting buys: LPIPS and PSNR of the shipped tasks with it switched off.

    python benchmarks/ablation.py --data FFHQ/train PHOTOS --out DIR [--skip 32 0] [--images 12] [--steps 4 16]

Of every folder it takes ``--images`` pictures: spread over the last 64 by name or, with ``--skip``, those before as
many last ones (on which settings were tuned); of each the central 256x256 pixels. Every task restores them with its own
settings and once more without each of ``FewStep``'s that it uses, from the same measurement with the same noise. A line
of ``DIR/results.jsonl`` is one restoration; the same command goes on where it was, and N processes share the pictures
with ``--part K/N``. ``DIR/summary.md`` has a row a setting and task. A setting that lowers LPIPS by less than 2 %
everywhere is not worth having.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from statistics import mean

import torch
from tqdm import tqdm

from invsolve import FewStep, NoiseStreams, Settings, load_prior, load_task, solve
from invsolve.images.files import central_crop, list_pictures, read_image
from invsolve.images.metrics import load_lpips, psnr
from invsolve.runtime.random_streams import MEASUREMENT
from invsolve.specs.task import list_linear_tasks

SIZE = 256
LAST = 64  # pictures by name, among which they are chosen
TUNED = "tuned"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders of pictures")
    parser.add_argument("--skip", nargs="+", type=int, help="last pictures of each folder to leave out (default 0)")
    parser.add_argument("--images", type=int, default=12, help="pictures of each folder (default 12)")
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 16], help="network evaluations (default 4 16)")
    parser.add_argument("--part", default="0/1", help="K/N: the K-th of N processes, from 0")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    measure(options)
    (options.out / "summary.md").write_text(summary(read(options.out)))


def measure(options: argparse.Namespace) -> None:
    part, parts = map(int, options.part.split("/"))
    skips = options.skip or [0] * len(options.data)
    folders = [chosen(folder, skip, options.images) for folder, skip in zip(options.data, skips, strict=True)]
    pictures = [picture for together in zip(*folders, strict=True) for picture in together]
    done = {(row["picture"], row["steps"], row["task"], row["without"]) for row in read(options.out)}
    prior, lpips = load_prior(), load_lpips()
    jobs = [(steps, i) for steps in options.steps for i in range(part, len(pictures), parts)]
    name = "results.jsonl" if parts == 1 else f"results-{part}.jsonl"
    with (options.out / name).open("a") as file:
        for steps, i in tqdm(jobs, unit="picture"):
            x = central_crop(read_image(pictures[i]), SIZE)[None]
            for task in map(load_task, list_linear_tasks()):
                operator = task.make_operator(tuple(x.shape[1:]))
                y = operator.measure(x, task.sigma_y, NoiseStreams(0, [(i, MEASUREMENT)]))
                for without, settings in variants(task.settings(steps)):
                    where = {"picture": Path(pictures[i]).name, "steps": steps, "task": task.name, "without": without}
                    if tuple(where.values()) not in done:
                        restored = solve(y, operator, steps, task.sigma_y, prior, settings=settings, indices=[i])
                        figures = {"lpips": lpips(restored, x)[0], "psnr": psnr(restored, x)[0]}
                        file.write(json.dumps(where | figures) + "\n")
                        file.flush()


def chosen(folder: Path, skip: int, count: int) -> list:
    pictures = list_pictures([folder])
    last = pictures[-LAST:] if not skip else pictures[-skip - count : -skip]
    return [last[round(i)] for i in torch.linspace(0, len(last) - 1, count).tolist()]


def variants(settings: Settings) -> Iterator[tuple[str, Settings]]:
    """The settings, and once more without each of the few-step settings that they use."""
    yield TUNED, settings
    for field in fields(FewStep):
        if getattr(settings.few_step, field.name) != field.default:
            yield field.name, replace(settings, few_step=replace(settings.few_step, **{field.name: field.default}))


def read(out: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(out.glob("results*.jsonl")) for line in path.read_text().splitlines()]


def summary(rows: list[dict]) -> str:
    """Per setting, task and evaluations: mean LPIPS without it over that with it, and the mean difference in PSNR."""
    found: dict[tuple, dict[str, tuple[float, float]]] = {}
    for row in rows:
        key = (row["without"], row["task"], row["steps"])
        found.setdefault(key, {})[row["picture"]] = (row["lpips"], row["psnr"])
    lines = ["| Without | Task | Evaluations | LPIPS | PSNR | Pictures |", "| --- | --- | --- | --- | --- | --- |"]
    for (without, task, steps), figures in sorted(found.items()):
        with_it = found.get((TUNED, task, steps), {})
        both = [name for name in figures if name in with_it]
        if without == TUNED or not both:
            continue
        ratio = mean(figures[name][0] for name in both) / mean(with_it[name][0] for name in both) - 1
        decibels = mean(figures[name][1] - with_it[name][1] for name in both)
        lines.append(f"| {without} | {task} | {steps} | {ratio:+.1%} | {decibels:+.2f} dB | {len(both)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
