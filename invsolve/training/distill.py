"""Distillation of a teacher into a generative denoiser: NCVSD (see ``ncvsd.py`` for its losses and gradients)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from ..data.training_set import TrainingSet
from ..networks.unet import conditional_from
from ..priors.denoiser import Denoiser, GenerativeDenoiser
from ..priors.file import load_denoiser
from ..priors.registry import resolve
from ..runtime import processes
from ..specs.recipe import DistillConfig, load_config
from .compute import autocast, backward, compiled, place
from .discriminator import Discriminator
from .energy import score_loss
from .exports import Exports
from .identity import of_weights
from .loop import train_loop
from .ncvsd import Diffused, adversarial_gradient, diffuse, discriminator_loss, fake_loss, generator_gradient, relative
from .run import Run, check_crop, common_classes, continued, joined_and_seeded
from .samples import Samples
from .trainee import Trainee
from .validation import sampled, write_grid


def norm_per_image(gradient: Tensor) -> Tensor:
    """Norm of a gradient ``[B, C, H, W]`` over the batch of all processes, divided by the size of that batch."""
    return processes.norm(gradient) / (len(gradient) * processes.count())


@dataclass
class Generated:
    """A micro-batch in a distillation step: generated ``x`` with its graph, and what it came from and goes to."""

    samples: Samples
    x: Tensor
    noised: Diffused
    fake_output: Tensor | None = None
    second: Tensor | None = None  # another sample of the same u, with its graph, for the energy score
    adversarial_noise: tuple[Tensor, Tensor] | None = None  # noise level and normals, shared by both uses


class DistillStep:
    """One update of each of fake denoiser, discriminator and generator, on the same generated images.

    The generator's gradient uses the fake denoiser's output from its own update, so that a step costs one forward and
    backward pass of each network and one forward pass of the teacher. The energy score takes one more pass of the
    generator each way, for a second sample.
    """

    def __init__(
        self,
        generator: GenerativeDenoiser,
        fake: Denoiser,
        discriminator: Discriminator,
        teacher: Denoiser,
        trainees: dict[str, Trainee],
        config: DistillConfig,
    ):
        generator.denoiser = compiled(generator.denoiser, config)
        self.generator, self.fake = generator, compiled(fake, config)
        self.discriminator, self.teacher = compiled(discriminator, config), compiled(teacher, config)
        self.trainees, self.config = trainees, config

    def sigmas(self, normals: Tensor) -> tuple[Tensor, Tensor]:
        """``s`` uniform on the Karras scale or its grid, and ``ln t`` normal, from independent standard normals."""
        c = self.config
        uniform = torch.special.ndtr(normals[:, 0])
        if c.sigma_levels:
            last = c.sigma_levels - 1
            uniform = (uniform * c.sigma_levels).floor().clamp_max(last) / last
        low, high = c.sigma_min ** (1 / c.sigma_exponent), c.sigma_max ** (1 / c.sigma_exponent)
        s = (low + uniform * (high - low)) ** c.sigma_exponent
        return s, (c.t_mean + c.t_std * normals[:, 1]).exp()

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        c = self.config
        parts = [self.generate(part) for part in samples.split(c.accumulate)]
        metrics = {"fake": sum(self.learn_fake(part) for part in parts)}
        self.trainees["fake"].update(c)
        gradient = distillation = torch.cat([self.distillation_gradient(part) for part in parts])
        metrics["distillation"] = norm_per_image(distillation)
        if c.adversarial_weight > 0 and number > c.adversarial_from - c.discriminator_first:
            metrics["discriminator"] = sum(self.learn_discriminator(part) for part in parts)
            self.trainees["discriminator"].update(c)
            if number > c.adversarial_from:
                adversarial = torch.cat([self.adversarial_gradient(part) for part in parts])
                metrics["adversarial"] = norm_per_image(adversarial)
                gradient = distillation + relative(distillation, adversarial, c.adversarial_weight) * adversarial
        if number > c.fake_first:
            gradients = [gradient]
            if c.energy_weight > 0:
                scores, energy = zip(*(self.energy_gradients(part, number) for part in parts), strict=True)
                metrics["energy"] = sum(scores)
                first, second = (torch.cat(each) for each in zip(*energy, strict=True))
                ratio = relative(distillation, first, c.energy_weight)
                gradients = [gradient + ratio * first, ratio * second]
            shares = zip(*((each / len(each)).chunk(len(parts)) for each in gradients), strict=True)
            for part, share in zip(parts, shares, strict=True):
                outputs = [part.x] if part.second is None else [part.x, part.second]
                torch.autograd.backward(outputs, share)
            self.trainees["generator"].update(c)
        return metrics

    def generate(self, samples: Samples) -> Generated:
        c, real, noise = self.config, samples.x, samples.noise
        shape = real.shape[1:]
        s, t = self.sigmas(samples.normals)
        u = real + s[:, None, None, None] * noise(shape)
        with autocast(c, real):
            x = self.sample(u, s, noise(shape), samples.labels)
            noised = diffuse(x.detach(), t, noise(shape), u, s, samples.labels)
            second = self.sample(u, s, noise(shape), samples.labels) if c.energy_weight > 0 else None
        return Generated(samples, x, noised, second=second)

    def sample(self, *inputs: Tensor | None) -> Tensor:
        if self.config.accumulate > 1:  # computed again for its gradient: only one micro-batch's activations are kept
            return recomputed(self.generator, *inputs, use_reentrant=False)
        return self.generator(*inputs)

    def energy_gradients(self, part: Generated, number: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A micro-batch's share of the score, and its gradients with respect to both samples, summed over it."""
        pair = [each.detach().requires_grad_() for each in (part.x, part.second)]
        sigma_data = self.generator.denoiser.sigma_data
        loss = score_loss(part.samples.x, *pair, part.noised.s, sigma_data, self.config, number)
        return loss.detach().mean() / self.config.accumulate, torch.autograd.grad(loss.sum(), pair)

    def learn_fake(self, part: Generated) -> Tensor:
        with autocast(self.config, part.x):
            loss, output = fake_loss(self.fake, part.x, part.noised)
        part.fake_output = output.detach()
        return backward(loss.mean(), self.config)

    def distillation_gradient(self, part: Generated) -> Tensor:
        with autocast(self.config, part.x):
            return generator_gradient(self.teacher, part.fake_output, part.noised)

    def learn_discriminator(self, part: Generated) -> Tensor:
        c, real, fake = self.config, part.samples.x, part.x.detach()
        t = (c.t_mean + c.t_std * part.samples.normals[:, 2]).exp()
        n = part.samples.noise(real.shape[1:])
        part.adversarial_noise = t, n
        with autocast(c, real):
            pair = [diffuse(x, t, n, part.noised.u, part.noised.s, part.samples.labels) for x in (real, fake)]
            loss = discriminator_loss(self.discriminator, *pair).mean()
        return backward(loss, c)

    def adversarial_gradient(self, part: Generated) -> Tensor:
        with autocast(self.config, part.x):
            how = (*part.adversarial_noise, part.noised.u, part.noised.s, part.samples.labels)
            return adversarial_gradient(self.discriminator, part.x, *how)


