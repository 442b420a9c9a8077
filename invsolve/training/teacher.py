"""Training of a teacher: a plain denoiser, by EDM's loss (Karras et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..data.crops import Crops, to_unit
from ..data.training_set import TrainingSet
from ..networks.unet import UNet, UNetConfig
from ..priors.denoiser import GAMMA, Denoiser
from ..priors.spectrum import radial_spectrum
from ..specs.recipe import TrainConfig, load_config
from .compute import autocast, backward, compiled, place
from .edm import edm_loss
from .exports import Exports
from .identity import of_network, of_weights
from .loop import train_loop
from .run import Run, check_crop, common_classes, continued, joined_and_seeded
from .samples import Samples
from .trainee import Trainee
from .validation import denoised, of_each_source, validate, write_grid


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
    denoiser: str | Path | None = None,
    cache: str | Path | None = None,
) -> Path:
    """Train an EDM teacher; returns the exported weights' path, ``out/denoiser-ema*.safetensors``.

    ``denoiser`` is a teacher to go on with instead of random weights, of the configuration's network. ``cache`` is the
    folder for decoded pictures that do not fit into memory, ``out/cache`` by default.

    Raises:
        ValueError: naming what is wrong with the configuration, the data or the state left in ``out``.
    """
    settings = load_config(config, TrainConfig)
    with joined_and_seeded(config, settings, device) as own:
        try:
            shape = UNetConfig(**asdict(settings.network))
        except ValueError as error:
            raise ValueError(f"{config}: network: {error}") from None
        start, records, record = Denoiser(UNet(shape)), {}, {}
        check_crop(config, settings, start.network)
        more = {**of_network(shape), "denoiser": "none"}
        if denoiser is not None:
            start, record["continues"] = continued(denoiser, start, {"gamma": GAMMA})
            more["denoiser"], records["the denoiser's"] = of_weights(start.network), record["continues"]
        pictures = TrainingSet(data, shape.labels, shape.image_channels)
        record |= common_classes(pictures, records)
        run = Run("train", settings, pictures, out, cache, own, **more)
        network = place(start.network, settings, own)
        trainee = Trainee(network, settings.learning_rate, settings.betas, settings.ema)
        exports = Exports(run, "denoiser", trainee, record, training_spectrum(run.crops))

        def checkpoint(number: int) -> dict[str, float]:
            averages = [Denoiser(average.network) for average in trainee.averages]
            figures = [of_each_source(partial(validate, average), run.held_out) for average in averages]
            denoiser = exports.write(number, figures)
            write_grid(run.out, number, run.held_out[0], denoised, denoiser)
            return figures[0]

        step = TeacherStep(Denoiser(network), trainee, settings)
        train_loop(run, {"teacher": trainee}, step, exports, checkpoint, max_minutes)
        return exports.result
