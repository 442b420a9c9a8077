"""The annealed split Gibbs sampler."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from operators import LinearOperator

from ..priors.denoiser import Noise, Prior


def split_gibbs(
    y: torch.Tensor,  #         [B, *operator.out_shape]
    operator: LinearOperator,
    prior: Prior | Sequence[Prior],  # one for all draws, or one each
    levels: Sequence[float],  # sigma_1 .. sigma_N, decreasing
    sigma_y: float,  #          noise level of the likelihood draws
    noise: Noise,
    start: torch.Tensor | None = None,
    output_ema: float = 0.0,
    renoise: float = 0.0,
    momentum: float = 0.0,
    overrelaxation: float = 0.0,
    renoise_first: float | None = None,
) -> Iterator[torch.Tensor]:
    """Sample ``x ~ p(x | y)`` by draws from the likelihood and from the prior in turn; yield ``x`` after each level.

    At one level sigma the chain's stationary law is that of ``p(x) N(u; x, sigma² I) N(y; A u, sigma_y² I)``, whose
    x-marginal is the posterior under a measurement noise of covariance ``sigma_y² I + sigma² A A^T``; annealing sigma
    towards 0 leads it to the posterior itself (Vono et al. 2019; Wu et al. 2024, PnP-DM).

    ``start`` is the image that the first likelihood draw is made near (a warm start), by default gray. With
    ``output_ema`` > 0, c, what is yielded is ``x_avg <- c x_avg + (1 - c) x``, started at the first draw, and the
    chain itself goes on with ``x``. ``renoise`` and ``overrelaxation`` are those of :class:`LikelihoodDraws`, and
    ``renoise_first`` is the first draw's ``renoise`` where it is another than the others'. With ``momentum`` > 0
    the likelihood draws are made near ``x + momentum (x - x_previous)`` instead of ``x``: a few draws go as far as more
    do, though the law above no longer holds. Images are ``[B, C, H, W]``, noise levels are on their scale.
    """
    draw = LikelihoodDraws(y, operator, sigma_y, noise, renoise, overrelaxation, renoise_first)
    priors = prior if isinstance(prior, Sequence) else [prior] * len(levels)
    near = y.new_zeros(len(y), *operator.in_shape) if start is None else start
    x_avg = previous = None
    for sigma, prior in zip(levels, priors, strict=True):
        x = prior.sample(draw(near, sigma), sigma, noise)
        x_avg = x if x_avg is None else torch.lerp(x, x_avg, output_ema)
        yield x_avg
        near = x if previous is None else x + momentum * (x - previous)
        previous = x


class LikelihoodDraws:
    """Successive draws ``u ~ N(m(x), H)`` of ``p(u | x, y) ∝ N(u; x, rho² I) N(y; A u, sigma_y² I)``.

    ``H = (A^T A / sigma_y² + I / rho²)^-1``, ``m(x) = H (A^T y / sigma_y² + x / rho²)``. ``W = I - H / rho²`` is near 1
    for what is measured well at this level, and 0 for what is not measured.

    ``renoise`` in [0, 1], s, adds ``s W N(0, rho² I)``. About an x without error the noise in u, that of the
    measurement and of the draw, has the covariance ``rho² (I - W²)``, and at ``s = 1`` it is ``rho²`` white, as the
    prior is told it is. What is measured is then hidden under noise again, as by DDRM (Kawar et al. 2022) and DiffPIR
    (Zhu et al. 2023). This is no Gibbs sampling any more, but a few evaluations fill a large hole better so.
    ``renoise_first`` is another share for the first draw.

    ``overrelaxation`` in [0, 1), a, makes ``u = m(x) - a (u_last - m(x)) + sqrt(1 - a²) N(0, H)``: draws in a row lie
    on opposite sides of their means, and what the prior makes of their noise cancels in part (Adler 1981). At one level
    this leaves ``p(u | x, y)`` as it is, and so the law of the chain; from one level to the next the deviation is
    carried over in units of the noise.
    """

    def __init__(
        self,
        y: torch.Tensor,
        operator: LinearOperator,
        sigma_y: float,
        noise: Noise,
        renoise: float = 0.0,
        overrelaxation: float = 0.0,
        renoise_first: float | None = None,
    ):
        self.y, self.operator, self.sigma_y, self.noise = y, operator, sigma_y, noise
        self.renoise, self.overrelaxation = renoise, overrelaxation
        self._share = renoise if renoise_first is None else renoise_first  # renoise of the next draw
        self._last: tuple[torch.Tensor, float, list[torch.Tensor]] | None = None

    def __call__(self, x: torch.Tensor, rho: float) -> torch.Tensor:
        """u ``[B, C, H, W]`` near x, at the level ``rho`` > 0."""
        shapes = [self.operator.in_shape, self.operator.out_shape]  # what operator.sample asks for
        if self._share or self.renoise:
            shapes.append(self.operator.in_shape)
        units = [self.noise(shape) for shape in shapes]
        if self.overrelaxation:
            units = self._opposed(x, rho, units)
        of_draw = iter(units)
        hidden = self._share * rho * units[2] if self._share else 0.0
        self._share = self.renoise
        return hidden + self.operator.sample(x - hidden, self.y, self.sigma_y, rho, lambda shape: next(of_draw))

    def _opposed(self, x: torch.Tensor, rho: float, units: list[torch.Tensor]) -> list[torch.Tensor]:
        """Standard normals that are ``-overrelaxation`` times those that would make the last u from this x, and new."""
        if self._last is not None:
            last_x, last_rho, (image, *others) = self._last
            image = image + (last_x - x) / last_rho
            share = math.sqrt(1 - self.overrelaxation**2)
            units = [share * n - self.overrelaxation * last for n, last in zip(units, [image, *others], strict=False)]
        self._last = x, rho, units
        return units
