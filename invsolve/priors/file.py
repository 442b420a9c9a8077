"""Priors in files: safetensors with the architecture and the training record as JSON in its metadata.

Nothing is unpickled: published checkpoints of other projects are read by ``foreign`` and converted. ``load_prior``
resolves a shipped or published name, a path, or a file of the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..images.files import write_atomically
from ..networks.layers import fold, normalize_weights
from ..networks.unet import UNet, UNetConfig
from .denoiser import GAMMA, Denoiser
from .difference import difference, restored

FORMAT = "invsolve-prior-1"
DENOISER, GENERATIVE = "denoiser", "generative denoiser"


class CheckpointError(ValueError):
    """A file that is not a usable prior: missing, truncated, foreign, or with the wrong tensors."""


def save_denoiser(
    path: str | Path,
    denoiser: Denoiser,
    record: dict,
    gamma: float = GAMMA,
    spectrum: Tensor | None = None,
    normalized: bool = True,
    image_size: int | None = None,
) -> None:
    """Write a denoiser's weights in half precision, atomically.

    They are normalised first, which changes nothing of what the network computes, unless they are to be averaged with
    others. A conditional network is stored as a generative denoiser with over-noising ``gamma``. ``record`` is JSON
    data about the training: it should say ``license`` and ``data``. ``spectrum`` ``[K]`` is kept in float32, and
    ``image_size`` is as in :func:`write_prior`.
    """
    network = UNet(denoiser.network.config)
    network.load_state_dict(denoiser.network.state_dict())
    if normalized:
        normalize_weights(network)
    tensors = {f"network.{name}": value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    tensors = {name: value.half() if value.ndim > 1 else value.float() for name, value in tensors.items()}
    if spectrum is not None:
        tensors["spectrum"] = spectrum.detach().float().cpu().contiguous()
    write_prior(path, denoiser.network.config, tensors, denoiser.sigma_data, gamma, record, image_size)


def write_prior(
    path: str | Path,
    config: UNetConfig,
    tensors: dict[str, Tensor],
    sigma_data: float,
    gamma: float,
    record: dict,
    image_size: int | None = None,
) -> None:
    """Write a prior's file atomically: ``tensors`` are ``network.`` + the names of a ``UNet``'s, and ``spectrum``.

    ``image_size`` is for a network that knows square images of so many pixels a side only.
    """
    header = {
        "format": FORMAT,
        "kind": GENERATIVE if config.conditional else DENOISER,
        "network": asdict(config),
        "sigma_data": sigma_data,
        "gamma": gamma,
        "record": record,
        "image_size": image_size,
    }
    _write(Path(path), header, tensors)


def _write(path: Path, header: dict, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(save(tensors, metadata={"invsolve": json.dumps(header)})))


def write_difference(path: str | Path, source: str | Path, base: str | Path) -> None:
    """Write the prior of ``source`` as its difference from that of ``base`` (see ``difference.py``).

    A file ``base`` with the same name has to lie beside what is written.

    Raises:
        CheckpointError: one of them cannot be used, or they are not of the same network.
    """
    (header, tensors), (_, its_tensors) = read_checkpoint(source), read_checkpoint(base)
    try:
        tensors = difference(tensors, its_tensors)
    except ValueError as error:
        raise CheckpointError(f"{source} and {base}: {error}") from None
    base = Path(base)
    _write(Path(path), {**header, "base": {"file": base.name, "sha256": sha256(base)}}, tensors)


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_checkpoint(path: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """Header and tensors of a prior's file, checked, of a difference with those of its base added.

    Raises :class:`CheckpointError`.
    """
    path = Path(path)
    header, tensors = _read(path)
    if "base" not in header:
        return header, tensors
    its = header.pop("base")
    try:
        base = path.resolve().with_name(its["file"])
        there = base.is_file() and sha256(base) == its["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its header does not name its base: {error}") from None
    if not there:
        raise CheckpointError(f"{path} is a difference from {base.name}, which does not lie beside it")
    _, its_tensors = read_checkpoint(base)
    try:
        return header, restored(tensors, its_tensors)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: it is no difference from its base: {error}") from None


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint file {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from None
    try:
        header = json.loads(metadata["invsolve"])
        if header["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {header['format']!r}, expected {FORMAT!r}")
        if header.get("network", {}).pop("conditional", False):  # version 0.1 knew one way of conditioning
            header["network"]["conditioning"] = "inputs"
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise CheckpointError(f"{path} is not one of ours: no invsolve header in its metadata") from None
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: tensor {name} has NaN or infinite values")
    return header, tensors


def load_denoiser(path: str | Path, train: bool = False) -> tuple[Denoiser, dict, Tensor | None]:
    """Denoiser (conditional if the file's network is), header and spectrum, on the CPU in float32.

    Its weights are folded for inference unless ``train``. Raises :class:`CheckpointError`.
    """
    header, tensors = read_checkpoint(path)
    spectrum = tensors.pop("spectrum", None)
    try:
        network = UNet(UNetConfig(**header["network"]))
        network.load_state_dict({name.removeprefix("network."): value.float() for name, value in tensors.items()})
        denoiser = Denoiser(network, float(header["sigma_data"]))
        header["gamma"] = float(header["gamma"])
        _check_kind(header["kind"], network.config)
        if not isinstance(header["record"], dict):
            raise TypeError("its record is not a mapping")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: its header and tensors do not make a network: {reason}") from None
    if not train:
        fold(network)
        denoiser.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return denoiser, header, spectrum


def _check_kind(kind: str, config: UNetConfig) -> None:
    expected = GENERATIVE if config.conditional else DENOISER
    if kind != expected:
        raise ValueError(f"its kind is {kind!r} but its network is that of a {expected}")
