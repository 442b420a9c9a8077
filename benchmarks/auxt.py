"""Whether AuxT's linear shortcuts reach the same teacher loss in fewer images: validation loss along two trainings.

    OMP_NUM_THREADS=1 python benchmarks/auxt.py --data FFHQ_FOLDER --out DIR [--images 76800] [--seeds 0 1]

For every seed a small teacher is trained with and without ``auxt`` by the package's own training, on the same crops
and noise in the same order. The loss has EDM's weighting (1 for a network that outputs nothing) and is that of the
weights' running average, over crops of held-out pictures with fixed noise at the deciles of the training's noise
levels. Prints a Markdown table, and how many images AuxT needs for the plain network's final loss. The same command
resumes; about 15 minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from invsolve.data.crops import Crops, to_unit
from invsolve.data.sources import Source, load_pictures
from invsolve.data.training_set import path_and_weight
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser
from invsolve.specs.recipe import TrainConfig, load_config
from invsolve.training.edm import edm_weight
from invsolve.training.posthoc import snapshot_path
from invsolve.training.teacher import train

VARIANTS = {"plain": False, "AuxT": True}
RECIPE = {
    "network": {"widths": [16, 32, 48], "blocks": [1, 1, 1], "haar": 1},
    "batch": 32,
    "crop": 32,
    "holdout": 64,
    "warmup": 50,
    "decay_after": 500,
    "ema": [0.1],
    "precision": "fp32",
    "checkpoint_every": 150,
    "snapshot_every": 150,
}
VALIDATION_CROPS = 512
VALIDATION_SEED = 10_000


def levels(config: TrainConfig) -> list[float]:
    """Deciles (5 %, 15 %, ..., 95 %) of the training's log-normal noise levels."""
    law = NormalDist(config.sigma_mean, config.sigma_std)
    return [float(np.exp(law.inv_cdf((i + 0.5) / 10))) for i in range(10)]


@torch.no_grad()
def validation_loss(denoiser: Denoiser, images: Tensor, sigmas: list[float]) -> float:
    """Mean of ``w(s) |D(x + s n; s) - x|²`` over ``images`` and ``sigmas``, always with the same normals ``n``."""
    losses = []
    for i, sigma in enumerate(sigmas):
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(i))
        error = denoiser(images + sigma * noise, sigma) - images
        losses.append(edm_weight(torch.tensor(sigma), denoiser.sigma_data) * error.square().mean())
    return torch.stack(losses).mean().item()


def write_config(folder: Path, auxt: bool, seed: int, images: int) -> Path:
    path = folder / "config.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    network = {**RECIPE["network"], "auxt": auxt}
    path.write_text(yaml.safe_dump({**RECIPE, "network": network, "seed": seed, "images": images}))
    return path


def curve(folder: Path, auxt: bool, seed: int, images: int, data: list[str]) -> list[float]:
    """Train one network; its validation loss at every stored average."""
    path = write_config(folder, auxt, seed, images)
    train(path, data, folder / "run", "cpu")
    config = load_config(path, TrainConfig)
    held_out = load_pictures(Source(path_and_weight(data[0])[0]))[-config.holdout :]
    crops = Crops([(held_out, 1.0)], config.crop, VALIDATION_SEED)
    pictures = to_unit(next(crops.batches(0, VALIDATION_CROPS))[0], torch.device("cpu"))
    losses = []
    for step in steps(images):
        denoiser, _, _ = load_denoiser(snapshot_path(folder / "run", step, config.ema[0]))
        losses.append(validation_loss(denoiser, pictures, levels(config)))
    return losses


def steps(images: int) -> list[int]:
    """Optimiser steps at which averages are stored."""
    last, every = -(-images // RECIPE["batch"]), RECIPE["snapshot_every"]
    return [*range(every, last, every), last]


def images_to_reach(target: float, seen: list[int], losses: list[float]) -> float:
    """Images after which a falling curve is at ``target``, by linear interpolation; infinity if never."""
    if losses[0] <= target:
        return seen[0]
    for i in range(1, len(losses)):
        if losses[i] <= target:
            share = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
            return seen[i - 1] + share * (seen[i] - seen[i - 1])
    return float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="PATH[:WEIGHT]", help="folders of pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the trainings' files")
    parser.add_argument("--images", type=int, default=76_800, help="training crops of every training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    seen = [step * RECIPE["batch"] for step in steps(arguments.images)]
    curves = {}
    for seed in arguments.seeds:
        for name, auxt in VARIANTS.items():
            tqdm.write(f"seed {seed}, {name}")
            folder = arguments.out / f"{name.lower()}-seed{seed}"
            curves[name, seed] = curve(folder, auxt, seed, arguments.images, arguments.data)
    print("| images | " + " | ".join(f"{name}, seed {seed}" for name, seed in curves) + " |")
    print("|---" * (len(curves) + 1) + "|")
    for i, count in enumerate(seen):
        print(f"| {count:,} | " + " | ".join(f"{losses[i]:.4f}" for losses in curves.values()) + " |")
    for seed in arguments.seeds:
        plain, auxt = curves["plain", seed], curves["AuxT", seed]
        needed = images_to_reach(plain[-1], seen, auxt)
        reached = f"after {needed:,.0f} images ({needed / seen[-1]:.2f})" if needed < float("inf") else "never"
        print(f"\nseed {seed}: plain {plain[-1]:.4f} after {seen[-1]:,} images; AuxT reaches that {reached}")


if __name__ == "__main__":
    main()
