"""Training of a teacher: a plain denoiser, by EDM's loss (Karras et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..data.crops import Crops, to_unit
from ..data.training_set import TrainingSet
from ..networks.unet import UNet, UNetConfig
from ..priors.denoiser import Denoiser
from ..priors.spectrum import radial_spectrum
from ..specs.recipe import TrainConfig, load_config
from .compute import autocast, backward, compiled, place
from .edm import edm_loss
from .exports import Exports
from .identity import of_network
from .loop import train_loop
from .run import Run, check_crop, common_classes, joined_and_seeded
from .samples import Samples
from .trainee import Trainee
from .validation import denoised, validate, write_grid


class TeacherStep:
    """One update: ``ln sigma ~ N(mean, std²)``, denoising loss."""

    def __init__(self, denoiser: Denoiser, trainee: Trainee, config: TrainConfig):
        self.denoiser, self.trainee, self.config = compiled(denoiser, config), trainee, config

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        c, losses = self.config, []
        for part in samples.split(c.accumulate):
            sigma = (c.sigma_mean + c.sigma_std * part.normals[:, 0]).exp()
            with autocast(c, part.x):
                loss = edm_loss(self.denoiser, part.x, sigma, part.noise(part.x.shape[1:]), part.labels).mean()
            losses.append(backward(loss, c))
        self.trainee.update(c)
        return {"loss": sum(losses)}


def training_spectrum(crops: Crops) -> Tensor:
    """Radial power spectrum of 512 training crops, for the solver's warm start."""
    pictures = torch.stack([crops[index][0] for index in range(512)])
    return radial_spectrum(to_unit(pictures, torch.device("cpu")))


def train(
    config: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
    cache: str | Path | None = None,
) -> Path:
    """Train an EDM teacher; returns the exported weights' path, ``out/denoiser-ema*.safetensors``.

    ``cache`` is the folder for decoded pictures that do not fit into memory, ``out/cache`` by default.

    Raises:
        ValueError: naming what is wrong with the configuration, the data or the state left in ``out``.
    """
    settings = load_config(config, TrainConfig)
    with joined_and_seeded(config, settings, device) as own:
        try:
            shape = UNetConfig(**asdict(settings.network))
        except ValueError as error:
            raise ValueError(f"{config}: network: {error}") from None
        network = place(UNet(shape), settings, own)
        check_crop(config, settings, network)
        pictures = TrainingSet(data, shape.labels)
        run = Run("train", settings, pictures, out, cache, own, **of_network(shape))
        trainee = Trainee(network, settings.learning_rate, settings.betas, settings.ema)
        exports = Exports(run, "denoiser", trainee, common_classes(pictures, {}), training_spectrum(run.crops))

        def checkpoint(number: int) -> dict[str, float]:
            figures = [validate(Denoiser(average.network), run.held_out) for average in trainee.averages]
            denoiser = exports.write(number, figures)
            write_grid(run.out, number, run.held_out, denoised, denoiser)
            return figures[0]

        step = TeacherStep(Denoiser(network), trainee, settings)
        train_loop(run, {"teacher": trainee}, step, exports, checkpoint, max_minutes)
        return exports.result
