"""Measure what restores JPEGs, low light and clipped pictures, the estimated noise level, and the warnings.

    python benchmarks/noise_models.py jpeg --data KODAK FFHQ/test --images 24 32 --out DIR
    python benchmarks/noise_models.py poisson --data KODAK FFHQ/test --images 8 8 --out DIR
    python benchmarks/noise_models.py declip --data KODAK FFHQ/test --images 8 8 --out DIR
    python benchmarks/noise_models.py sigma --data KODAK FFHQ/test --images 6 6 --out DIR
    python benchmarks/noise_models.py warnings --data KODAK FFHQ/test --images 4 4 --out DIR

Pictures are the first ones of each folder, 256 pixels of the middle (--size), restored in 4 evaluations in float32.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from invsolve import MismatchWarning, NoiseStreams, default_settings, estimate_sigma, load_prior, load_task, solve
from invsolve.apps.restore import within
from invsolve.images.files import central_crop, list_pictures, read_image, to_bytes
from invsolve.images.jpeg_file import read_jpeg
from invsolve.images.metrics import load_lpips, psnr
from invsolve.networks.inference import Inference
from invsolve.runtime.random_streams import MEASUREMENT
from invsolve.solver.scale import ScaleWarning
from operators import CircularConvolution, Gaussian, Identity, Operator, Poisson, motion_kernel

QUALITIES = (10, 20, 40)
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5)
TOLD, TRUE = 0.05, 0.2  # noise levels of a wrong call
TUNED = ("sr4x", "deblur_gaussian", "deblur_motion", "inpaint_random", "colorize", "denoise")
Picture = tuple[str, str, Tensor]  # its folder, its name, [1, 3, H, W]
Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASURED)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders of pictures")
    parser.add_argument("--images", nargs="+", type=int, required=True, help="pictures of each")
    parser.add_argument("--out", type=Path, required=True, help="folder for WHAT.md")
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    rows: list[Row] = []
    for picture in pictures(options):
        for row in MEASURED[options.what](picture):
            rows.append(row)
            print(row, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    counts = " ".join(map(str, options.images))
    folders = " ".join(folder.name for folder in options.data)
    command = f"python benchmarks/noise_models.py {options.what} --data {folders} --images {counts}"
    text = f"`{command} --out DIR --size {options.size}`\n\n{table(rows)}\n"
    (options.out / f"{options.what}.md").write_text(text)
    print(text)


def pictures(options: argparse.Namespace) -> Iterator[Picture]:
    for folder, count in zip(options.data, options.images, strict=True):
        for file in list_pictures([folder])[:count]:
            yield folder.name, Path(file).stem, central_crop(read_image(file, 3)[None], options.size)


def table(rows: list[Row]) -> str:
    """Means over pictures of equal text columns, as Markdown."""
    names = [name for name, value in rows[0].items() if isinstance(value, str)]
    figures = [name for name in rows[0] if name not in names]
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    lines = [[*names, "pictures", *figures], ["---"] * (len(names) + len(figures) + 1)]
    for key, group in groups.items():
        lines.append([*key, str(len(group)), *(f"{mean(float(row[name]) for row in group):.4g}" for name in figures)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def scores(x: Tensor, truth: Tensor) -> Row:
    return {"lpips": LPIPS(x, truth)[0], "psnr": psnr(x, truth)[0]}


def jpeg(picture: Picture) -> Iterator[Row]:
    """Files that Pillow writes, decoded and restored; the share of coefficients that come back by encoding."""
    folder, name, truth = picture
    pixels = Image.fromarray(to_bytes(truth[0]))
    with tempfile.TemporaryDirectory() as where:
        for quality in QUALITIES:
            path = Path(where) / f"{name}.jpg"
            pixels.save(path, quality=quality)
            with Image.open(path) as opened:
                tables = opened.quantization
            decoded = read_image(path, 3)[None]
            found = read_jpeg(path)
            operator = found.operator()
            y = found.measurement(operator)[None]
            x = within(solve(y, operator, prior=PRIOR, noise=operator.rounding), y, operator, operator.rounding)
            x = x[..., : found.height, : found.width]
            again = io.BytesIO()
            Image.fromarray(to_bytes(x[0])).save(again, "JPEG", qtables=tables, subsampling=2)
            path.write_bytes(again.getvalue())
            pairs = zip(found.coefficients, read_jpeg(path).coefficients, strict=True)
            kept = np.concatenate([(before == after).ravel() for before, after in pairs]).mean()
            for method, image, share in (("decoded", decoded, 1.0), ("invsolve", x, kept)):
                yield {"data": folder, "quality": str(quality), "method": method, **scores(image, truth), "kept": share}


def poisson(picture: Picture) -> Iterator[Row]:
    """Photon counts: their own likelihood, white noise of their rms, and BM3D after Anscombe's transform."""
    folder, _, truth = picture
    task = load_task("poisson")
    operator = task.make_operator(tuple(truth.shape[1:]))
    y = task.measure(operator, truth, NoiseStreams(0, [(0, MEASUREMENT)]))
    model = task.noise(operator)
    white = Gaussian(float(model.deviation(y).square().mean().sqrt()))
    found = {
        "measurement": y,
        "invsolve": solve(y, operator, prior=PRIOR, noise=model, settings=task.settings(4)),
        "as white noise": solve(y, operator, sigma_y=white.sigma, prior=PRIOR),
        "BM3D after Anscombe": bm3d_after_anscombe(y, model),
    }
    for method, x in found.items():
        yield {"data": folder, "method": method, **scores(x, truth)}


