"""Our DPS, DDRM and DiffPIR beside deepinv's, with the same denoiser, measurements, number of steps and settings.

    python benchmarks/peers_deepinv.py --data FFHQ_FOLDER [--images 2] [--crop 128] [--out TABLE.md]

Where the definitions differ:

- DPS: deepinv multiplies the gradient of the residual's norm by sigma_t² - sigma_s², the paper (and ours) by a constant
  step in the variance-preserving state. Its weight is therefore another quantity: both run over a few values of their
  own, and the best LPIPS of each is shown. (Ours mean the same at any size; deepinv's are for 128x128 pixels.)
- DDRM: deepinv draws its noise with 1 / sqrt(2) of the standard deviation, in every coordinate. It has the spectra of
  denoising, inpainting and circular blur alone.
- DiffPIR: deepinv's proximal map halves the weight of the data, so its lambda is twice ours on the same scale; it clips
  the denoised image, and returns the state at the last level instead of the denoised image.
- All: ours starts around an estimate (see ``invsolve/peers/start.py``), deepinv's in DDRM and DPS around gray.

DDRM and DPS start at the largest noise level that the denoiser was trained for, at most at that of the last timestep;
in DiffPIR deepinv starts at that timestep always, and so does ours.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invsolve.adapters.deepinv import DenoiserToDeepinv, OperatorToDeepinv, deepinv, measurement_to_01
from invsolve.images.files import central_crop, list_pictures, read_image
from invsolve.images.metrics import load_lpips, psnr
from invsolve.networks.inference import PRECISIONS, Inference
from invsolve.peers import PEERS
from invsolve.peers.levels import ddpm_levels
from invsolve.priors.file import read_checkpoint
from invsolve.priors.registry import load_prior, resolve
from invsolve.priors.training_record import largest_sigma
from invsolve.runtime.random_streams import MEASUREMENT, NoiseStreams
from invsolve.specs.task import Task, load_task
from operators import LinearOperator, gaussian_kernel, motion_kernel

DPS_SCALES = (2.0, 6.0, 12.0)  # ours
DPS_WEIGHTS = (10.0, 30.0, 100.0)  # deepinv's
DIFFPIR = {"penalty": 1.0, "zeta": 0.4}
TASKS = {
    "dps": ("sr4x", "deblur_gaussian", "inpaint_random"),
    "ddrm": ("denoise", "deblur_gaussian", "deblur_motion", "inpaint_random"),
    "diffpir": ("sr4x", "deblur_gaussian", "inpaint_random"),
}
Restore = Callable[[Tensor], Tensor]  # of measurements y on [-1, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of clean pictures")
    parser.add_argument("--images", type=int, default=2, help="pictures, the last in name order (default 2)")
    parser.add_argument("--crop", type=int, default=128, help="their central crop, in pixels (default 128)")
    parser.add_argument("--peers", nargs="+", choices=list(TASKS), default=["ddrm", "diffpir", "dps"])
    parser.add_argument("--dps-steps", type=int, default=100)
    parser.add_argument("--prior", default="teacher", help="a plain denoiser's name or file (default teacher)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the network (default fp32)")
    parser.add_argument("--lpips-trunk", type=Path)
    parser.add_argument("--out", type=Path, help="Markdown file for the table, too")
    options = parser.parse_args()

    lpips = load_lpips(options.lpips_trunk)
    denoiser = load_prior(options.prior, inference=Inference(options.precision)).denoiser
    options.largest = largest_sigma(read_checkpoint(resolve(options.prior))[0]["record"])
    files = list_pictures([options.data])[-options.images :]
    truth = torch.stack([read_image(file, 3) for file in files])
    try:
        truth = central_crop(truth, options.crop)
    except ValueError as error:
        parser.error(str(error))
    table = ["| method | task | ours: PSNR / LPIPS | deepinv's: PSNR / LPIPS |", "|---|---|---|---|"]
    print(*table, sep="\n")
    for peer in options.peers:
        for name in TASKS[peer]:
            task = load_task(name)
            operator = task.make_operator(tuple(truth.shape[1:]))
            y = operator.measure(truth, task.sigma_y, NoiseStreams(0, [(i, MEASUREMENT) for i in range(len(truth))]))
            figures = []
            for methods in PAIRS[peer](task, operator, denoiser, options):
                with torch.no_grad():
                    restored = [method(y) for method in methods]
                scores = [(mean(psnr(x, truth)), mean(lpips(x.float(), truth))) for x in restored]
                figures.append("{:.2f} / {:.3f}".format(*min(scores, key=lambda score: score[1])))
            table.append(f"| {peer} | {name} | {figures[0]} | {figures[1]} |")
            print(table[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(table) + "\n", encoding="utf-8")


def dps_pair(task: Task, operator: LinearOperator, denoiser, options) -> tuple[list[Restore], list[Restore]]:
    how = {"steps": options.dps_steps, "sigma_max": options.largest}
    ours = [ours_with("dps", task, operator, denoiser, scale=scale, **how) for scale in DPS_SCALES]

    def theirs(weight: float) -> Restore:
        times = torch.linspace(time_of(options.largest), 0, options.dps_steps, dtype=torch.float64)
        solver = deepinv.sampling.DDPMSolver(timesteps=times, rng=torch.Generator().manual_seed(0))
        model = deepinv.sampling.DPS(DenoiserToDeepinv(denoiser), weight=weight, solver=solver)
        physics = OperatorToDeepinv(operator, task.sigma_y)
        return lambda y: to_ours(model(measurement_to_01(y, operator), physics))

    return ours, [theirs(weight) for weight in DPS_WEIGHTS]


def ddrm_pair(task: Task, operator: LinearOperator, denoiser, options) -> tuple[list[Restore], list[Restore]]:
    physics = spectral_physics(task, operator)
    physics.noise_model = deepinv.physics.GaussianNoise(task.sigma_y / 2)
    sigmas = np.array(ddpm_levels(20, options.largest)) / 2
    model = deepinv.sampling.DDRM(DenoiserToDeepinv(denoiser), sigmas=sigmas)
    theirs = lambda y: to_ours(model(measurement_to_01(y, operator), physics, seed=1))  # noqa: E731
    return [ours_with("ddrm", task, operator, denoiser, steps=20, sigma_max=options.largest)], [theirs]


def diffpir_pair(task: Task, operator: LinearOperator, denoiser, options) -> tuple[list[Restore], list[Restore]]:
    physics = OperatorToDeepinv(operator, task.sigma_y)
    fidelity = deepinv.optim.data_fidelity.L2()
    settings = {"zeta": DIFFPIR["zeta"], "lambda_": 2 * DIFFPIR["penalty"], "max_iter": 100}
    model = deepinv.sampling.DiffPIR(DenoiserToDeepinv(denoiser), fidelity, sigma=task.sigma_y / 2, **settings)
    theirs = lambda y: to_ours(model(measurement_to_01(y, operator), physics, seed=1))  # noqa: E731
    return [ours_with("diffpir", task, operator, denoiser, steps=100, **DIFFPIR)], [theirs]


PAIRS = {"dps": dps_pair, "ddrm": ddrm_pair, "diffpir": diffpir_pair}


def ours_with(peer: str, task: Task, operator: LinearOperator, denoiser, **values) -> Restore:
    settings = PEERS[peer].settings(**values)

    def restore(y: Tensor) -> Tensor:
        noise = NoiseStreams(0, range(len(y)))
        return PEERS[peer].restore(y, operator, denoiser, task.sigma_y, noise, settings)

    return restore


def time_of(sigma: float) -> float:
    """Where deepinv's variance-preserving diffusion, of ``beta(t) = 0.1 + 19.9 t``, has the level ``sigma``; at most 1.

    ``sigma² = exp(0.1 t + 19.9 t² / 2) - 1``.
    """
    return min(1.0, (math.sqrt(0.01 + 2 * 19.9 * math.log1p(sigma**2)) - 0.1) / 19.9)


def spectral_physics(task: Task, operator: LinearOperator):
    """deepinv's own physics with the spectrum of the task's operator."""
    shape, parameters = operator.in_shape, task.parameters
    if task.kind == "denoise":
        return deepinv.physics.Denoising()
    if task.kind == "inpaint_random":
        return deepinv.physics.Inpainting(shape, mask=operator.mask[0].expand(shape))
    if task.kind == "gaussian_blur":
        kernel = gaussian_kernel(parameters["size"], parameters["std"])
    else:
        kernel = motion_kernel(parameters["size"], parameters["intensity"], seed=0)
    return deepinv.physics.BlurFFT(shape, filter=kernel.float()[None, None])


def to_ours(x: Tensor) -> Tensor:
    return 2 * x - 1


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
