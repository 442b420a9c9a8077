"""Scratched photographs: `invsolve run inpaint_random --mask` against interpolation, where the scratches were.

    python benchmarks/scratches.py --data BSDS500/train [--images 12] [--seed 0]

Thin lines and text cover 5 % of each picture. Printed are means over pictures spread evenly over the folder: LPIPS
within 16 pixels of what was missing, the root mean square error of the missing pixels (of 255), and how many observed
pixels were changed. OpenCV's row needs ``pip install opencv-python-headless``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from invsolve.apps.run import run
from invsolve.images.files import list_folder
from invsolve.images.metrics import load_lpips_map
from invsolve.specs.options import RunOptions

COVERED = 0.05  # of the pixels
NEAR = 16  # pixels
EDGE = 3  # pixels
TEXT = "restoration of old pictures, 1987"

Restored = Callable[[np.ndarray, np.ndarray], np.ndarray]  # picture [H, W, 3] of 0 to 255, missing [H, W] -> picture


def scratches(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Where thin lines and text lie, ``[H, W]``; not at the edges, where scikit-image 0.26 cannot fill them."""
    mask = Image.new("1", (width, height))
    draw = ImageDraw.Draw(mask)
    inner = np.pad(np.ones((height - 2 * EDGE, width - 2 * EDGE), bool), EDGE)
    while (np.asarray(mask) & inner).mean() < COVERED:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if rng.random() < 0.7:
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1) * max(height, width)
            end = (x + length * np.cos(angle), y + length * np.sin(angle))
            draw.line([(x, y), end], fill=1, width=int(rng.integers(1, 4)))
        else:
            draw.text((x - 20, y), TEXT, fill=1, font=ImageFont.load_default(size=int(rng.integers(12, 28))))
    return np.asarray(mask) & inner


def invsolve(picture: np.ndarray, missing: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("picture.png", "mask.png", "restored.png")]
        for path, pixels in zip(paths, (picture, ~missing), strict=False):
            Image.fromarray(pixels).save(path)
        run(RunOptions("inpaint_random", (str(paths[0]),), paths[2], mask=paths[1], quiet=True))
        return np.asarray(Image.open(paths[2]))


def biharmonic(picture: np.ndarray, missing: np.ndarray) -> np.ndarray:
    from skimage.restoration import inpaint_biharmonic

    return (inpaint_biharmonic(picture / 255, missing, channel_axis=-1) * 255).round().clip(0, 255).astype(np.uint8)


def telea(picture: np.ndarray, missing: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.inpaint(picture, missing.astype(np.uint8), 3, cv2.INPAINT_TELEA)


METHODS: dict[str, Restored] = {"invsolve": invsolve, "scikit-image, biharmonic": biharmonic, "OpenCV, Telea": telea}


def figures(restored: np.ndarray, truth: np.ndarray, missing: np.ndarray, lpips) -> list[float]:
    """LPIPS near what was missing, error of the missing pixels, observed pixels changed."""
    images = [torch.from_numpy(each / 127.5 - 1).float().permute(2, 0, 1)[None] for each in (restored, truth)]
    near = torch.from_numpy(distance_transform_edt(~missing) <= NEAR)
    error = np.square(restored.astype(float) - truth)[missing].mean() ** 0.5
    changed = (restored != truth).any(axis=2) & ~missing
    return [float(lpips(*images)[0, 0][near].mean()), float(error), float(changed.sum())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lpips = load_lpips_map()
    methods = {name: method for name, method in METHODS.items() if method is not telea or find_spec("cv2")}
    files = list_folder(options.data)
    found: dict[str, list[list[float]]] = {name: [] for name in methods}
    for i in range(options.images):
        truth = np.array(Image.open(files[i * len(files) // options.images]).convert("RGB"))
        missing = scratches(*truth.shape[:2], np.random.default_rng((options.seed, i)))
        damaged = np.where(missing[..., None], 255, truth).astype(np.uint8)
        for name, method in methods.items():
            found[name].append(figures(method(damaged, missing), truth, missing, lpips))
    print(f"| {options.images} pictures | LPIPS within {NEAR} pixels | error, of 255 | observed pixels changed |")
    print("| --- | --- | --- | --- |")
    for name, rows in found.items():
        near, error, changed = np.mean(rows, axis=0)
        print(f"| {name} | {near:.4f} | {error:.1f} | {changed:.0f} |")


if __name__ == "__main__":
    main()