def distill(
    config: str | Path,
    teacher: str | Path,
    data: Sequence[str],
    out: str | Path,
    device: str = "auto",
    max_minutes: float = math.inf,
    generator: str | Path | None = None,
    cache: str | Path | None = None,
) -> Path:
    """Distil a teacher into a generative denoiser; returns the exported weights' path, ``out/generator-ema*``.

    ``generator`` is a prior to go on with instead of the teacher's own weights. The fake denoiser starts from the
    teacher all the same: for a generator that samples the posterior it is the posterior mean, which the teacher
    computes, while the generator's weights compute a sample. ``cache`` is as for ``train``.

    Raises:
        ValueError: naming what is wrong with the configuration, the teacher, the data or the state left in ``out``.
    """
    settings = load_config(config, DistillConfig)
    with joined_and_seeded(config, settings, device) as own:
        source, header, spectrum = load_denoiser(resolve(teacher), train=True)
        if source.network.config.conditional:
            raise ValueError(f"{teacher} is a {header['kind']}; a teacher is a plain denoiser")
        image_size = header.get("image_size")
        check_crop(config, settings, source.network, image_size)
        start = {"teacher": of_weights(source.network), "sigma_data": source.sigma_data, "generator": "none"}
        student, fake, critic = (
            Denoiser(conditional_from(source.network, settings.conditioning), source.sigma_data) for _ in range(3)
        )
        records, record = {"the teacher's": header["record"]}, {}
        if generator is not None:
            student, record["continues"] = continued(generator, student, {**header, "gamma": settings.gamma})
            start["generator"], records["the generator's"] = of_weights(student.network), record["continues"]
        pictures = TrainingSet(data, source.network.config.labels, source.network.config.image_channels)
        record |= {**common_classes(pictures, records), "teacher": header["record"]}
        run = Run("distill", settings, pictures, out, cache, own, **start)

        source = place(source.eval().requires_grad_(False), settings, own)
        student, fake = place(student, settings, own), place(fake, settings, own)
        discriminator = place(Discriminator(critic.network, source.sigma_data), settings, own)
        trainees = {
            "generator": Trainee(student.network, settings.generator_rate, settings.betas, settings.ema),
            "fake": Trainee(fake.network, settings.fake_rate, settings.betas),
            "discriminator": Trainee(discriminator, settings.discriminator_rate, settings.betas),
        }
        exports = Exports(
            run, "generator", trainees["generator"], record, spectrum, source.sigma_data, settings.gamma, image_size
        )

        def checkpoint(number: int) -> dict[str, float]:
            averaged = GenerativeDenoiser(exports.write(number), settings.gamma)
            write_grid(run.out, number, run.held_out[0], sampled, averaged)
            return {}

        student = GenerativeDenoiser(student, settings.gamma)
        step = DistillStep(student, fake, discriminator, source, trainees, settings)
        train_loop(run, trainees, step, exports, checkpoint, max_minutes)
        return exports.result