def bm3d_after_anscombe(y: Tensor, model: Poisson) -> Tensor:
    """2 sqrt(k + 3/8) has noise of level 1 (Anscombe 1948); back by its asymptotically unbiased inverse."""
    import bm3d

    stable = 2 * (model.counts(y) + 3 / 8).clamp(min=0).sqrt()
    denoised = bm3d.bm3d_rgb(stable[0].permute(1, 2, 0).double().numpy(), 1.0)
    counts = (torch.from_numpy(denoised).permute(2, 0, 1)[None] / 2) ** 2 - 1 / 8
    return (2 * counts / model.gain - 1).to(y)


def declip(picture: Picture) -> Iterator[Row]:
    """Clipped pictures: their own likelihood, and as if nothing were clipped."""
    folder, _, truth = picture
    task = load_task("declip")
    operator = task.make_operator(tuple(truth.shape[1:]))
    y = task.measure(operator, truth, NoiseStreams(0, [(0, MEASUREMENT)]))
    found = {
        "measurement": y / operator.factor,
        "invsolve": solve(y, operator, sigma_y=task.sigma_y, prior=PRIOR, settings=task.settings(4)),
        "as if linear": solve(y, operator.factor * Identity(operator.in_shape), sigma_y=task.sigma_y, prior=PRIOR),
    }
    for method, x in found.items():
        yield {"data": folder, "method": method, **scores(x, truth)}


def sigma(picture: Picture) -> Iterator[Row]:
    """The estimated noise level over the true one, and what its error costs."""
    _, _, truth = picture
    for task_name in ("denoise", "sr4x", "deblur_gaussian"):
        operator = load_task(task_name).make_operator(tuple(truth.shape[1:]))
        for level in LEVELS:
            y = operator.measure(truth, level, NoiseStreams(0, [(0, MEASUREMENT)]))
            estimated = estimate_sigma(y, PRIOR)
            told, auto = (solve(y, operator, sigma_y=value, prior=PRIOR) for value in (level, estimated))
            ratio = estimated / level
            row = {"task": task_name, "sigma": f"{level:g}", "ratio": ratio, "within 15 %": abs(ratio - 1) <= 0.15}
            yield row | {"lpips": LPIPS(told, truth)[0], "lpips auto": LPIPS(auto, truth)[0]}


def warned(picture: Picture) -> Iterator[Row]:
    """How often a right call warns, and each kind of wrong one."""
    _, _, truth = picture
    for task_name in TUNED:
        task = load_task(task_name)
        operator = task.make_operator(tuple(truth.shape[1:]))

        def call(kind: str, x: Tensor, level: float, used: Operator | None = None, tuned: bool = True) -> Row:
            y = operator.measure(x, level, NoiseStreams(0, [(0, MEASUREMENT)]))  # noqa: B023
            settings = task.settings(4) if tuned else default_settings(operator, TOLD, PRIOR)  # noqa: B023
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                solve(y, used or operator, sigma_y=TOLD, prior=PRIOR, settings=settings)  # noqa: B023
            found = any(issubclass(each.category, MismatchWarning | ScaleWarning) for each in caught)
            return {"call": kind, "task": task_name, "warned": found}  # noqa: B023

        yield call("right", truth, TOLD)
        yield call("right, default settings", truth, TOLD, tuned=False)
        yield call(f"noise of {TRUE:g}, told {TOLD:g}", truth, TRUE)
        yield call("on [0, 1]", (truth + 1) / 2, TOLD / 2)
        if task_name == "deblur_motion":
            other = CircularConvolution(tuple(truth.shape[1:]), motion_kernel(61, 0.5, 1))
            yield call("the kernel of another shake", truth, TOLD, other)


MEASURED: dict[str, Callable[[Picture], Iterator[Row]]] = {
    "jpeg": jpeg,
    "poisson": poisson,
    "declip": declip,
    "sigma": sigma,
    "warnings": warned,
}

if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    LPIPS = load_lpips()
    PRIOR = load_prior(inference=Inference("fp32"))
    main()
