"""Calibration of a generative denoiser: samples of true spread, by the energy score of pairs of them (``energy.py``).

Variational score distillation seeks modes, so that samples are too much alike. Here a generator learns from pictures
alone: two samples of one ``u = x + s n``, each with its own noise, against the truth ``x``; no teacher, no fake
denoiser and no discriminator.

Its output without over-noising is one picture, which few evaluations restore with. In a share ``keep`` of the crops,
on two noisy images each, it is held to what it was; or, given a teacher, it learns as in ``finetune.py`` to look like x
by the teacher's features. So one network serves both uses, by its gamma.
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
from .held import GeneratorInputs, held_loss, levels_and_held, load_generator, load_judge
from .identity import of_weights
from .loop import train_loop
from .perceptual import log_losses
from .run import Run, common_classes, joined_and_seeded
from .samples import Samples
from .trainee import Trainee
from .validation import estimate, of_each_source, sampled, spread_and_error, validate, write_grid

VALIDATED = 8  # held-out images of each source


class CalibrateStep:
    """One update of the generator ``denoiser``, distilled with over-noising ``gamma``; ``original`` is its start."""

    def __init__(
        self,
        denoiser: Denoiser,
        original: Denoiser,
        gamma: float,
        trainee: Trainee,
        config: CalibrateConfig,
        teacher: Denoiser | None = None,
    ):
        self.denoiser, self.original, self.teacher = compiled(denoiser, config), original, teacher
        self.gamma, self.trainee, self.config = gamma, trainee, config
        self.weights = {"score": 1.0, "kept": config.keep_weight}
        if teacher is not None:
            self.weights = {"score": 1.0, "perceptual": config.perceptual_weight}

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        parts = [self.learn(part, number) for part in samples.split(self.config.accumulate)]
        self.trainee.update(self.config)
        return {name: sum(part[name] for part in parts) for name in parts[0]}

    def learn(self, part: Samples, number: int) -> dict[str, Tensor]:
        """Gradients of a micro-batch; returns its shares of the metrics."""
        c, x, shape = self.config, part.x, part.x.shape[1:]
        s, kept = levels_and_held(part.normals, c)
        n, first_z, second_z = (part.noise(shape) for _ in range(3))
        # Without over-noising there is no z: the second output of such a sample is that of another noisy image.
        noise = torch.cat([n, torch.where(kept[:, None, None, None], second_z, n)])
        twice_x, twice_s, twice_kept = (torch.cat([each, each]) for each in (x, s, kept))
        u = twice_x + twice_s[:, None, None, None] * noise
        gamma, z = torch.where(twice_kept, 0.0, self.gamma), torch.cat([first_z, second_z])
        labels = None if part.labels is None else torch.cat([part.labels, part.labels])
        inputs = GeneratorInputs.of(u, twice_s, gamma, z, labels)
        losses = dict.fromkeys(self.weights, x.new_zeros(()))
        with autocast(c, x):
            output = inputs(self.denoiser)
        if not kept.all():
            pair = [half[~kept] for half in output.chunk(2)]
            losses["score"] = score_loss(x[~kept], *pair, s[~kept], self.original.sigma_data, c, number).sum()
        if kept.any():
            given, found = inputs[twice_kept], output[twice_kept]
            with autocast(c, x):
                if self.teacher is None:
                    losses["kept"] = held_loss(self.original, given, found).sum() / 2
                else:
                    truth, looks = twice_x[twice_kept], torch.cat([first_z, first_z])[twice_kept]
                    losses["perceptual"] = self.perceptual_losses(found, given, truth, looks).sum() / 2
        means = {name: loss / len(x) for name, loss in losses.items()}
        backward(sum(weight * means[name] for name, weight in self.weights.items()), c)
        return {name: value.detach() / c.accumulate for name, value in means.items()}

    def perceptual_losses(self, output: Tensor, inputs: GeneratorInputs, x: Tensor, noise: Tensor) -> Tensor:
        """What ``finetune`` descends, a sample: the features of ``x`` and of the output are taken under this noise."""
        distance, error = log_losses(self.teacher, output, x, self.config.feature_level, noise, inputs.labels)
        return distance + self.config.error_weight * error


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
    teacher: str | Path | None = None,
) -> Path:
    """Calibrate a generative denoiser; returns the exported weights' path, ``out/generator-ema*.safetensors``.

    ``generator`` is the name or path of one, ``teacher`` of the plain denoiser by whose features its output without
    over-noising is fine-tuned; without one it is held. ``cache`` is as for ``train``.

    Raises:
        ValueError: naming what is wrong with the configuration, the weights, the data or the state left in ``out``.
    """
    settings = load_config(config, CalibrateConfig)
    with joined_and_seeded(config, settings, device) as own:
        student, original, header, spectrum = load_generator(generator, config, settings, own)
        pictures = TrainingSet(data, student.network.config.labels, student.network.config.image_channels)
        start = {"generator": of_weights(student.network), "teacher": "none"}
        records, judge = {"the generator's": header["record"]}, None
        if teacher is not None:
            judge, records["the teacher's"] = load_judge(teacher, generator, student, config, settings, own)
            start["teacher"] = of_weights(judge.network)
        record = {"continues": header["record"], **common_classes(pictures, records)}
        run = Run("calibrate", settings, pictures, out, cache, own, **start)

        student, gamma = place(student, settings, own), header["gamma"]
        trainee = Trainee(student.network, settings.learning_rate, settings.betas, settings.ema)
        exports = Exports(
            run, "generator", trainee, record, spectrum, student.sigma_data, gamma, header.get("image_size")
        )

        def checkpoint(number: int) -> dict[str, float]:
            averaged = GenerativeDenoiser(exports.write(number), gamma)
            write_grid(run.out, number, run.held_out[0], sampled, averaged)
            return of_each_source(partial(validate_samples, averaged), run.held_out)

        step = CalibrateStep(student, original, gamma, trainee, settings, judge)
        train_loop(run, {"generator": trainee}, step, exports, checkpoint, max_minutes)
        return exports.result
