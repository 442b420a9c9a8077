"""PSNR and LPIPS per task: what a user has without the product, the distilled prior, and its teacher in the same loop.

    python benchmarks/table.py --data FFHQ_FOLDER [--limit 32] [--steps 4] [--priors default teacher] [--json FILE]

Pictures are taken in name order; each task degrades them with its own noise. Prints a Markdown table of means.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import scipy.ndimage
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from invsolve.checkpoint import load_prior
from invsolve.image import list_pictures, read_image
from invsolve.metrics import load_lpips, psnr, ssim
from invsolve.noise import NoiseStreams
from invsolve.solve import solve
from invsolve.task import list_tasks, load_task
from operators import LinearOperator

MEASUREMENT = -1  # keys the stream of the measurement noise


def bicubic(y: Tensor, operator: LinearOperator) -> Tensor:
    return F.interpolate(y, size=operator.in_shape[1:], mode="bicubic", align_corners=False)


def measurement(y: Tensor, operator: LinearOperator) -> Tensor:
    return y


def nearest_observed(y: Tensor, operator: LinearOperator) -> Tensor:
    """Every missing pixel takes the value of the nearest observed one."""
    mask = operator.mask[0].expand(operator.in_shape)[0].bool().cpu().numpy()
    rows, columns = scipy.ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return y[:, :, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def grey(y: Tensor, operator: LinearOperator) -> Tensor:
    return y.expand(-1, 3, -1, -1)


# What a user has without the product, by the kind of degradation.
BASELINES: dict[str, tuple[str, Callable[[Tensor, LinearOperator], Tensor]]] = {
    "super_resolution": ("bicubic upsampling", bicubic),
    "gaussian_blur": ("the measurement", measurement),
    "motion_blur": ("the measurement", measurement),
    "denoise": ("the measurement", measurement),
    "grayscale": ("the measurement", grey),
    "inpaint_random": ("nearest observed pixel", nearest_observed),
    "inpaint_box": ("nearest observed pixel", nearest_observed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of clean pictures, all of one size")
    parser.add_argument("--limit", type=int, default=32, help="pictures, in name order (default 32)")
    parser.add_argument("--steps", type=int, default=4, help="network evaluations (default 4)")
    parser.add_argument("--tasks", nargs="+", default=list_tasks())
    parser.add_argument("--priors", nargs="+", default=["default", "teacher"], help="names or files")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--lpips-trunk", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures of every picture here too")
    options = parser.parse_args()

    lpips = load_lpips(options.lpips_trunk, options.device)
    files = list_pictures([options.data])[: options.limit]
    truth = torch.stack([read_image(file, 3) for file in files]).to(options.device)
    priors = {name: load_prior(name, options.device) for name in options.priors}
    figures: dict[str, dict[str, dict[str, list]]] = {}
    for name in tqdm(options.tasks, unit="task"):
        task = load_task(name)
        operator = task.make_operator(tuple(truth.shape[1:]), seed=options.seed).to(options.device)
        noise = NoiseStreams(options.seed, [(i, MEASUREMENT) for i in range(len(truth))], options.device)
        y = operator.measure(truth, task.sigma_y, noise)
        label, baseline = BASELINES[task.kind]
        restored = {label: baseline(y, operator)}
        for prior_name, prior in priors.items():
            settings = task.settings(options.steps)
            how = (options.steps, task.sigma_y, prior, options.seed, settings)
            restored[f"{prior_name}, {options.steps} evaluations"] = solve(y, operator, *how, batch=options.batch)
        metrics = {"psnr": psnr, "ssim": ssim, "lpips": lpips}
        figures[name] = {
            method: {metric: function(x, truth) for metric, function in metrics.items()}
            for method, x in restored.items()
        }
    if options.json:
        options.json.write_text(json.dumps({"pictures": [Path(f).name for f in files], "figures": figures}) + "\n")
    print(markdown(figures))


def markdown(figures: dict) -> str:
    """The means as a table, PSNR in dB / SSIM / LPIPS, with the change of LPIPS against the baseline."""
    lines = ["| task | method | PSNR | SSIM | LPIPS | LPIPS against the baseline |", "|---|---|---|---|---|---|"]
    for task, methods in figures.items():
        reference = None
        for method, scores in methods.items():
            psnr_, ssim_, lpips_ = (sum(values) / len(values) for values in scores.values())
            reference = lpips_ if reference is None else reference
            change = "" if lpips_ == reference else f"{100 * (lpips_ / reference - 1):+.0f} %"
            lines.append(f"| {task} | {method} | {psnr_:.2f} | {ssim_:.3f} | {lpips_:.3f} | {change} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
