"""Whether a generative denoiser's samples of p(x | u) spread as the truth does, by noise level.

    python benchmarks/spread.py --data FFHQ/test KODAK [--priors default] [--images 8] [--size 160] [--samples 12]

Of some pictures of each folder, spread over its names (central ``--size`` pixels), it takes ``--samples`` samples at
every noise level, with the over-noising of the training, and prints a Markdown table: their spread over the error of
their mean, 1 of true samples; that error over the error of the teacher's posterior mean, less what a mean of so few
samples is off by (``sqrt(1 + 1/K)``); and the share of the values that lie outside the samples' range, ``2 / (K + 1)``
of true ones.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from invsolve import load_prior
from invsolve.data.training_set import HeldOut
from invsolve.images.files import central_crop, list_pictures, read_image
from invsolve.networks.inference import Inference
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import resolve
from invsolve.training.validation import SPREAD_SIGMAS, normals, spread_and_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders of pictures")
    parser.add_argument("--priors", nargs="+", default=["default"], help="names or files")
    parser.add_argument("--teacher", default="teacher", help="name or file of a plain denoiser")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--samples", type=int, default=12)
    options = parser.parse_args()
    teacher = load_denoiser(resolve(options.teacher))[0]
    print(f"At sigma {' '.join(f'{s:g}' for s in SPREAD_SIGMAS)} each, {options.samples} samples:\n")
    print("| prior | pictures | spread over error | error over the teacher's | outside |\n|---|---|---|---|---|")
    for folder in options.data:
        held = held_out(list_pictures([folder]), options)
        errors = teachers_errors(teacher, held)
        for name in options.priors:
            found = spread_and_error(
                load_prior(name, inference=Inference("fp32")), held, SPREAD_SIGMAS, options.samples
            )
            spread, error, outside = (
                [found[f"{key}_{s:g}"] for s in SPREAD_SIGMAS] for key in ("spread", "error", "outside")
            )
            few = math.sqrt(1 + 1 / options.samples)
            relative = [own / few / its for own, its in zip(error, errors, strict=True)]
            cells = (" ".join(f"{value:.2f}" for value in values) for values in (spread, relative, outside))
            print(f"| {name} | {held.name} | {' | '.join(cells)} |", flush=True)


def held_out(files: Sequence[Path], options: argparse.Namespace) -> HeldOut:
    some = files[:: max(1, len(files) // options.images)][: options.images]
    return HeldOut(
        torch.stack([central_crop(read_image(path, 3), options.size) for path in some]), name=files[0].parent.name
    )


@torch.no_grad()
def teachers_errors(teacher: Denoiser, held: HeldOut) -> list[float]:
    """Root mean squares over the pictures, one a noise level."""
    x, n = held.images, normals(held.images)
    return [(teacher(x + s * n, s) - x).square().mean().sqrt().item() for s in SPREAD_SIGMAS]


if __name__ == "__main__":
    main()
