"""What the terms of a generator's training buy at equal cost: NCVSD, energy score, exchangeability, adversarial.

    python benchmarks/calibration_ablation.py --data FFHQ/train PHOTOS --skip 32 64 --out DIR [--steps 120] [--crop 96]

Every training goes on from the prior ``--prior`` with batches of 4 crops, in float32; ``--steps`` is that of the energy
score alone, and the others take fewer in proportion to what a step of theirs costs. The last ``--skip`` pictures by
name of each folder are kept out; on ``--images`` of them (central ``--size`` pixels) it measures, at every noise level,
the spread of 10 samples over their error, the error of their mean, LPIPS of one sample, and LPIPS of the output without
over-noising. A line of ``DIR/results.jsonl`` is a training, noise level and folder; the same command does what is left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch
import yaml

from invsolve import GenerativeDenoiser, NoiseStreams, load_prior
from invsolve.data.training_set import HeldOut
from invsolve.images.files import central_crop, list_pictures, read_image
from invsolve.images.metrics import load_lpips
from invsolve.training.calibrate import calibrate
from invsolve.training.distill import distill
from invsolve.training.validation import spread_and_error

LEVELS = (0.1, 0.3, 1.0, 3.0)
COMMON = {"batch": 4, "holdout": 0, "precision": "fp32", "warmup": 20, "ema": [0.1], "memory_gb": 0}
SCORE = {**COMMON, "learning_rate": 3e-4, "sigma_min": 0.05, "sigma_max": 5.0, "exchange_weight": 0.0}
NCVSD = {**COMMON, "generator_rate": 3e-4, "fake_rate": 4e-3, "sigma_min": 0.05, "sigma_max": 5.0, "fake_first": 20}
BOTH = {**NCVSD, "energy_weight": 1.0, "exchange_weight": 0.1}
ADVERSARIAL = {"adversarial_weight": 0.3, "discriminator_first": 20}
# name: (command, evaluations of a network a step, a backward pass counted twice, settings)
TRAININGS = {
    "energy": ("calibrate", 6.2, SCORE),
    "energy, exchangeability": ("calibrate", 6.2, {**SCORE, "exchange_weight": 0.1}),
    "energy, exchangeability that falls, held harder": (
        "calibrate",
        6.2,
        {**SCORE, "exchange_weight": 0.2, "exchange_steps": -1, "keep_weight": 64.0},
    ),
    "NCVSD": ("distill", 7, NCVSD),
    "NCVSD, energy, exchangeability": ("distill", 10, BOTH),
    "NCVSD, energy, exchangeability, adversarial": ("distill", 13, {**BOTH, **ADVERSARIAL}),
    "NCVSD, adversarial": ("distill", 10, {**NCVSD, **ADVERSARIAL}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders of pictures, of equal weight")
    parser.add_argument("--skip", nargs="+", type=int, required=True, help="last pictures of each to keep out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prior", default="default", help="the prior that all go on from")
    parser.add_argument("--teacher", default="teacher")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--images", type=int, default=4, help="of each folder to measure on")
    parser.add_argument("--size", type=int, default=192, help="pixels a side of these")
    options = parser.parse_args()
    files = [list_pictures([folder]) for folder in options.data]
    linked = [
        link(kept[:-n], options.out / "pictures" / str(i))
        for i, (kept, n) in enumerate(zip(files, options.skip, strict=True))
    ]
    held = [chosen(every[-n:], options) for every, n in zip(files, options.skip, strict=True)]
    results = options.out / "results.jsonl"
    done = {json.loads(line)["training"] for line in results.read_text().splitlines()} if results.exists() else set()
    lpips = load_lpips()
    for name in ("before", *TRAININGS):
        if name not in done:
            started = time.process_time()
            path = options.prior if name == "before" else train(name, linked, options)
            seconds = time.process_time() - started
            rows = [row for images in held for row in measured(load_prior(str(path)), images, lpips)]
            with results.open("a") as file:
                file.writelines(json.dumps({"training": name, "seconds": seconds, **row}) + "\n" for row in rows)
            (options.out / "summary.md").write_text(summary(results))


def link(pictures: Sequence[Path], folder: Path) -> str:
    """A folder of links to the pictures, for a training."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        if not (target := folder / picture.name).is_symlink():
            target.symlink_to(picture.resolve())
    return str(folder)


def chosen(pictures: Sequence[Path], options: argparse.Namespace) -> HeldOut:
    """Pictures spread over those given."""
    some = pictures[:: len(pictures) // options.images][: options.images]
    images = torch.stack([central_crop(read_image(path), options.size) for path in some])
    return HeldOut(images, name=some[0].parent.name)


def train(name: str, data: Sequence[str], options: argparse.Namespace) -> Path:
    command, cost, settings = TRAININGS[name]
    steps = round(options.steps * TRAININGS["energy"][1] / cost)
    settings = {**settings, "images": steps * settings["batch"], "crop": options.crop}
    if settings.get("exchange_steps"):
        settings["exchange_steps"] = steps
    out = options.out / name.replace(", ", "+").replace(" ", "-")
    out.mkdir(exist_ok=True)
    (config := out / "recipe.yaml").write_text(yaml.safe_dump(settings))
    how = {"data": data, "out": out, "device": "cpu", "cache": options.out / "cache"}
    if command == "distill":
        return distill(config, options.teacher, generator=options.prior, **how)
    return calibrate(config, options.prior, **how)


@torch.no_grad()
def measured(prior: GenerativeDenoiser, held: HeldOut, lpips) -> list[dict]:
    figures, x, rows = spread_and_error(prior, held, LEVELS, samples=10), held.images, []
    for sigma in LEVELS:
        u, z = (NoiseStreams(seed, range(len(x)))(x.shape[1:]) for seed in (0, 1))
        u = x + sigma * u
        row = {"folder": held.name, "sigma": sigma}
        row |= {name: figures[f"{name}_{sigma:g}"] for name in ("spread", "error", "outside")}
        for kind, gamma in (("sample", None), ("estimate", 0.0)):
            row[f"lpips_{kind}"] = mean(lpips(prior(u, sigma, z, gamma=gamma), x))
        rows.append(row)
    return rows


def summary(results: Path) -> str:
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    columns = ["spread", "error", "outside", "lpips_sample", "lpips_estimate"]
    lines = ["| training | seconds | pictures | " + " | ".join(columns) + " |", "|---" * (3 + len(columns)) + "|"]
    for name in dict.fromkeys(row["training"] for row in rows):
        for folder in dict.fromkeys(row["folder"] for row in rows):
            some = [row for row in rows if (row["training"], row["folder"]) == (name, folder)]
            cells = [" ".join(f"{row[column]:.3f}" for row in some) for column in columns]
            lines.append(f"| {name} | {some[0]['seconds']:.0f} | {folder} | {' | '.join(cells)} |")
    return f"At sigma {' '.join(map(str, LEVELS))} each:\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
