"""Another width of the average after the training, from stored averages (Karras et al. 2024, section 3.2).

An average of width ``std`` after ``t`` steps weighs the weights of step ``tau <= t`` by the density
``p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1)``. A run with ``snapshot_every`` stores such averages, two or more
widths of them, along the way; their combination whose density is closest to the one wanted approximates its average.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..networks.unet import UNet, UNetConfig
from ..priors.denoiser import Denoiser
from ..priors.file import CheckpointError, read_checkpoint, save_denoiser
from .ema import exponent_of
from .identity import check_identity

Profile = tuple[float, float]  # relative width of an average, and the number of steps it was taken over


def inner_products(left: Sequence[Profile], right: Sequence[Profile]) -> np.ndarray:
    """``<p_i, q_j>``, integrals over tau of products of densities, ``[len(left), len(right)]``.

    With ``m`` the smaller of both numbers of steps ``s`` and ``t``, the integral of ``tau^(a + b)`` up to ``m`` gives
    ``(a + 1) (b + 1) / (a + b + 1) (m/s)^a (m/t)^b / max(s, t)``.
    """
    a, b = (np.array([exponent_of(std) for std, _ in profiles]) for profiles in (left, right))
    s, t = (np.array([steps for _, steps in profiles], dtype=float) for profiles in (left, right))
    a, s = a[:, None], s[:, None]
    m = np.minimum(s, t)
    return (a + 1) * (b + 1) / (a + b + 1) * (m / s) ** a * (m / t) ** b / np.maximum(s, t)


def solve_weights(stored: Sequence[Profile], wanted: Profile) -> tuple[np.ndarray, float]:
    """Weights of the stored averages that come closest to the wanted one, and the relative error of the density.

    Least squares over functions of tau: the normal equations, their unknowns scaled to densities of unit norm.
    """
    products, target = inner_products(stored, stored), inner_products(stored, [wanted])[:, 0]
    norms = np.sqrt(np.diag(products))
    weights = np.linalg.lstsq(products / np.outer(norms, norms), target / norms, rcond=None)[0] / norms
    squared = inner_products([wanted], [wanted])[0, 0]
    residual = squared - 2 * weights @ target + weights @ products @ weights
    return weights, float(np.sqrt(max(residual, 0) / squared))


def snapshot_path(out: Path, step: int, std: float) -> Path:
    return out / "snapshots" / f"{step:07d}-ema{std:g}.safetensors"


def check_same_run(file: Path, header: dict, last: dict, name: str) -> None:
    """Refuse a file whose header is not that of a snapshot of the run that the ``last`` one, ``name``, is of.

    Snapshots of version 0.1 do not say which training they are of, and pass with any of the same network.
    """
    message = f"{file} is not a snapshot of the same run as {name}"
    if header["network"] != last["network"] or not {"ema", "steps"} <= header["record"].keys():
        raise CheckpointError(message)
    try:
        check_identity(last["record"].get("training", {}), header["record"].get("training", {}))
    except ValueError as error:
        raise CheckpointError(f"{message}: {error} there") from None


def reconstruct(run: str | Path, std: float, out: str | Path) -> tuple[int, float]:
    """Write the average of width ``std`` at the end of a run to ``out``, from the averages in ``run/snapshots``.

    Returns how many there are, and the relative error of the averaging density.

    Raises:
        ValueError: there is no snapshot, one is damaged or of another run, or the width is impossible.
    """
    exponent_of(std)
    folder = Path(run) / "snapshots"
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"no snapshots in {folder}: set snapshot_every in the run's configuration")
    headers = [read_checkpoint(file)[0] for file in files]
    for file, header in zip(files, headers, strict=True):
        check_same_run(file, header, headers[-1], files[-1].name)
    stored = [(header["record"]["ema"], header["record"]["steps"]) for header in headers]
    weights, error = solve_weights(stored, (std, max(steps for _, steps in stored)))
    network, last = UNet(UNetConfig(**headers[-1]["network"])), headers[-1]
    averaged = {f"network.{name}" for name, _ in network.named_parameters()}
    tensors = read_checkpoint(files[-1])[1]  # what is no parameter never changes
    state = {name: 0.0 if name in averaged else tensor for name, tensor in tensors.items()}
    for file, weight in zip(files, weights, strict=True):
        found = read_checkpoint(file)[1]
        state |= {name: state[name] + weight * found[name].double() for name in averaged}
    spectrum = state.pop("spectrum", None)
    network.load_state_dict({name.removeprefix("network."): value.float() for name, value in state.items()})
    record = {**last["record"], "ema": std, "reconstructed_from": len(files)}
    record.pop("training", None)
    denoiser = Denoiser(network, last["sigma_data"])
    save_denoiser(out, denoiser, record, last["gamma"], spectrum, image_size=last.get("image_size"))
    return len(files), error
