"""Priors: objects that sample a clean image given a noisy one, and the denoisers they are made of.

Every prior has ``sample(u, sigma, noise) -> x`` and ``evaluations``, the network evaluations of a sample. Images
are ``[B, C, H, W]`` in [-1, 1], noise levels are on that scale, and ``noise(shape)`` gives standard normals
``[B, *shape]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.noise import Noise

from .schedule import karras

GAMMA = 0.414  # over-noising of the generative denoiser, the published value
SIGMA_DATA = 0.5


class Prior(Protocol):
    """What the sampler asks of a prior: a sample of ``p(x | u)`` for ``u = x + sigma n``, ``n ~ N(0, I)``."""

    evaluations: int  # network evaluations that a sample takes

    def sample(self, u: Tensor, sigma: float, noise: Noise) -> Tensor: ...


def as_levels(sigma: float | Tensor, like: Tensor) -> Tensor:
    """Noise level(s) as a tensor ``[B]`` of the images' type; a number is filled in where it is used, not copied."""
    if not isinstance(sigma, Tensor):
        return torch.full((len(like),), sigma, dtype=like.dtype, device=like.device)
    return sigma.to(like).expand(len(like))


def combine(u: Tensor, s: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Sufficient statistic of two noisy copies of one image: ``u`` at level ``s`` and ``x_t`` at level ``t`` (``[B]``).

    ``1/s_eff² = 1/s² + 1/t²``, ``u_eff = s_eff² (u/s² + x_t/t²)``: for x with any prior,
    ``p(x | u, x_t) = p(x | u_eff at s_eff)``, so ``E[x | x_t, u] = D(u_eff; s_eff)``. Returns ``(u_eff, s_eff [B])``.
    """
    weight = (t**2 / (s**2 + t**2))[:, None, None, None]
    return weight * u + (1 - weight) * x_t, s * t / (s**2 + t**2).sqrt()


def classes(labels: Tensor | None) -> dict[str, Tensor]:
    """The argument ``labels`` of a call, left out where there are none: most denoisers know nothing of classes."""
    return {} if labels is None else {"labels": labels}


class Denoiser(nn.Module):
    """Posterior mean ``D(u; s) = E[x | u]`` from a raw network ``F`` by EDM preconditioning (Karras 2022, table 1).

    ``D(u; s) = c_skip u + c_out F(c_in u, ln(s)/4)``. With a conditional network the call takes a second noisy
    image ``condition`` at level ``sigma_condition``, scaled in the same way; with a network of classes, ``labels``
    ``[B]`` or one-hot ``[B, n]`` (None: no class). Sizes that are no multiple of the network's are padded by reflection
    and cropped.
    """

    def __init__(self, network: nn.Module, sigma_data: float = SIGMA_DATA):
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(
        self,
        u: Tensor,
        sigma: float | Tensor,
        condition: Tensor | None = None,
        sigma_condition: float | Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``u`` ``[B, C, H, W]``, levels a float or ``[B]``; returns the denoised images ``[B, C, H, W]``.

        Raises ``ValueError`` for images of other channels than the network's.
        """
        config = getattr(self.network, "config", None)
        if config is not None and u.shape[1] != config.image_channels:
            hint = " (GrayPrior makes a gray one of it)" if u.shape[1] == 1 else ""
            found = f"the images have {u.shape[1]} channels but the prior's have {config.image_channels}"
            raise ValueError(found + hint)
        sigma = as_levels(sigma, u)
        variance = (sigma**2 + self.sigma_data**2)[:, None, None, None]
        scaled, inputs = u / variance.sqrt(), [sigma.log() / 4]
        if condition is not None:
            sigma_condition = as_levels(sigma_condition, u)
            c_in = (sigma_condition**2 + self.sigma_data**2).rsqrt()[:, None, None, None]
            inputs += [self._pad(condition * c_in), sigma_condition.log() / 4]
        output = self.network(self._pad(scaled), *inputs, **classes(labels))[..., : u.shape[-2], : u.shape[-1]].to(
            u.dtype
        )
        c_out = sigma[:, None, None, None] * self.sigma_data / variance.sqrt()
        return self.sigma_data**2 / variance * u + c_out * output

    def _pad(self, x: Tensor) -> Tensor:
        multiple = getattr(self.network, "multiple", 1)
        bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
        if not (bottom or right):
            return x
        mode = "reflect" if bottom < x.shape[-2] and right < x.shape[-1] else "replicate"
        return F.pad(x, (0, right, 0, bottom), mode=mode)


class GenerativeDenoiser(nn.Module):
    """A sampler of ``p(x | u)`` in one evaluation: ``G(u, s, z) = D_cond(u', s'; u, s)`` (NCVSD, arXiv 2506.09416).

    The noise enters as an over-noised copy: ``s' = (1 + gamma) s``, ``u' = u + sqrt(s'² - s²) z``. ``refine`` lists
    levels ``t``, as fractions of ``s``, of further evaluations per sample: each noises the last sample to
    ``x_t = x + t n``, merges it with ``u`` into their sufficient statistic and samples again. ``spectrum`` is the
    radial power spectrum of the training pictures, for the solver's warm start (see ``spectrum.py``).

    Both may be changed at a call. Less ``gamma`` makes the samples spread less; at 0 there is no noise left to sample
    with, and x is one picture for every u: what the noise in u itself suggests or, after ``invsolve finetune``, the one
    that looks most like the truth. With ``sigma_inflation`` the network is given ``(1 + sigma_inflation) s'`` for the
    level of u': it trusts the detail less and samples smoother. Neither is a sampler of ``p(x | u)`` any more, but in
    the solver's loop, whose likelihood samples bring noise of their own, few evaluations restore better so.

    ``estimator`` is a denoiser of its own for ``gamma`` 0, called like the other: then one network samples and another
    one makes the good picture, each trained for that alone.

    Raises:
        ValueError: ``gamma`` is negative, or a level of ``refine`` is not positive.
    """

    over_noised = True  # samples take gamma and sigma_inflation

    def __init__(
        self,
        denoiser: Denoiser,
        gamma: float = GAMMA,
        refine: Sequence[float] = (),
        spectrum: Tensor | None = None,
        estimator: Denoiser | None = None,
    ):
        super().__init__()
        self.register_buffer("spectrum", spectrum, persistent=False)
        if gamma < 0 or any(t <= 0 for t in refine):
            raise ValueError(
                f"gamma must be at least 0, the levels of refine above 0, found {gamma} and {tuple(refine)}"
            )
        self.denoiser, self.estimator = denoiser, estimator
        self.gamma = gamma
        self.refine = tuple(refine)

    @property
    def evaluations(self) -> int:
        return 1 + len(self.refine)

    def forward(
        self,
        u: Tensor,
        sigma: float | Tensor,
        z: Tensor | None,
        labels: Tensor | None = None,
        gamma: float | None = None,
        sigma_inflation: float = 0.0,
    ) -> Tensor:
        """One sample from ``u`` ``[B, C, H, W]`` at ``sigma`` (float or ``[B]``) and standard normals ``z`` like u.

        At ``gamma`` 0 no ``z`` is needed.
        """
        gamma = self.gamma if gamma is None else gamma
        sigma, u_over = as_levels(sigma, u), u
        denoiser = self.denoiser if gamma or self.estimator is None else self.estimator
        if gamma:
            u_over = u + (math.sqrt((1 + gamma) ** 2 - 1) * sigma)[:, None, None, None] * z
        return denoiser(u_over, (1 + gamma) * (1 + sigma_inflation) * sigma, u, sigma, **classes(labels))

    def sample(
        self,
        u: Tensor,
        sigma: float,
        noise: Noise,
        labels: Tensor | None = None,
        gamma: float | None = None,
        sigma_inflation: float = 0.0,
    ) -> Tensor:
        """A sample of ``p(x | u)``, or given the classes, in :attr:`evaluations` network evaluations."""
        how = (labels, gamma, sigma_inflation)
        over_noised = self.gamma if gamma is None else gamma

        def once(u: Tensor, sigma: float | Tensor) -> Tensor:
            return self(u, sigma, noise(u.shape[1:]) if over_noised else None, *how)

        x, s = once(u, sigma), as_levels(sigma, u)
        for fraction in self.refine:
            x_t = x + fraction * sigma * noise(u.shape[1:])
            x = once(*combine(u, s, x_t, fraction * s))
        return x


class PosteriorMean(nn.Module):
    """A plain denoiser used as if its posterior mean were a sample, as many plug-and-play methods do."""

    evaluations = 1

    def __init__(self, denoiser: Callable[[Tensor, float], Tensor], spectrum: Tensor | None = None):
        super().__init__()
        self.denoiser = denoiser
        self.register_buffer("spectrum", spectrum, persistent=False)

    def sample(self, u: Tensor, sigma: float, noise: Noise) -> Tensor:
        """``E[x | u]`` for ``u`` ``[B, C, H, W]`` at ``sigma``; no noise is drawn."""
        return self.denoiser(u, sigma)


class DiffusionSampler(nn.Module):
    """A k-evaluation sample of ``p(x | u)`` from a plain denoiser, so that any diffusion model can be the prior.

    Reverse diffusion started at ``u`` instead of pure noise, over Karras levels from ``sigma`` to ``sigma_min`` and
    then 0. ``stochastic`` (default) takes the ancestral step, the exact conditional law of the next level given the
    denoised image: ``x' = x0 + (s'/s)² (x - x0) + s' sqrt(1 - s'²/s²) n``; it converges to the posterior as k grows.
    Otherwise the probability-flow ODE by Euler steps (DDIM), one deterministic picture per ``u``.

    Raises:
        ValueError: ``evaluations`` is less than 1.
    """

    def __init__(
        self,
        denoiser: Callable[[Tensor, float], Tensor],
        evaluations: int = 5,
        stochastic: bool = True,
        sigma_min: float = 0.01,
        exponent: float = 7.0,
        spectrum: Tensor | None = None,
    ):
        super().__init__()
        if evaluations < 1:
            raise ValueError(f"a sample needs at least 1 evaluation, found {evaluations}")
        self.denoiser, self.evaluations, self.stochastic = denoiser, evaluations, stochastic
        self.sigma_min, self.exponent = sigma_min, exponent
        self.register_buffer("spectrum", spectrum, persistent=False)

    def sample(self, u: Tensor, sigma: float, noise: Noise) -> Tensor:
        """A sample of ``p(x | u)`` for ``u`` ``[B, C, H, W]`` at ``sigma``, in ``evaluations`` network evaluations."""
        # The last level is the final evaluation's; from it the jump goes to 0, where x = x0.
        levels = [float(s) for s in karras(self.evaluations, sigma, min(self.sigma_min, sigma / 2), self.exponent)]
        x = u
        for s, s_next in zip(levels, [*levels[1:], 0.0], strict=True):
            x0 = self.denoiser(x, s)
            ratio = s_next / s
            if self.stochastic:
                x = x0 + ratio**2 * (x - x0)
                if s_next > 0:
                    x = x + s_next * math.sqrt(1 - ratio**2) * noise(u.shape[1:])
            else:
                x = x0 + ratio * (x - x0)
        return x
