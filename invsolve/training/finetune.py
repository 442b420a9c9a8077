"""Fine-tuning of a generative denoiser for few evaluations: its draws without over-noising.

At ``gamma = 0`` there is no noise left to draw with: ``G(u, s) = D_cond(u, s; u, s)`` is one picture for every u.
Distillation never asks for it, but a solver's loop of few evaluations restores best with it, since its likelihood draws
bring noise of their own. Here it learns to be the picture that looks most like the true one. It descends

    E[ln d(G(u, s), x) + w ln |G(u, s) - x|²],    u = x + s n,

with ``d`` the perceptual distance of ``perceptual.py`` by the teacher's features; the logarithm gives all noise levels
the same weight. In a share ``keep`` of the samples it is held to its own earlier draws instead, with the over-noising
it was distilled with and the same noise, so that it goes on sampling ``p(x | u)`` there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..data.training_set import describe_data, held_out_images, read_data
from ..priors.denoiser import Denoiser, classes
from ..priors.file import load_denoiser
from ..priors.registry import resolve
from ..runtime import processes
from ..runtime.device import choose_device
from ..runtime.random_streams import NoiseStreams
from ..specs.recipe import FinetuneConfig, load_config
from .edm import edm_weight
from .exports import export_path, exports_missing
from .grids import PICTURES, denoised, write_grid
from .identity import identity, of_weights
from .loop import Checkpoints, Samples, train_loop
from .perceptual import perceptual_distance
from .steps import autocast, backward, compiled, memory_format
from .teacher import (
    Traits,
    agreed_classes,
    cache_folder,
    check_crop,
    check_folders,
    check_shares,
    export_generator,
    validate,
)
from .trainee import Trainee

DISTANCE_LEVELS = (0.1, 0.5, 2.0)  # of the noise removed, where validation takes perceptual distances


def chosen(which: Tensor, *tensors: Tensor | None) -> list[Tensor | None]:
    """The samples told by ``which`` of tensors that may be None."""
    return [None if each is None else each[which] for each in tensors]


class FinetuneStep:
    """One update of the generator ``denoiser``, whose over-noising is ``gamma``; ``before`` is what it was at first."""

    def __init__(
        self,
        denoiser: Denoiser,
        before: Denoiser,
        teacher: Denoiser,
        gamma: float,
        trainee: Trainee,
        config: FinetuneConfig,
    ):
        self.denoiser, self.before, self.teacher = compiled(denoiser, config), before, teacher
        self.gamma, self.trainee, self.config = gamma, trainee, config

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        parts = [self.learn(part) for part in samples.split(self.config.accumulate)]
        self.trainee.update(self.config)
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    def levels(self, normals: Tensor) -> tuple[Tensor, Tensor]:
        """``s`` log-uniform between its bounds, and which samples keep their draws, from independent normals."""
        c = self.config
        uniform = torch.special.ndtr(normals[:, :2])
        return c.sigma_min * (c.sigma_max / c.sigma_min) ** uniform[:, 0], uniform[:, 1] < c.keep

    def learn(self, part: Samples) -> dict[str, Tensor]:
        """Gradients of a micro-batch; returns its shares of the metrics."""
        c, x, shape = self.config, part.x, part.x.shape[1:]
        s, kept = self.levels(part.normals)
        u, z = x + s[:, None, None, None] * part.noise(shape), part.noise(shape)
        told = torch.where(kept, 1 + self.gamma, 1.0) * s
        over = u + (told**2 - s**2).clamp_min(0).sqrt()[:, None, None, None] * z
        with autocast(c, x):
            found = self.denoiser(over, told, u, s, **classes(part.labels))
            pictures = self.picture_losses(found, x, z, part.labels, ~kept)
            draws = self.keeping_loss(found, over, told, u, s, part.labels, kept)
        total = {"distance": pictures[0].sum(), "error": pictures[1].sum(), "kept": draws.sum()}
        means = {name: value / len(x) for name, value in total.items()}
        backward(means["distance"] + c.error_weight * means["error"] + c.keep_weight * means["kept"], c)
        return {name: value.detach() / c.accumulate for name, value in means.items()}

    def picture_losses(
        self, found: Tensor, x: Tensor, noise: Tensor, labels: Tensor | None, which: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``ln d`` and ``ln |error|²`` of the samples told by ``which``."""
        if not which.any():
            return found[:0].sum((1, 2, 3)), found[:0].sum((1, 2, 3))
        found, x, noise, labels = chosen(which, found, x, noise, labels)
        distance = perceptual_distance(self.teacher, found, x, self.config.feature_level, noise, labels)
        return distance.log(), (found - x).square().flatten(1).mean(1).log()

    def keeping_loss(
        self, found: Tensor, over: Tensor, told: Tensor, u: Tensor, s: Tensor, labels: Tensor | None, which: Tensor
    ) -> Tensor:
        """``w(told) |G - G_before|²`` of the samples told by ``which``."""
        if not which.any():
            return found[:0].sum((1, 2, 3))
        over, told, u, s, labels = chosen(which, over, told, u, s, labels)
        with torch.no_grad():
            expected = self.before(over, told, u, s, **classes(labels))
        return edm_weight(told, self.before.sigma_data) * (found[which] - expected).square().flatten(1).mean(1)


