"""What the kinds of training share before their first step: processes, checks, pictures and classes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from ..data.training_set import TrainingSet
from ..networks.unet import UNet
from ..priors.denoiser import Denoiser
from ..priors.file import load_denoiser
from ..priors.registry import resolve
from ..runtime import processes
from ..runtime.device import choose_device
from ..specs.recipe import RunConfig
from .identity import identity


@contextlib.contextmanager
def joined_and_seeded(config: str | Path, settings: RunConfig, device: str) -> Iterator[torch.device]:
    """Connect the processes, which must share each batch evenly, and seed torch; gives this process's device."""
    chosen = choose_device(device)
    if chosen.type == "mps":
        if device != "auto":
            raise ValueError("a training runs on CUDA or on a CPU, not on an Apple GPU (--device mps)")
        chosen = torch.device("cpu")
    with processes.joined(chosen) as own:
        if settings.batch % (processes.count() * settings.accumulate):
            shares = f"{processes.count()} processes of {settings.accumulate} micro-batches"
            raise ValueError(f"{config}: batch {settings.batch} cannot be shared evenly by {shares}")
        torch.manual_seed(settings.seed)
        yield own


def check_crop(config: str | Path, settings: RunConfig, network: UNet, image_size: int | None = None) -> None:
    """Refuse crops of a size that the network would have to pad, or of another than the only one it knows."""
    if settings.crop % network.multiple:
        raise ValueError(f"{config}: crop {settings.crop} is no multiple of the network's {network.multiple}")
    if image_size not in (None, settings.crop):
        raise ValueError(f"{config}: crop is {settings.crop} but the network knows images of {image_size} pixels only")


def common_classes(data: TrainingSet, records: Mapping[str, dict]) -> dict[str, list[str]]:
    """``{"classes": names in order}``, for the record: of the data's folders, else of weights; empty where none has.

    ``records`` are those of the weights that the training starts from, by their owner. Raises ValueError where two name
    different classes.
    """
    owner, names = "the data's", data.class_names
    for other, record in records.items():
        theirs = record.get("classes")
        if names and theirs and theirs != names:
            raise ValueError(f"{owner} classes are {', '.join(names)} but {other} {', '.join(theirs)}")
        if theirs and not names:
            owner, names = other, theirs
    return {"classes": names} if names else {}


def continued(path: str | Path, start: Denoiser, header: dict) -> tuple[Denoiser, dict]:
    """Denoiser and record of weights to go on with, which must be of the same kind as ``start`` and ``header``."""
    found, own, _ = load_denoiser(resolve(path), train=True)
    given, expected = (
        {**asdict(d.network.config), "sigma_data": d.sigma_data, "gamma": h["gamma"], "image_size": h.get("image_size")}
        for d, h in ((found, own), (start, header))
    )
    for name, value in expected.items():
        if given[name] != value:
            raise ValueError(f"{path}: {name} is {given[name]} but must be {value}, as of the teacher or configuration")
    return found, own["record"]


class Run:
    """A training whose pictures are read: settings, crops, held-out images, folder, device and number of steps.

    ``start`` is what, beside settings and pictures, makes the training the one it is (see ``identity.py``).

    Raises:
        ValueError: the data cannot be used, or the processes do not share the folders.
    """

    def __init__(
        self,
        command: str,
        settings: RunConfig,
        data: TrainingSet,
        out: str | Path,
        cache: str | Path | None,
        device: torch.device,
        **start: object,
    ):
        self.settings, self.out, self.device = settings, Path(out), device
        cache = self.out / "cache" if cache is None else Path(cache)
        for folder in (self.out, cache):  # before they wait for the first one's files there
            processes.check_shared(folder, device)
        self.crops, self.held_out = data.read(settings, cache, device)
        self.identity = identity(command, settings, data.describe(), **start)
        self.steps = math.ceil(settings.images / settings.batch)
