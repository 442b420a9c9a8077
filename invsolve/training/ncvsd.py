"""Noise Conditional Variational Score Distillation: the three updates (Peng et al. 2025, arXiv 2506.09416).

With ``u = x_data + s n`` and ``x = G(u, s, z)``, ``x_t = x + t n``: the teacher gives the score of the denoising
posterior exactly, ``E[x | x_t, u] = D(u_eff; s_eff)``; the fake denoiser ``S`` learns the same expectation for the
generator's own output; the generator descends along ``S - D``. ``S`` is fed with the sufficient statistic
``(u_eff, s_eff)`` beside ``(u, s)``, which determine ``(x_t, t)``: it then starts as the teacher's posterior score
itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..priors.denoiser import Denoiser, classes, combine
from ..runtime import processes
from .edm import edm_weight, weighted_error


@dataclass
class Diffused:
    """A clean or generated image noised again: ``(u_eff, s_eff)`` with its conditions ``(u, s)`` and level ``t``.

    ``labels`` are classes ``[B, n]``, one-hot, where there are any.
    """

    u_eff: Tensor
    s_eff: Tensor
    u: Tensor
    s: Tensor
    t: Tensor
    labels: Tensor | None = None


def diffuse(x: Tensor, t: Tensor, noise: Tensor, u: Tensor, s: Tensor, labels: Tensor | None = None) -> Diffused:
    """Noise ``x`` to level ``t`` ``[B]`` and merge the result with ``u`` at level ``s``."""
    u_eff, s_eff = combine(u, s, x + t[:, None, None, None] * noise, t)
    return Diffused(u_eff, s_eff, u, s, t, labels)


def fake_loss(fake: Denoiser, x: Tensor, d: Diffused) -> tuple[Tensor, Tensor]:
    """Loss a sample ``[B]`` of the fake denoiser on generated ``x`` (no gradient into ``x``), and its output."""
    output = fake(d.u_eff, d.s_eff, d.u, d.s, **classes(d.labels))
    log_variance = fake.network.log_variance(d.s_eff.log() / 4, d.s.log() / 4)
    return weighted_error(output - x.detach(), d.s_eff, fake.sigma_data, log_variance), output


def generator_gradient(teacher: Denoiser, fake_output: Tensor, d: Diffused) -> Tensor:
    """Gradient of the variational score distillation loss with respect to ``x``, ``[B, C, H, W]``.

    ``w(s_eff) (S - D(u_eff; s_eff))``, a mean over the image as in the fake loss, a sum over the batch; it equals the
    gradient of ``w/2 |x - stopgrad(x + D - S)|²``. The weight is taken at s_eff, not at t as published: both agree for
    t << s, but ``w(t)`` would all but switch off the gradient where t >> s, which is most of the time at small s.
    """
    with torch.no_grad():
        target = teacher(d.u_eff, d.s_eff, **classes(d.labels))
        weight = edm_weight(d.s_eff, teacher.sigma_data)[:, None, None, None]
        return weight * (fake_output.detach() - target) / target[0].numel()


def discriminator_loss(discriminator: nn.Module, real: Diffused, generated: Diffused) -> Tensor:
    """Logistic loss a sample ``[B]`` of the discriminator: real images up, generated ones down."""
    up = F.softplus(-discriminator(real)).flatten(1).mean(1)
    return up + F.softplus(discriminator(generated)).flatten(1).mean(1)


def adversarial_gradient(
    discriminator: nn.Module, x: Tensor, t: Tensor, noise: Tensor, u: Tensor, s: Tensor, labels: Tensor | None = None
) -> Tensor:
    """Gradient of the non-saturating adversarial loss with respect to generated ``x``, summed over the batch."""
    x = x.detach().requires_grad_()
    loss = F.softplus(-discriminator(diffuse(x, t, noise, u, s, labels))).flatten(1).mean(1).sum()
    return torch.autograd.grad(loss, x)[0]


def relative(distillation: Tensor, other: Tensor, weight: float) -> Tensor:
    """The factor that gives the ``other`` gradient ``weight`` times the norm of the distillation's over the batch.

    The batch is that of all processes, of which the gradients given are this one's share.

    The distillation gradient shrinks as the generator converges while the adversarial one need not; fixed relative
    norms keep one setting good for all networks and image sizes.
    """
    return weight * processes.norm(distillation) / processes.norm(other).clamp_min(1e-12)