@torch.no_grad()
def picture(generator: Denoiser, u: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
    """The picture that the generator makes of ``u`` without over-noising, called like a plain denoiser."""
    return generator(u, sigma, u, sigma, **classes(labels))


def validation(
    generator: Denoiser, teacher: Denoiser, images: Tensor, level: float, labels: Tensor | None = None
) -> dict[str, float]:
    """PSNR of the held-out images' pictures at each level, and at some the mean logarithm of their distance."""
    figures = validate(partial(picture, generator), images, labels)
    for sigma in DISTANCE_LEVELS if len(images) else ():
        noise = NoiseStreams(0, range(len(images)), images.device)
        found = picture(generator, images + sigma * noise(images.shape[1:]), sigma, labels)
        distance = perceptual_distance(teacher, found, images, level, noise(images.shape[1:]), labels)
        figures[f"distance_{sigma:g}"] = round(distance.log().mean().item(), 4)
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
    compare pictures. ``cache`` is the folder for decoded pictures that do not fit into memory, ``out/cache`` by
    default.

    Raises:
        ValueError: naming what is wrong with the configuration, the weights, the data or the state left in ``out``.
    """
    settings, out = load_config(config, FinetuneConfig), Path(out)
    with processes.joined(choose_device(device)) as where:
        check_shares(config, settings)
        student, header, spectrum = load_denoiser(resolve(generator), train=True)
        layout = memory_format(settings, where)
        before = load_denoiser(resolve(generator))[0].to(where, memory_format=layout)
        judge, of_judge, _ = load_denoiser(resolve(teacher))
        judge = judge.to(where, memory_format=layout)
        shape = student.network.config
        if not shape.conditional:
            raise ValueError(f"{generator} is a {header['kind']}; only a generative denoiser is fine-tuned")
        if judge.network.config.conditional:
            raise ValueError(f"{teacher} is no plain denoiser, whose features compare pictures")
        if judge.network.config.labels != shape.labels:
            raise ValueError(f"{teacher} knows {judge.network.config.labels} classes but {generator} {shape.labels}")
        traits = Traits.of(student, header, spectrum)
        for denoiser, size in ((student, traits.image_size), (judge, of_judge.get("image_size"))):
            check_crop(config, settings, denoiser.network, size)
        records = {"the generator's": header["record"], "the teacher's": of_judge["record"]}
        record = {"continues": header["record"], **agreed_classes(data, shape.labels, records)}
        check_folders(out, cache, where)
        crops, *rest = read_data(data, settings, cache_folder(cache, out), shape.labels)
        held_out = held_out_images(*rest, settings.crop, shape.labels, where)
        origins = {"generator": of_weights(student.network), "teacher": of_weights(judge.network)}
        this = identity("finetune", settings, describe_data(data, shape.labels), **origins)
        network = student.network.to(where, memory_format=layout)
        trainee = Trainee(network, settings.learning_rate, settings.betas, settings.ema)
        step = FinetuneStep(Denoiser(network, student.sigma_data), before, judge, traits.gamma, trainee, settings)

        def checkpoint(number: int) -> dict[str, float]:
            denoiser = export_generator(out, settings, trainee, number, traits, record, this)
            if len(held_out.images):
                shown = held_out.first(PICTURES)
                write_grid(out, number, denoised(partial(picture, denoiser), shown.images, shown.labels))
            return validation(denoiser, judge, held_out.images, settings.feature_level, held_out.labels)

        missing = partial(exports_missing, out, "generator", settings, trainee, this)
        checkpoints = Checkpoints(out, this, checkpoint, missing)
        with processes.alone(out):
            train_loop(settings, crops, {"generator": trainee}, step, checkpoints, where, max_minutes)
        return export_path(out, "generator", settings.ema[0])
