"""What ``invsolve train`` and ``invsolve distill`` do, apart from parsing their arguments."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import load_denoiser, resolve, save_denoiser
from ..device import choose_device
from ..network import UNet, UNetConfig, conditional_from
from ..noise import NoiseStreams
from ..prior import Denoiser, GenerativeDenoiser
from ..wiener import radial_spectrum
from . import processes
from .config import DistillConfig, RunConfig, TrainConfig, load_config
from .data import Crops, load_pictures, to_unit
from .discriminator import Discriminator
from .edm import denoising_psnr
from .grids import PICTURES, denoised, drawn, write_grid
from .loop import train_loop
from .player import Player
from .posthoc import snapshot_path
from .steps import DistillStep, TeacherStep

VALIDATION_LEVELS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def read_data(data: Sequence[str], config: RunConfig) -> tuple[Crops, list[np.ndarray]]:
    """Training crops from folders or zip files, ``PATH`` or ``PATH:WEIGHT``, and the held-out pictures of the first.

    Raises:
        ValueError: one is missing, has too few pictures or one that cannot be read, or its weight is not positive.
    """
    folders, held_out = [], []
    for entry in data:
        folder, weight = folder_and_weight(entry)
        if not folder.exists():
            raise ValueError(f"no folder or zip file {folder}")
        pictures = load_pictures(folder)
        if len(pictures) <= config.holdout:
            raise ValueError(f"{folder} has {len(pictures)} pictures but {config.holdout} are to be held out")
        split = len(pictures) - config.holdout
        folders.append((pictures[:split], weight))
        held_out = held_out or pictures[split:]
    return Crops(folders, config.crop, config.seed), held_out


def folder_and_weight(entry: str) -> tuple[Path, float]:
    """``PATH:WEIGHT``, or ``PATH`` for weight 1; one whose own name ends like a weight is taken whole."""
    name, _, weight = entry.rpartition(":")
    if name and not Path(entry).exists():
        with contextlib.suppress(ValueError):
            return Path(name), float(weight)
    return Path(entry), 1.0


def center_crops(pictures: Sequence[np.ndarray], size: int, device: torch.device) -> Tensor:
    """Central ``size`` x ``size`` pixels of every picture that has them, as images in [-1, 1]; perhaps none."""
    fitting = [p for p in pictures if min(p.shape[1:]) >= size]
    corners = [((p.shape[1] - size) // 2, (p.shape[2] - size) // 2) for p in fitting]
    crops = [p[:, i : i + size, j : j + size] for p, (i, j) in zip(fitting, corners, strict=True)]
    return to_unit(torch.from_numpy(np.stack(crops) if crops else np.empty((0, 3, size, size), np.uint8)), device)


def check_shares(path: str | Path, config: RunConfig) -> None:
    """Refuse a batch that the processes cannot share evenly."""
    if config.batch % (processes.count() * config.accumulate):
        shares = f"{processes.count()} processes of {config.accumulate} micro-batches"
        raise ValueError(f"{path}: batch {config.batch} cannot be shared evenly by {shares}")


def check_crop(path: str | Path, config: RunConfig, network: UNet) -> None:
    """Refuse crops of a size that the network would have to pad."""
    if config.crop % network.multiple:
        raise ValueError(f"{path}: crop {config.crop} is no multiple of the network's {network.multiple}")


def training_spectrum(crops: Crops) -> Tensor:
    """Radial power spectrum of 512 training crops, for the solver's warm start."""
    pictures = torch.stack([crops[index][0] for index in range(512)])
    return radial_spectrum(to_unit(pictures, torch.device("cpu")))


def validate(denoiser: Denoiser, images: Tensor) -> dict[str, float]:
    """Denoising PSNR of the held-out images, if there are any, at each level, always with the same noise."""
    figures = {}
    for sigma in VALIDATION_LEVELS if len(images) else ():
        noise = NoiseStreams(0, range(len(images)), images.device)(images.shape[1:])
        figures[f"psnr_{sigma:g}"] = round(denoising_psnr(denoiser, images, sigma, noise), 3)
    return figures


def training_record(config: RunConfig, step: int, **extra: object) -> dict:
    """What a weights' file says about its making."""
    recipe = {k: v for k, v in asdict(config).items() if k not in ("license", "data")}
    shared = {"license": config.license, "data": config.data, "images_seen": step * config.batch}
    return {**shared, **extra, "recipe": recipe}


