"""A Gaussian mixture in the plane, whose denoising posterior is known, and small networks that are trained on it.

Points of the plane are images of shape [2, 1, 1]. The networks are perceptrons with what the training asks of a
``UNet``; generator and fake denoiser start as the exact posterior mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from invsolve.networks.layers import MPFourier
from invsolve.priors.denoiser import Denoiser, GenerativeDenoiser
from invsolve.priors.gaussian import GaussianMixturePrior, GaussianPrior
from invsolve.specs.recipe import CalibrateConfig, DistillConfig
from invsolve.training.calibrate import CalibrateStep
from invsolve.training.distill import DistillStep
from invsolve.training.ncvsd import Diffused
from invsolve.training.samples import Samples
from invsolve.training.trainee import Trainee

DATA = 0.5
WIDTH = 96
SHORT = DistillConfig(
    images=800 * 256,
    batch=256,
    precision="fp32",
    warmup=20,
    decay_after=200,
    generator_rate=3e-3,
    fake_rate=7e-3,
    discriminator_rate=1e-3,
    sigma_min=0.25,
    sigma_max=0.9,
    fake_first=60,
    adversarial_weight=0.2,
    adversarial_from=600,
    discriminator_first=100,
    ema=(0.2,),
)
# Between two components, near one, and among all three; and their noise levels.
POINTS = [((0.0, -0.35), 0.4), ((0.5, 0.1), 0.5), ((0.1, 0.0), 0.8)]


def ellipse(long: float, short: float, degrees: float) -> Tensor:
    """Covariance with these standard deviations along its axes."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    axes = torch.tensor([[c, -s], [s, c]])
    covariance = axes @ torch.diag(torch.tensor([long**2, short**2])) @ axes.T
    return (covariance + covariance.T) / 2


def mixture() -> GaussianMixturePrior:
    """Three elongated components, well apart, of unequal weights; variance about 1/4 as the preconditioning assumes."""
    means = torch.tensor([[-0.7, -0.3], [0.7, -0.4], [0.0, 0.7]]).reshape(3, 2, 1, 1)
    covariances = torch.stack([ellipse(0.25, 0.08, 30), ellipse(0.2, 0.1, -50), ellipse(0.3, 0.07, 0)])
    return GaussianMixturePrior(torch.tensor([0.3, 0.3, 0.4]), means, covariances)


class Teacher(nn.Module):
    """The exact posterior mean, with what the training asks of a denoiser."""

    sigma_data = DATA

    def __init__(self, prior: GaussianPrior | GaussianMixturePrior):
        super().__init__()
        self.prior = prior

    def forward(self, u: Tensor, sigma: Tensor) -> Tensor:
        return self.prior(u, sigma)


def level_features() -> MPFourier:
    """Few and slow waves: the levels of this problem lie close together."""
    features = MPFourier(16)
    features.frequencies.mul_(0.3)
    return features


class PlaneNetwork(nn.Module):
    """A conditional raw network as ``UNet`` is: the teacher's own plus a perceptron that starts at zero.

    So generator and fake denoiser start as the teacher, which for images ``conditional_from`` sees to.
    """

    def __init__(self, prior: GaussianPrior | GaussianMixturePrior):
        super().__init__()
        self.prior = [prior]  # in a list: no part of what is trained, averaged or saved
        self.features, self.condition_features, self.logvar_features = (level_features() for _ in range(3))
        self.enter = nn.Linear(4 + 32, WIDTH)
        self.hidden = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.leave, self.logvar = nn.Linear(WIDTH, 2), nn.Linear(32, 1)
        for layer in (self.leave, self.logvar):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def teachers(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """The ``F`` that preconditioning turns into the exact posterior mean (Karras 2022, table 1, solved for F)."""
        sigma = (4 * c_noise).exp()
        total = (sigma**2 + DATA**2)[:, None, None, None]
        u = x * total.sqrt()
        return (self.prior[0](u, sigma) - DATA**2 / total * u) * total.sqrt() / (sigma[:, None, None, None] * DATA)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Tensor, c_noise_condition: Tensor) -> Tensor:
        levels = self.features(c_noise), self.condition_features(c_noise_condition)
        h = nn.functional.silu(self.enter(torch.cat([x.flatten(1), condition.flatten(1), *levels], dim=1)))
        for layer in self.hidden:
            h = h + nn.functional.silu(layer(h))
        return self.teachers(x, c_noise) + self.leave(h)[:, :, None, None]

    def log_variance(self, c_noise: Tensor, c_noise_condition: Tensor) -> Tensor:
        levels = self.logvar_features(c_noise), self.logvar_features(c_noise_condition)
        return self.logvar(torch.cat(levels, dim=1))[:, 0]


