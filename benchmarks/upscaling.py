"""Photographs reduced and saved as JPEG, then enlarged by `invsolve run sr4x`, against bicubic interpolation.

    python benchmarks/upscaling.py --data FOLDER [--size 256] [--quality 90] [--limit N] [--sigma auto]

The middle of each picture is reduced to a quarter by Pillow's bicubic filter and written as JPEG; nothing else is told.
Means of PSNR and LPIPS (AlexNet) over the pictures are printed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image

from invsolve.apps.run import run
from invsolve.images.files import list_pictures, read_image
from invsolve.images.metrics import load_metrics
from invsolve.runtime.printing import note
from invsolve.specs.options import RunOptions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--size", type=int, default=256, help="pixels per side (default %(default)s)")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG (default %(default)s)")
    parser.add_argument("--limit", type=int, help="take the first N pictures")
    parser.add_argument("--sigma", default="auto", help="noise level, as of invsolve run (default %(default)s)")
    options = parser.parse_args()
    metrics = load_metrics(None, torch.device("cpu"), note)
    figures: dict[str, list[list[float]]] = {"bicubic": [], "invsolve": []}
    with tempfile.TemporaryDirectory() as scratch:
        small, out = Path(scratch, "small"), Path(scratch, "out")
        small.mkdir()
        sources = list_pictures([options.data])[: options.limit]
        truths = {path.stem: middle(Image.open(path).convert("RGB"), options.size) for path in sources}
        for name, truth in truths.items():
            quarter = truth.resize((options.size // 4,) * 2, Image.Resampling.BICUBIC)
            quarter.save(small / f"{name}.jpg", quality=options.quality)
        run(RunOptions("sr4x", (str(small),), out, sigma=options.sigma, format="png"))
        for name, truth in truths.items():
            truth.save(small / f"{name}.png")
            with Image.open(small / f"{name}.jpg") as reduced:
                reduced.resize(truth.size, Image.Resampling.BICUBIC).save(small / f"{name}_bicubic.png")
            expected = read_image(small / f"{name}.png")[None]
            found = {"bicubic": small / f"{name}_bicubic.png", "invsolve": out / f"{name}_restored.png"}
            for method, path in found.items():
                image = read_image(path)[None]
                figures[method].append([metrics[metric](image, expected)[0] for metric in ("psnr", "lpips")])
    print(f"{len(truths)} pictures of {options.size} pixels, reduced to a quarter, JPEG {options.quality}:\n")
    print("| | PSNR, dB | LPIPS |\n|---|---|---|")
    for method, values in figures.items():
        psnr, lpips = torch.tensor(values).mean(0).tolist()
        print(f"| {method} | {psnr:.2f} | {lpips:.3f} |")


def middle(picture: Image.Image, size: int) -> Image.Image:
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    return picture.crop((left, top, left + size, top + size))


if __name__ == "__main__":
    main()
