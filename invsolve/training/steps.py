"""One training step of the teacher, and one of the distillation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..priors.denoiser import Denoiser, GenerativeDenoiser
from ..runtime import processes
from ..specs.recipe import DistillConfig, RunConfig, TrainConfig
from .discriminator import Discriminator
from .edm import edm_loss
from .loop import Samples
from .ncvsd import Diffused, adversarial_gradient, balance, diffuse, discriminator_loss, fake_loss, generator_gradient
from .trainee import Trainee


def autocast(config: RunConfig, like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, torch.bfloat16, enabled=config.precision == "bf16")


def memory_format(config: RunConfig, device: torch.device) -> torch.memory_format:
    """Of the networks in training: on a CPU in float32 the usual one is faster (1.2 times), else channels last."""
    usual = device.type == "cpu" and config.precision == "fp32"
    return torch.contiguous_format if usual else torch.channels_last


def compiled(module: torch.nn.Module, config: RunConfig) -> torch.nn.Module:
    return torch.compile(module, dynamic=False) if config.compile else module


def backward(loss: Tensor, config: RunConfig) -> Tensor:
    """Gradients of a micro-batch's mean ``loss``, as its share of the batch's; returns that share of the loss."""
    share = loss / config.accumulate
    share.backward()
    return share.detach()


class TeacherStep:
    """EDM: ``ln sigma ~ N(mean, std²)``, denoising loss, Adam."""

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


def norm_per_image(gradient: Tensor) -> Tensor:
    """Norm of a gradient ``[B, C, H, W]`` over the batch of all processes, divided by the size of that batch."""
    return processes.norm(gradient) / (len(gradient) * processes.count())


@dataclass
class Generated:
    """A micro-batch in a distillation step: generated ``x`` with its graph, and what it came from and goes to."""

    samples: Samples
    u: Tensor
    s: Tensor
    x: Tensor
    noised: Diffused
    fake_output: Tensor | None = None
    adversarial_noise: tuple[Tensor, Tensor] | None = None  # level and normals, shared by both uses


class DistillStep:
    """NCVSD: fake denoiser, discriminator and generator, each updated once on the same generated images.

    The generator's gradient uses the fake denoiser's output from its own update, so that a step costs one forward and
    backward pass of each network and one forward pass of the teacher.
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

    def levels(self, normals: Tensor) -> tuple[Tensor, Tensor]:
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
        gradient = torch.cat([self.distillation_gradient(part) for part in parts])
        metrics["distillation"] = norm_per_image(gradient)
        if c.adversarial_weight > 0 and number > c.adversarial_from - c.discriminator_first:
            metrics["discriminator"] = sum(self.learn_discriminator(part) for part in parts)
            self.trainees["discriminator"].update(c)
            if number > c.adversarial_from:
                adversarial = torch.cat([self.adversarial_gradient(part) for part in parts])
                metrics["adversarial"] = norm_per_image(adversarial)
                gradient = balance(gradient, adversarial, c.adversarial_weight)
        if number > c.fake_first:
            shares = (gradient / len(gradient)).chunk(len(parts))
            for part, share in zip(parts, shares, strict=True):
                part.x.backward(share)
            self.trainees["generator"].update(c)
        return metrics

    def generate(self, samples: Samples) -> Generated:
        c, real, noise = self.config, samples.x, samples.noise
        shape = real.shape[1:]
        s, t = self.levels(samples.normals)
        u = real + s[:, None, None, None] * noise(shape)
        with autocast(c, real):
            z = noise(shape)
            if c.accumulate > 1:  # computed again for its gradient: only one micro-batch's activations are kept
                x = checkpoint(self.generator, u, s, z, samples.labels, use_reentrant=False)
            else:
                x = self.generator(u, s, z, samples.labels)
            noised = diffuse(x.detach(), t, noise(shape), u, s, samples.labels)
        return Generated(samples, u, s, x, noised)

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
            pair = [diffuse(x, t, n, part.u, part.s, part.samples.labels) for x in (real, fake)]
            loss = discriminator_loss(self.discriminator, *pair).mean()
        return backward(loss, c)

    def adversarial_gradient(self, part: Generated) -> Tensor:
        with autocast(self.config, part.x):
            how = (*part.adversarial_noise, part.u, part.s, part.samples.labels)
            return adversarial_gradient(self.discriminator, part.x, *how)
