"""One training step of the teacher, and one of the distillation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..prior import Denoiser, GenerativeDenoiser
from .config import DistillConfig, RunConfig, TrainConfig
from .discriminator import Discriminator
from .edm import edm_loss
from .loop import Player, Samples
from .ncvsd import adversarial_gradient, balance, diffuse, discriminator_loss, fake_loss, generator_gradient


def autocast(config: RunConfig, like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, torch.bfloat16, enabled=config.precision == "bf16")


def compiled(module: torch.nn.Module, config: RunConfig) -> torch.nn.Module:
    return torch.compile(module, dynamic=False) if config.compile else module


class TeacherStep:
    """EDM: ``ln sigma ~ N(mean, std²)``, denoising loss, Adam."""

    def __init__(self, denoiser: Denoiser, player: Player, config: TrainConfig):
        self.denoiser, self.player, self.config = compiled(denoiser, config), player, config

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        c, x = self.config, samples.x
        sigma = (c.sigma_mean + c.sigma_std * samples.normals[:, 0]).exp()
        with autocast(c, x):
            loss = edm_loss(self.denoiser, x, sigma, samples.noise(x.shape[1:])).mean()
        loss.backward()
        self.player.update(c)
        return {"loss": loss}


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
        players: dict[str, Player],
        config: DistillConfig,
    ):
        generator.denoiser = compiled(generator.denoiser, config)
        self.generator, self.fake = generator, compiled(fake, config)
        self.discriminator, self.teacher = compiled(discriminator, config), compiled(teacher, config)
        self.players, self.config = players, config

    def levels(self, normals: Tensor) -> tuple[Tensor, Tensor]:
        """``s`` uniform on the Karras scale and ``ln t`` normal, from independent standard normals."""
        c = self.config
        uniform = (1 + torch.erf(normals[:, 0] / math.sqrt(2))) / 2
        low, high = c.sigma_min ** (1 / c.sigma_exponent), c.sigma_max ** (1 / c.sigma_exponent)
        s = (low + uniform * (high - low)) ** c.sigma_exponent
        return s, (c.t_mean + c.t_std * normals[:, 1]).exp()

    def __call__(self, samples: Samples, number: int) -> dict[str, Tensor]:
        c, real, noise = self.config, samples.x, samples.noise
        shape = real.shape[1:]
        s, t = self.levels(samples.normals)
        u = real + s[:, None, None, None] * noise(shape)
        with autocast(c, real):
            x = self.generator(u, s, noise(shape))
            noised = diffuse(x.detach(), t, noise(shape), u, s)
            loss, fake_output = fake_loss(self.fake, x, noised)
        loss.mean().backward()
        metrics = {"fake": loss.mean()}
        self.players["fake"].update(c)
        gradient = generator_gradient_of(self.teacher, fake_output, noised, c)
        metrics["distillation"] = gradient.norm() / len(x)
        if c.adversarial_weight > 0 and number > c.adversarial_from - c.discriminator_first:
            t = (c.t_mean + c.t_std * samples.normals[:, 2]).exp()
            n = noise(shape)
            with autocast(c, real):
                pair = diffuse(real, t, n, u, s), diffuse(x.detach(), t, n, u, s)
                loss = discriminator_loss(self.discriminator, *pair).mean()
            loss.backward()
            metrics["discriminator"] = loss
            self.players["discriminator"].update(c)
            if number > c.adversarial_from:
                with autocast(c, real):
                    adversarial = adversarial_gradient(self.discriminator, x, t, n, u, s)
                metrics["adversarial"] = adversarial.norm() / len(x)
                gradient = balance(gradient, adversarial, c.adversarial_weight)
        if number > c.fake_first:
            x.backward(gradient / len(x))
            self.players["generator"].update(c)
        return metrics


def generator_gradient_of(teacher: Denoiser, fake_output: Tensor, noised, config: DistillConfig) -> Tensor:
    """The distillation gradient, computed in the training precision."""
    with autocast(config, fake_output):
        return generator_gradient(teacher, fake_output, noised)