def snapshot_due(config: RunConfig, step: int) -> bool:
    last = math.ceil(config.images / config.batch)
    return config.snapshot_every > 0 and (step % config.snapshot_every == 0 or step == last)


def train(
    config: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
) -> Path:
    """Train an EDM teacher; returns the exported weights' path, ``out/denoiser-ema*.safetensors``.

    Raises:
        ValueError: naming what is wrong with the configuration, the data or the state left in ``out``.
    """
    settings, out = load_config(config, TrainConfig), Path(out)
    with processes.joined(choose_device(device)) as where:
        check_shares(config, settings)
        torch.manual_seed(settings.seed)
        try:
            shape = UNetConfig(**settings.network)
        except ValueError as error:
            raise ValueError(f"{config}: network: {error}") from None
        network = UNet(shape).to(where, memory_format=torch.channels_last)
        check_crop(config, settings, network)
        crops, held_out = read_data(data, settings)
        images = center_crops(held_out, settings.crop, where)
        player = Player(network, settings.learning_rate, settings.betas, settings.ema)
        spectrum = training_spectrum(crops)
        step = TeacherStep(Denoiser(network), player, settings)

        def checkpoint(number: int) -> dict[str, float]:
            figures = {}
            for average in reversed(player.averages):
                denoiser = Denoiser(average.network)
                figures = validate(denoiser, images)
                path = out / f"denoiser-ema{average.std:g}.safetensors"
                record = training_record(settings, number, validation=figures, ema=average.std)
                save_denoiser(path, denoiser, record, spectrum=spectrum)
                if snapshot_due(settings, number):
                    record = training_record(settings, number, ema=average.std, steps=player.steps)
                    path = snapshot_path(out, number, average.std)
                    save_denoiser(path, denoiser, record, spectrum=spectrum, normalized=False)
            if len(images):
                write_grid(out, number, denoised(denoiser, images[:PICTURES]))
            return figures

        train_loop(settings, crops, {"teacher": player}, step, checkpoint, out, where, max_minutes)
        return out / f"denoiser-ema{settings.ema[0]:g}.safetensors"


def distill(
    config: str | Path,
    teacher: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
) -> Path:
    """Distil a teacher into a generative denoiser; returns the exported weights' path, ``out/generator-ema*``.

    Raises:
        ValueError: naming what is wrong with the configuration, the teacher, the data or the state left in ``out``.
    """
    settings, out = load_config(config, DistillConfig), Path(out)
    with processes.joined(choose_device(device)) as where:
        check_shares(config, settings)
        torch.manual_seed(settings.seed)
        source, header, spectrum = load_denoiser(resolve(teacher), train=True)
        if source.network.config.conditional:
            raise ValueError(f"{teacher} is a {header['kind']}; a teacher is a plain denoiser")
        check_crop(config, settings, source.network)
        crops, held_out = read_data(data, settings)
        images = center_crops(held_out[:PICTURES], settings.crop, where)
        source = source.to(where, memory_format=torch.channels_last).requires_grad_(False)
        generator, fake, judge = (
            conditional_from(source.network).to(where, memory_format=torch.channels_last) for _ in range(3)
        )
        discriminator = Discriminator(judge, source.sigma_data).to(where)
        players = {
            "generator": Player(generator, settings.generator_rate, settings.betas, settings.ema),
            "fake": Player(fake, settings.fake_rate, settings.betas),
            "discriminator": Player(discriminator, settings.discriminator_rate, settings.betas),
        }
        student = GenerativeDenoiser(Denoiser(generator, source.sigma_data), settings.gamma)
        step = DistillStep(student, Denoiser(fake, source.sigma_data), discriminator, source, players, settings)

        def checkpoint(number: int) -> dict[str, float]:
            for average in reversed(players["generator"].averages):
                denoiser = Denoiser(average.network, source.sigma_data)
                record = training_record(settings, number, teacher=header["record"], ema=average.std)
                path = out / f"generator-ema{average.std:g}.safetensors"
                save_denoiser(path, denoiser, record, settings.gamma, spectrum)
                if snapshot_due(settings, number) and players["generator"].steps:
                    record = {**record, "steps": players["generator"].steps}
                    path = snapshot_path(out, number, average.std)
                    save_denoiser(path, denoiser, record, settings.gamma, spectrum, normalized=False)
            if len(images):
                write_grid(out, number, drawn(GenerativeDenoiser(denoiser, settings.gamma), images))
            return {}

        train_loop(settings, crops, players, step, checkpoint, out, where, max_minutes)
        return out / f"generator-ema{settings.ema[0]:g}.safetensors"
