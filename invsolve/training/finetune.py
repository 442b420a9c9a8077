"""Fine-tuning of a generative denoiser for few evaluations: its output without over-noising.

At ``gamma = 0`` there is no noise left to sample with: ``G(u, s) = D_cond(u, s; u, s)`` is one image for every u.
Distillation never asks for it, but a solver's loop of few evaluations restores best with it, since its likelihood
samples bring noise of their own. Here it learns to be the image that looks most like the true one. It descends

    E[ln d(G(u, s), x) + w ln |G(u, s) - x|²],    u = x + s n,

with ``d`` the perceptual distance of ``perceptual.py`` by the teacher's features; the logarithm gives all noise levels
the same weight. In a share ``keep`` of the samples it is held to its own earlier output instead, with the over-noising
it was distilled with and the same noise, so that it goes on sampling ``p(x | u)`` there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..data.training_set import HeldOut, TrainingSet
from ..priors.denoiser import Denoiser
from ..priors.file import load_denoiser
from ..priors.registry import resolve
from ..runtime.random_streams import NoiseStreams
from ..specs.recipe import FinetuneConfig, load_config
from .compute import autocast, backward, compiled, place
from .exports import Exports
from .held import GeneratorInputs, held_loss, levels_and_held, load_generator
from .identity import of_weights
from .loop import train_loop
from .perceptual import perceptual_distance
from .run import Run, check_crop, common_classes, joined_and_seeded
from .samples import Samples
from .trainee import Trainee
from .validation import denoised, estimate, of_each_source, validate, write_grid

DISTANCE_SIGMAS = (0.1, 0.5, 2.0)  # of the noise removed, where validation takes perceptual distances


class FinetuneStep:
    """One update of the generator ``denoiser``, distilled with over-noising ``gamma``; ``original`` is its start."""

    def __init__(
        self,
        denoiser: Denoiser,
        original: Denoiser,
        teacher: Denoiser,
        gamma: float,
        trainee: Trainee,
        config: FinetuneConfig,
    ):
        self.denoiser, self.original, self.teacher = compiled(denoiser, config), original, teacher
        self.gamma, self.trainee, self.config = gamma, trainee, config

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        parts = [self.learn(part) for part in samples.split(self.config.accumulate)]
        self.trainee.update(self.config)
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    def learn(self, part: Samples) -> dict[str, Tensor]:
        """Gradients of a micro-batch; returns its shares of the metrics."""
        c, x, shape = self.config, part.x, part.x.shape[1:]
        s, kept = levels_and_held(part.normals, c)
        u, z = x + s[:, None, None, None] * part.noise(shape), part.noise(shape)
        inputs = GeneratorInputs.of(u, s, torch.where(kept, self.gamma, 0.0), z, part.labels)
        losses = dict.fromkeys(("distance", "error", "kept"), x.new_zeros(()))
        with autocast(c, x):
            output = inputs(self.denoiser)
            if not kept.all():
                learned = [None if each is None else each[~kept] for each in (output, x, z, part.labels)]
                losses["distance"], losses["error"] = (loss.sum() for loss in self.image_losses(*learned))
            if kept.any():
                losses["kept"] = held_loss(self.original, inputs[kept], output[kept]).sum()
        means = {name: loss / len(x) for name, loss in losses.items()}
        backward(means["distance"] + c.error_weight * means["error"] + c.keep_weight * means["kept"], c)
        return {name: value.detach() / c.accumulate for name, value in means.items()}

    def image_losses(self, output: Tensor, x: Tensor, noise: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """``ln d`` and ``ln |error|²`` a sample."""
        distance = perceptual_distance(self.teacher, output, x, self.config.feature_level, noise, labels)
        return distance.log(), (output - x).square().flatten(1).mean(1).log()


def validate_estimates(generator: Denoiser, teacher: Denoiser, held_out: HeldOut, sigma: float) -> dict[str, float]:
    """PSNR of the held-out images' estimates, and at some noise levels the mean logarithm of their distance."""
    figures, images = validate(partial(estimate, generator), held_out), held_out.images
    for s in DISTANCE_SIGMAS if len(images) else ():
        noise = NoiseStreams(0, range(len(images)), images.device)
        found = estimate(generator, images + s * noise(images.shape[1:]), s, held_out.labels)
        distance = perceptual_distance(teacher, found, images, sigma, noise(images.shape[1:]), held_out.labels)
        figures[f"distance_{s:g}"] = round(distance.log().mean().item(), 4)
    return figures


def finetune(
    config: str | Path,
    generator: str | Path,
    teacher: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
    cache: str | Path | None = None,
) -> Path:
    """Fine-tune a generative denoiser; returns the exported weights' path, ``out/generator-ema*.safetensors``.

    ``generator`` and ``teacher`` are names or paths of a generative denoiser and of the plain one whose features
    compare images. ``cache`` is as for ``train``.

    Raises:
        ValueError: naming what is wrong with the configuration, the weights, the data or the state left in ``out``.
    """
    settings = load_config(config, FinetuneConfig)
    with joined_and_seeded(config, settings, device) as own:
        student, original, header, spectrum = load_generator(generator, config, settings, own)
        source, teacher_header, _ = load_denoiser(resolve(teacher))
        labels = student.network.config.labels
        if source.network.config.conditional:
            raise ValueError(f"{teacher} is no plain denoiser, whose features compare pictures")
        if source.network.config.labels != labels:
            raise ValueError(f"{teacher} knows {source.network.config.labels} classes but {generator} {labels}")
        check_crop(config, settings, source.network, teacher_header.get("image_size"))
        start = {"generator": of_weights(student.network), "teacher": of_weights(source.network)}
        pictures = TrainingSet(data, labels, student.network.config.image_channels)
        records = {"the generator's": header["record"], "the teacher's": teacher_header["record"]}
        record = {"continues": header["record"], **common_classes(pictures, records)}
        run = Run("finetune", settings, pictures, out, cache, own, **start)

        student, source = place(student, settings, own), place(source, settings, own)
        gamma = header["gamma"]
        trainee = Trainee(student.network, settings.learning_rate, settings.betas, settings.ema)
        exports = Exports(
            run, "generator", trainee, record, spectrum, student.sigma_data, gamma, header.get("image_size")
        )

        def checkpoint(number: int) -> dict[str, float]:
            denoiser = exports.write(number)
            write_grid(run.out, number, run.held_out[0], denoised, partial(estimate, denoiser))
            figures = partial(validate_estimates, denoiser, source, sigma=settings.feature_level)
            return of_each_source(figures, run.held_out)

        step = FinetuneStep(student, original, source, gamma, trainee, settings)
        train_loop(run, {"generator": trainee}, step, exports, checkpoint, max_minutes)
        return exports.result
