"""Calibration of a generative denoiser: samples of true spread, by the energy score of pairs of them (``energy.py``).

Variational score distillation seeks modes, so that samples are too much alike. Here a generator learns from pictures
alone: two samples of one ``u = x + s n``, each with its own noise, against the truth ``x``; no teacher, no fake
denoiser and no discriminator. In a share ``keep`` of the crops its output without over-noising is held to what it was,
on two noisy images of the crop, so that a prior fine-tuned for few evaluations stays one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..data.training_set import HeldOut, TrainingSet
from ..priors.denoiser import Denoiser, GenerativeDenoiser
from ..specs.recipe import CalibrateConfig, load_config
from .compute import autocast, backward, compiled, place
from .energy import score_loss
from .exports import Exports
from .held import GeneratorInputs, held_loss, levels_and_held, load_generator
from .identity import of_weights
from .loop import train_loop
from .run import Run, common_classes, joined_and_seeded
from .samples import Samples
from .trainee import Trainee
from .validation import estimate, of_each_source, sampled, spread_and_error, validate, write_grid

VALIDATED = 8  # held-out images of each source


class CalibrateStep:
    """One update of the generator ``denoiser``, distilled with over-noising ``gamma``; ``original`` is its start."""

    def __init__(self, denoiser: Denoiser, original: Denoiser, gamma: float, trainee: Trainee, config: CalibrateConfig):
        self.denoiser, self.original = compiled(denoiser, config), original
        self.gamma, self.trainee, self.config = gamma, trainee, config

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        parts = [self.learn(part, number) for part in samples.split(self.config.accumulate)]
        self.trainee.update(self.config)
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    def learn(self, part: Samples, number: int) -> dict[str, Tensor]:
        """Gradients of a micro-batch; returns its shares of the metrics."""
        c, x, shape = self.config, part.x, part.x.shape[1:]
        s, kept = levels_and_held(part.normals, c)
        n, first_z, second_z = (part.noise(shape) for _ in range(3))
        # Without over-noising there is no z: the second output of a held sample is that of another noisy image.
        noise = torch.cat([n, torch.where(kept[:, None, None, None], second_z, n)])
        twice_x, twice_s, twice_kept = (torch.cat([each, each]) for each in (x, s, kept))
        u = twice_x + twice_s[:, None, None, None] * noise
        gamma, z = torch.where(twice_kept, 0.0, self.gamma), torch.cat([first_z, second_z])
        labels = None if part.labels is None else torch.cat([part.labels, part.labels])
        inputs = GeneratorInputs.of(u, twice_s, gamma, z, labels)
        losses = dict.fromkeys(("score", "kept"), x.new_zeros(()))
        with autocast(c, x):
            output = inputs(self.denoiser)
        if not kept.all():
            pair = [half[~kept] for half in output.chunk(2)]
            losses["score"] = score_loss(x[~kept], *pair, s[~kept], self.original.sigma_data, c, number).sum()
        if kept.any():
            with autocast(c, x):
                losses["kept"] = held_loss(self.original, inputs[twice_kept], output[twice_kept]).sum() / 2
        means = {name: loss / len(x) for name, loss in losses.items()}
        backward(means["score"] + c.keep_weight * means["kept"], c)
        return {name: value.detach() / c.accumulate for name, value in means.items()}


def validate_samples(generator: GenerativeDenoiser, held_out: HeldOut) -> dict[str, float]:
    """How samples of the first held-out images stand to the truth, and the PSNR of the output without over-noising."""
    held_out = held_out.first(VALIDATED)
    return spread_and_error(generator, held_out) | validate(partial(estimate, generator.denoiser), held_out)


def calibrate(
    config: str | Path,
    generator: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
    cache: str | Path | None = None,
) -> Path:
    """Calibrate a generative denoiser; returns the exported weights' path, ``out/generator-ema*.safetensors``.

    ``generator`` is the name or path of one. ``cache`` is as for ``train``.

    Raises:
        ValueError: naming what is wrong with the configuration, the weights, the data or the state left in ``out``.
    """
    settings = load_config(config, CalibrateConfig)
    with joined_and_seeded(config, settings, device) as own:
        student, original, header, spectrum = load_generator(generator, config, settings, own)
        pictures = TrainingSet(data, student.network.config.labels, student.network.config.image_channels)
        record = {
            "continues": header["record"],
            **common_classes(pictures, {"the generator's": header["record"]}),
        }
        run = Run("calibrate", settings, pictures, out, cache, own, generator=of_weights(student.network))

        student, gamma = place(student, settings, own), header["gamma"]
        trainee = Trainee(student.network, settings.learning_rate, settings.betas, settings.ema)
        exports = Exports(
            run, "generator", trainee, record, spectrum, student.sigma_data, gamma, header.get("image_size")
        )

        def checkpoint(number: int) -> dict[str, float]:
            averaged = GenerativeDenoiser(exports.write(number), gamma)
            write_grid(run.out, number, run.held_out[0], sampled, averaged)
            return of_each_source(partial(validate_samples, averaged), run.held_out)

        step = CalibrateStep(student, original, gamma, trainee, settings)
        train_loop(run, {"generator": trainee}, step, exports, checkpoint, max_minutes)
        return exports.result