class PlaneDiscriminator(nn.Module):
    """Logits ``[B, 1]`` from the sufficient statistic and its condition."""

    def __init__(self):
        super().__init__()
        self.features = level_features()
        self.layers = nn.Sequential(
            nn.Linear(4 + 32, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1)
        )

    def forward(self, d: Diffused) -> Tensor:
        points = [
            (v / (s**2 + DATA**2).sqrt()[:, None, None, None]).flatten(1) for v, s in ((d.u_eff, d.s_eff), (d.u, d.s))
        ]
        levels = [self.features(s.log() / 4) for s in (d.s_eff, d.s)]
        return self.layers(torch.cat([*points, *levels], dim=1))


def normals(count: int, stream: torch.Generator) -> Callable[[tuple[int, ...]], Tensor]:
    return lambda shape: torch.randn(count, *shape, generator=stream)


def prior_samples(prior: GaussianPrior | GaussianMixturePrior, count: int, stream: torch.Generator) -> Tensor:
    """The posterior under overwhelming noise is the prior."""
    return prior.sample(torch.zeros(count, 2, 1, 1), 1e3, normals(count, stream))


def plane_samples(prior: GaussianPrior | GaussianMixturePrior, count: int, stream: torch.Generator) -> Samples:
    """A batch for a training step."""
    x = prior_samples(prior, count, stream)
    return Samples(x, torch.randn(count, 4, generator=stream), normals(count, stream))


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 64) -> float:
    """Mean over directions of the 1-Wasserstein distance between equally many projected points."""
    angles = torch.arange(directions) * math.pi / directions
    axes = torch.stack([angles.cos(), angles.sin()])
    projected = [(points.flatten(1) @ axes).sort(dim=0).values for points in (a, b)]
    return (projected[0] - projected[1]).abs().mean().item()


def distil(config: DistillConfig) -> GenerativeDenoiser:
    """The averaged generator after training."""
    prior = mixture()
    torch.manual_seed(0)
    generator, fake, critic = PlaneNetwork(prior), PlaneNetwork(prior), PlaneDiscriminator()
    trainees = {
        "generator": Trainee(generator, config.generator_rate, config.betas, config.ema),
        "fake": Trainee(fake, config.fake_rate, config.betas),
        "discriminator": Trainee(critic, config.discriminator_rate, config.betas),
    }
    student = GenerativeDenoiser(Denoiser(generator, DATA), config.gamma)
    step = DistillStep(student, Denoiser(fake, DATA), critic, Teacher(prior), trainees, config)
    stream = torch.Generator().manual_seed(0)
    for number in range(1, config.images // config.batch + 1):
        step(plane_samples(prior, config.batch, stream), number)
    assert (trainees["discriminator"].steps > 0) == (config.adversarial_weight > 0)
    return GenerativeDenoiser(Denoiser(trainees["generator"].averages[0].network, DATA), config.gamma)


def undistilled(prior: GaussianPrior | GaussianMixturePrior | None = None) -> GenerativeDenoiser:
    """The start of all trainings, by default for the mixture."""
    return GenerativeDenoiser(Denoiser(PlaneNetwork(prior or mixture()), DATA), SHORT.gamma)


def calibrated(config: CalibrateConfig, prior: GaussianPrior | GaussianMixturePrior) -> GenerativeDenoiser:
    """The averaged generator after training by the energy score, from the undistilled start."""
    torch.manual_seed(0)
    denoiser = Denoiser(PlaneNetwork(prior), DATA)
    trainee = Trainee(denoiser.network, config.learning_rate, config.betas, config.ema)
    step = CalibrateStep(denoiser, denoiser, SHORT.gamma, trainee, config)
    stream = torch.Generator().manual_seed(0)
    for number in range(1, config.images // config.batch + 1):
        step(plane_samples(prior, config.batch, stream), number)
    return GenerativeDenoiser(Denoiser(trainee.averages[0].network, DATA), SHORT.gamma)
